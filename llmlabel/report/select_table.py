"""The strategies of a selection one by one: how well each fits, what else is known of it, and which gates it passed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmlabel.report import words
from llmlabel.report.parts import Estimate, part, parts, texts, whole
from llmlabel.report.select_read import SCORES, Answers, Measured, between, interval, named, two
from llmlabel.report.select_read import texts as names_of
from llmlabel.selection.answers import OWN

Json = Mapping[str, Any]
MOST = 40  # strategies
FACTS = ("correctness", "truncation", "length_ratio", "diversity", "tokens")
GATES = {  # name, what it looks at, how its bound is written, whether its values are shares
    "answered": ("Answered", "prompts with a whole answer", "≥ ", True),
    "scored": ("Scored", "answers with a score", "≥ ", True),
    "correctness": ("Right, at least", "the lower end of the interval of right answers", "≥ ", True),
    "truncation": ("Cut off", "answers that are cut off", "< ", True),
    "leakage": ("Tells of a hint", "answers that tell that their writer was shown the right one", "< ", True),
    "collapse": ("Diversity", "how different the answers are", "≥ ", False),
    "short": ("Length", "tokens of the middle answer", "> ", False),
}


@dataclass
class Gate:
    """One check of one strategy; figures in words, "" where unknown."""

    gate: str
    value: str
    bound: str
    passed: bool
    note: str


@dataclass
class Row:
    """One strategy, or the target itself. `place`: 1 is best, "" where it is not ranked; `out`: why it is not, or when it was
    dropped; `of`: answers that were scored; `facts`: what else is known, in words, by `FACTS`; `mark`: chosen, tied or ""."""

    name: str
    key: str
    place: str
    passed: bool
    mean: Estimate
    perplexity: float | None
    of: int | None
    gap: Estimate
    p: float | None
    first: float | None
    out: str
    dropped: int | None
    facts: dict[str, str]
    cost: float | None
    gates: list[Gate] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    mark: str = ""

    @property
    def best(self) -> bool:
        return self.place == "1"

    @property
    def score(self) -> str:
        return two(self.mean.value)

    @property
    def around(self) -> str:
        return between(self.mean)

    @property
    def perplex(self) -> str:
        value = self.perplexity
        return words.NONE if value is None else f"{value:.2f}" if value < 100 else f"{value:,.0f}"

    @property
    def behind(self) -> str:
        return words.NONE if self.best or self.gap.value is None else f"{self.gap.value:+.2f}".replace("-0.00", "+0.00")

    @property
    def behind_between(self) -> str:
        return "" if self.best else between(self.gap)

    @property
    def chance(self) -> str:
        return words.NONE if self.p is None or self.best else "<0.001" if self.p < 0.001 else f"{self.p:.3f}"


@dataclass
class Strategies:
    """`rows`: best first, those that failed a gate last; `checks`: (gate, its name, what passes); `others`: the other scores."""

    rows: list[Row]
    own: Row | None
    hidden: int
    checks: list[tuple[str, str, str]]
    notes: list[str]
    others: list[tuple[str, str, list[tuple[str, str]]]]

    @property
    def warned(self) -> list[tuple[str, str]]:
        return [(row.name, text) for row in self.rows for text in row.warnings]


def strategies(metrics: Json, evidence: Json, how: Measured, given: Answers) -> Strategies:
    """From `ranking`, `scores` and `own` of metrics.json; names alone where there is no ranking yet."""
    scores, chosen = part(metrics, "scores"), part(metrics, "decision").get("strategy")
    ranked = parts(evidence, "ranking") or [{"strategy": name} for name in [*scores, *given.strategies]]
    found = {str(one["strategy"]): one for one in reversed(ranked) if one.get("strategy") is not None}
    rows = [_row(raw, part(scores, key), how) for key, raw in reversed(found.items())]
    rows.sort(key=lambda row: float(row.place or "inf"))
    tied = names_of(evidence, "tied", MOST)
    for row in rows:
        row.mark = "chosen" if row.key == chosen else "tied" if tied and (row.best or row.key in tied) else ""
    raw = part(metrics, "own")
    own = _row({"strategy": OWN, "passed": True}, raw, how) if raw else None
    order = list(dict.fromkeys([*GATES, *(gate.gate for row in rows for gate in row.gates)]))
    checks = [(gate, *_gate_name(gate)) for gate in order if any(g.gate == gate for row in rows for g in row.gates)]
    notes = list(dict.fromkeys([*texts(evidence, "notes", 12, 500), *texts(metrics, "notes", 12, 500)]))
    return Strategies(rows[:MOST], own, max(0, len(rows) - MOST), checks, notes, _others(rows[:MOST], own, metrics, how))


def _gate_name(gate: str) -> tuple[str, str]:
    return GATES.get(gate, (words.clean(gate, 40), ""))[:2]


def _row(raw: Json, known: Json, how: Measured) -> Row:
    key, rank, dropped = str(raw["strategy"]), whole(raw, "rank"), whole(part(raw, "dropped"), "look")
    mean = interval(raw, "mean")
    if mean.value is None:
        mean = Estimate(words.figure(known.get(how.score)))
    perplexity = words.figure(raw.get("perplexity"))
    if perplexity is None and how.nats and mean.value is not None:
        perplexity = math.exp(min(mean.value, 50))
    gates = [_gate(one) for one in parts(raw, "gates")]
    failed = [_gate_name(one.gate)[0] for one in gates if not one.passed]
    passed = raw.get("passed") is not False and not failed
    cost = words.figure(raw.get("cost"))
    return Row(
        named(key), key, str(rank) if rank else "", passed, mean, perplexity, whole(raw, "n"), interval(raw, "gap"),
        words.figure(raw.get("p_holm")), words.figure(raw.get("first_share")), _out(failed, passed, dropped), dropped,
        _facts(known), words.figure(known.get("cost_per_1000")) if cost is None else cost, gates, texts(raw, "warnings", 12, 500),
    )  # fmt: skip


def _out(failed: Sequence[str], passed: bool, dropped: int | None) -> str:
    if not passed:
        return f"Gate: {words.listed(failed).lower()}" if failed else "Not ranked"
    return f"Dropped after {words.count(dropped, 'prompt')}" if dropped else ""


def _facts(known: Json) -> dict[str, str]:
    found = {key: words.figure(known.get(key)) for key in FACTS}
    low, length, tokens = words.figure(known.get("correctness_low")), found["length_ratio"], found["tokens"]
    return {
        "correctness": words.percent(found["correctness"]),
        "least": "" if low is None else f"at least {words.percent(low)}",
        "truncation": words.percent(found["truncation"]),
        "length_ratio": words.NONE if length is None else f"{length:.2g} ×",
        "diversity": two(found["diversity"]),
        "tokens": words.NONE if tokens is None else f"{tokens:,.0f}",
    }


def _gate(raw: Json) -> Gate:
    gate, note = words.field(raw, "gate", 40), words.field(raw, "note", 400)
    value, bound = (_said(gate, words.figure(raw.get(key))) for key in ("value", "bound"))
    bound = GATES[gate][2] + bound if bound and gate in GATES else bound
    return Gate(gate, value, bound, raw.get("passed") is not False, f"{note[:1].upper()}{note[1:]}")


def _said(gate: str, value: float | None) -> str:
    if value is None:
        return ""
    return (
        words.percent(value) if GATES.get(gate, ("", "", "", False))[3] else two(value) if gate == "collapse" else f"{value:.3g}"
    )


def _others(rows: Sequence[Row], own: Row | None, metrics: Json, how: Measured) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """The scores that did not decide: (name, what it is, (strategy, value) of all, in order of the table)."""
    found = []
    for key, (name, means) in SCORES.items():
        known = [(row.name, words.figure(part(part(metrics, "scores"), row.key).get(key))) for row in rows]
        if key == how.score or all(value is None for _, value in known):
            continue
        known += [(own.name, words.figure(part(metrics, "own").get(key)))] if own else []
        found.append((name, means, [(who, two(value)) for who, value in known]))
    return found
