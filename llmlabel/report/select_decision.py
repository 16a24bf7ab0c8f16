"""What a selection decided, what it would mean to rely on it, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmlabel.report import words
from llmlabel.report.account import command
from llmlabel.report.parts import part, texts
from llmlabel.report.select_read import MARGIN, Answers, Measured, between, interval, listed, named, two
from llmlabel.report.select_read import texts as names_of
from llmlabel.report.select_table import Row, Strategies

Json = Mapping[str, Any]
AT_SCALE = 5000  # prompts, in the command that is proposed
MORE = 300  # prompts; more tell nothing new
VERDICTS = {  # badge, what it means to rely on it
    "clear": (
        "clear",
        "Of pairs of strategies with so large a gap, the one ahead really trained the better model in about 7 of 10 cases, "
        "in the records the method was published with: good odds, no proof.",
    ),
    "weak": (
        "weak",
        "Of pairs of strategies with such a gap, the one ahead really trained the better model in 5 to 6 of 10 cases, in the "
        "records the method was published with. If another is much cheaper or easier to explain, take that one.",
    ),
    "tie": (
        "tie",
        "The score does not tell the tied strategies apart. In the records the method was published with, taking the cheapest "
        "of tied strategies lost about a tenth of a point of accuracy.",
    ),
    "no_meaning": ("no meaning", "The score says nothing about these answers: do not choose by it."),
}
WHY = {"cost": "the cheapest", "correctness": "right most often"}


@dataclass
class Step:
    """Something to do next; `command`: "" where there is none."""

    why: str
    command: str


@dataclass
class Decision:
    """`verdict`: a key of VERDICTS, or ""; `badge`: how it is shown; `answer`: all of it in one sentence; `means`: what to think
    of that; `reasons`: the run's own sentences."""

    verdict: str
    badge: str
    answer: str
    means: str
    reasons: list[str]
    next: list[Step]


def decision(run: Json, metrics: Json, how: Measured, shown: Strategies, given: Answers) -> Decision:
    raw = part(metrics, "decision")
    evidence = part(raw, "evidence")
    verdict = words.field(raw, "verdict", 20)
    badge, means = VERDICTS.get(verdict, (verdict.replace("_", " "), ""))
    chosen = str(raw["strategy"]) if raw.get("strategy") is not None else ""
    reasons = texts(evidence, "reason", 12, 600)
    steps = _next(run, metrics, chosen, verdict, shown, given)
    return Decision(verdict, badge, _answer(raw, evidence, chosen, verdict, how), means, reasons, steps)


def _answer(raw: Json, evidence: Json, chosen: str, verdict: str, how: Measured) -> str:
    if not raw:
        return "The run has not decided yet."
    name, why = named(chosen), WHY.get(words.field(evidence, "chosen_for", 20), "")
    if verdict == "no_meaning":
        taken = f"; {name} is taken because it is {why}." if why else f"; {name} is taken." if chosen else ", and none is taken."
        return f"The score means nothing for these answers{taken}"
    if not chosen:
        return "No strategy was chosen: none passed all gates."
    if verdict == "tie":
        return _tie(names_of(evidence, "tied"), chosen, why)
    rival, gap = evidence.get("runner_up"), interval(evidence, "gap")
    if rival is None or gap.value is None:
        return f"Write the answers with {name}: no other strategy was left to compare it with."
    ahead = f"{two(abs(gap.value))}{how.gap}" + (f" (95% interval {_away(gap)})" if between(gap) else "")
    how_sure = "more than chance and by a wide margin" if verdict == "clear" else "but not by much"
    return f"Write the answers with {name}: they fit the target best, {ahead} ahead of {named(rival)}, {how_sure}."


def _away(gap: Any) -> str:
    """The interval of a gap, told as the distance it is."""
    ends = sorted([gap.low, gap.high]) if gap.value >= 0 else sorted([-gap.low, -gap.high])
    return f"{two(ends[0])} to {two(ends[1])}"


def _tie(tied: Sequence[str], chosen: str, why: str) -> str:
    names = [chosen, *(name for name in tied if name != chosen)]
    if len(names) < 2:
        return f"Write the answers with {named(chosen)}: it is tied with others, as far as can be told."
    because = f"is {why} of them" if why else "is the first of them"
    return f"Write the answers with {named(chosen)}: {listed(names)} cannot be told apart by how well they fit, and it {because}."


def _next(run: Json, metrics: Json, chosen: str, verdict: str, shown: Strategies, given: Answers) -> list[Step]:
    """Commands that make sense after this run, the most useful first."""
    config = part(run, "config")
    if not config or not part(metrics, "decision"):
        return []
    known = any(row.get("gold") is not None for row in given.questions.values())
    return [
        *_pilot(config, metrics, verdict, shown, known),
        *_more(config, metrics, verdict),
        *_prices(config, shown.rows),
        *_at_scale(config, metrics, chosen),
    ]


def _pilot(config: Json, metrics: Json, verdict: str, shown: Strategies, known: bool) -> list[Step]:
    usable = sum(row.passed for row in shown.rows)
    if config.get("pilot") or part(metrics, "pilot") or not known or verdict == "clear" or usable < 2:
        return []
    why = "Train the target on the two best for a moment and test it: surer than any score. Answers already bought cost nothing."
    return [Step(why, _command(config, "pilot", True, "pilot"))]


def _more(config: Json, metrics: Json, verdict: str) -> list[Step]:
    gap, n = interval(part(part(metrics, "decision"), "evidence"), "gap").value, int(words.figure(config.get("n")) or 100)
    if verdict != "tie" or gap is None or abs(gap) < MARGIN or n >= MORE:
        return []
    more = min(MORE, 2 * n)
    why = f"The gap may be more than nothing: {more} prompts would tell it from chance better than {n} did."
    return [Step(why, _command(config, "n", more, str(more)))]


def _prices(config: Json, rows: Sequence[Row]) -> list[Step]:
    passed = [row for row in rows if row.passed]
    if config.get("prices") or not any(row.cost is None for row in passed) or len(passed) < 2:
        return []
    return [Step("Not every price is known, so cost could not decide: name the models' prices with --prices FILE.", "")]


def _at_scale(config: Json, metrics: Json, chosen: str) -> list[Step]:
    written = part(metrics, "generated")
    if written:
        return [Step("Train on sft.parquet: its column messages is the chat format of TRL's SFTTrainer.", "")]
    if not chosen or config.get("generate_all"):
        return []
    if config.get("responses"):
        return [Step("The answers were given, none were written: train on those of the chosen strategy.", "")]
    why = f"Write training rows for as many prompts as you need, such as {AT_SCALE:,}, into the sft.parquet of a new run."
    return [Step(why, _command(config, "generate_all", AT_SCALE, "sft"))]


def _command(config: Json, key: str, value: Any, name: str) -> str:
    """The run's own command with one setting changed, into a new folder that starts from this one."""
    out = str(config.get("out") or "runs/select").rstrip("/")
    said = command({**config, key: value, "from_run": out}, "select", out=f"{out}-{name}")
    return words.clean(words.without_credentials(said), 4000)
