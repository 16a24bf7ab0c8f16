"""What a selection decided, in a sentence, and what it would mean to rely on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmlabel.report import words
from llmlabel.report.parts import Estimate, part, texts
from llmlabel.report.select_next import Step, next_steps
from llmlabel.report.select_read import Answers, Measured, between, interval, listed, named, two
from llmlabel.report.select_read import texts as names_of
from llmlabel.report.select_rest import Pilot
from llmlabel.report.select_table import Strategies

Json = Mapping[str, Any]
MEANS = {
    "clear": "Good odds, no proof: a way of writing that fits so much better usually trains the better model, not always.",
    "weak": "A hint, hardly more: where another way is much cheaper or easier to explain, take that one.",
    "tie": "The score does not tell the tied ways of writing apart; nothing says that one of them would train a worse model.",
    "no_meaning": "The score did not decide anything here: do not read a decision into the figures below.",
}
PILOTED = "The target was trained and tested, if only for a moment: that is surer than any score."
WHY = {"cost": "is the cheapest of them", "fit": "scores best of them"}


@dataclass
class Decision:
    """`verdict`: clear, weak, tie, no_meaning, or "" before there is one; `answer`: all of it in one sentence; `means`: what to
    think of that; `reasons`: the run's own sentences."""

    verdict: str
    answer: str
    means: str
    reasons: list[str]
    next: list[Step]

    @property
    def badge(self) -> str:
        return self.verdict.replace("_", " ")


def decision(run: Json, metrics: Json, how: Measured, shown: Strategies, given: Answers, tried: Pilot | None) -> Decision:
    raw = part(metrics, "decision")
    verdict, evidence = words.field(raw, "verdict", 20), part(raw, "evidence")
    chosen = str(raw["strategy"]) if raw.get("strategy") is not None else ""
    if tried and tried.accepted and chosen:
        answer, means = f"Write the answers with {named(chosen)}: the pilot decides. {tried.answer}", PILOTED
    else:
        answer, means = _answer(raw, evidence, chosen, verdict, how), MEANS.get(verdict, "")
    steps = next_steps(run, metrics, chosen, verdict, shown, given)
    return Decision(verdict if verdict in MEANS else "", answer, means, texts(evidence, "reason", 20, 1500), steps)


def _answer(raw: Json, evidence: Json, chosen: str, verdict: str, how: Measured) -> str:
    if not raw:
        return "The run has not decided yet."
    if not chosen:
        return "No strategy is recommended: neither the score nor anything else could decide."
    told = f"Write the answers with {named(chosen)}: "
    if verdict == "no_meaning":
        by_right = words.field(evidence, "chosen_for", 20) == "correctness"
        return told + (
            "the score says nothing about these answers, and these are surest to be right."
            if by_right
            else "no other strategy was left to compare it with."
        )
    if verdict == "tie":
        return told + _tie(evidence, chosen)
    return told + _ahead(evidence.get("runner_up"), interval(evidence, "gap"), verdict, how)


def _tie(evidence: Json, chosen: str) -> str:
    names = dict.fromkeys([chosen, *names_of({"best": [evidence.get("best")]}, "best"), *names_of(evidence, "tied")])
    because = WHY.get(words.field(evidence, "chosen_for", 20), "is taken")
    return f"{listed([*names])} cannot be told apart by how well they fit, and it {because}."


def _ahead(rival: object, gap: Estimate, verdict: str, how: Measured) -> str:
    best = "they have the highest IFD" if how.score == "ifd" else "they fit the target best"
    if rival is None or gap.value is None:
        return f"{best}."
    ends = f" (95% interval {between(gap)})" if between(gap) else ""
    sure = "more than chance and by a wide margin" if verdict == "clear" else "more than chance, but not by much"
    return f"{best}, {two(gap.value)}{how.gap}{ends} ahead of {named(rival)}, {sure}."
