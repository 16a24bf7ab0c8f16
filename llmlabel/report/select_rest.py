"""What else a selection did: dropping early, the target's own answers, choosing per prompt, a pilot, and writing at scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmlabel.report import words
from llmlabel.report.parts import Estimate, part, parts, sentence, whole
from llmlabel.report.select_read import interval, listed, named, texts
from llmlabel.report.select_table import Row, Strategies

Json = Mapping[str, Any]
MOST = 20  # looks, or seeds, or reasons shown


@dataclass
class Looks:
    """`bars`: (strategy, how far it went in words, share of the prompts); `steps`: what happened at each look."""

    said: str
    bars: list[tuple[str, str, float]]
    steps: list[tuple[str, str]]


def looks(evidence: Json, shown: Strategies) -> Looks | None:
    """None for a run that never looked before its end."""
    raw = parts(evidence, "looks")[:MOST]
    if not raw:
        return None
    steps = [(words.count(whole(one, "n") or 0, "prompt"), _step(one)) for one in raw]
    saved = words.figure(evidence.get("saved_share"))
    dropped = sum(len(texts(one, "dropped", 100)) for one in raw)
    said = f"{words.count(dropped, 'strategy', 'strategies')} dropped early" if dropped else "No strategy was dropped early"
    if saved is not None and saved > 0:
        said += f", which saved {words.percent(saved)} of the scored answers"
    most = max((row.of for row in shown.rows if row.of), default=0)
    bars = [(row.name, _how_far(row), row.of / most) for row in shown.rows if row.of]
    return Looks(f"{said}.", bars, steps)


def _step(raw: Json) -> str:
    kept, dropped = texts(raw, "kept", 100), texts(raw, "dropped", 100)
    if not dropped:
        return f"nothing dropped, {len(kept)} left"
    return f"{listed(dropped)} dropped" + (f", {len(kept)} left" if kept else "")


def _how_far(row: Row) -> str:
    return words.count(row.of or 0, "answer") + (", then dropped" if row.dropped else "")


def exemplars(metrics: Json) -> list[str]:
    """What became of the target's own answers, in sentences; none where the run says nothing."""
    raw = part(metrics, "exemplars")
    if not raw:
        return []
    if not part(metrics, "own"):
        return [
            "The target was not asked for answers of its own, so they neither stand before a prompt nor serve as a reference."
        ]
    used, asked, right = (whole(raw, key) for key in ("used", "asked", "pool"))
    told = (
        [f"The target answered {right:,} of {words.count(asked, 'prompt')} in a way that could be used."]
        if asked and right is not None
        else []
    )
    lines = sentence(raw) or told
    if used:
        lines.append(
            f"{words.count(used, 'answer')} of its own in all: never one to the same prompt, and the same for every strategy."
        )
    if raw.get("kind") == "unverified":
        lines.append("Nothing says whether they are right.")
    return lines


def shares(raw: Json) -> list[tuple[str, float]]:
    """Of prompts, by strategy, most first."""
    return sorted(((named(name), share) for name, share in words.figures(raw).items()), key=lambda one: -one[1])


@dataclass
class Pilot:
    """`rows`: (name, accuracy with each seed, their mean); `untrained`: accuracy before any training."""

    answer: str
    said: list[str]
    seeds: int
    rows: list[tuple[str, list[float | None], float]]
    untrained: float | None
    accepted: bool


def pilot(raw: Json) -> Pilot | None:
    if not raw:
        return None
    names, table = texts(raw, "strategies"), part(raw, "accuracy")
    found = [(name, [words.figure(v) for v in table[name][:MOST]]) for name in names if isinstance(table.get(name), list)]
    rows = [(named(name), values, _mean(values)) for name, values in found]
    gap = interval({"gap": raw.get("difference"), "gap_interval": raw.get("interval")}, "gap")
    tests, accepted = whole(raw, "tests"), raw.get("accepted") is True
    on = f" Tested on {words.count(tests, 'prompt')} that it had not learnt from." if tests else ""
    seeds = max((len(values) for _, values, _ in rows), default=0)
    untrained = words.figure(raw.get("untrained"))
    said = [*sentence(raw, "reason"), *_doubts(raw, rows, untrained)]
    return Pilot(_piloted(names, gap, accepted) + on, said, seeds, rows, untrained, accepted)


def _doubts(raw: Json, rows: Sequence[tuple[str, list[float | None], float]], untrained: float | None) -> list[str]:
    said, failed = [], whole(raw, "failed")
    if untrained is not None and rows and all(mean <= untrained for *_, mean in rows):
        said.append("Neither is better than the target was before: this training taught nothing that the test asks for.")
    if failed:
        said.append(f"{words.count(failed, 'answer')} to test prompts failed, and count as wrong.")
    long = {name: n for name, n in words.figures(part(raw, "left_out")).items() if n}
    return said + [f"Left out as too long: {words.listed([f'{n:,} rows of {named(name)}' for name, n in long.items()])}."] * bool(
        long
    )


def _mean(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else float("nan")


def _piloted(names: Sequence[str], gap: Estimate, accepted: bool) -> str:
    if len(names) < 2 or gap.value is None:
        return "The pilot has no result."
    ahead, behind = (named(name) for name in (names if gap.value >= 0 else names[::-1])[:2])
    ends = (
        ""
        if gap.low is None or gap.high is None
        else _interval(*((gap.low, gap.high) if gap.value >= 0 else (-gap.high, -gap.low)))
    )
    told = f"Trained on {ahead}, the target is right {abs(100 * gap.value):.1f} points more often than trained on {behind}{ends}"
    return f"{told}: {'more than chance' if accepted else 'which may be chance'}."


def _interval(low: float, high: float) -> str:
    return f" (95% interval {100 * low:+.1f} to {100 * high:+.1f})"


@dataclass
class Written:
    """Training rows at scale. `parts`: (kind, what, rows, share)."""

    said: str
    parts: list[tuple[str, str, int, float]]


def written(raw: Json) -> Written | None:
    """From `generated`; None where nothing was generated."""
    if not raw:
        return None
    rows, kept = whole(raw, "rows") or 0, whole(raw, "kept")
    dropped = [(words.clean(why, 200), int(n)) for why, n in words.figures(part(raw, "dropped")).items() if n]
    kept = max(0, rows - sum(n for _, n in dropped)) if kept is None else kept
    names = texts(raw, "strategies") or [str(raw[key]) for key in ("strategy", "strategies") if isinstance(raw.get(key), str)]
    by = f", by {listed(names)}" if names else ""
    found = [("ok", "kept", kept), *(("failed", why, n) for why, n in sorted(dropped, key=lambda one: -one[1])[:MOST])]
    whole_of = max(1, kept + sum(n for _, n in dropped))
    return Written(
        f"{words.count(rows, 'answer was', 'answers were')} written{by}; {kept:,} kept as training rows.",
        [(kind, what, n, n / whole_of) for kind, what, n in found if n],
    )
