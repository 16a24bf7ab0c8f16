"""How many labels of a graph run are right: measured beside the plain way, and estimated without true labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmlabel.report import words
from llmlabel.report.charts import Scale, percents, steps
from llmlabel.report.parts import Estimate, estimate, part, sentence, texts, whole

SIMPLE = "no filter, features averaged over two hops of neighbours, and a logistic regression"
METHODS = {
    "llmlabel": ("This run", ""),
    "plain": ("Plain", f"random nodes, {SIMPLE}"),
    "random": ("Random nodes", "chosen at random, the rest as in this run"),
}
OWN_NODES = f"the nodes this run had annotated, {SIMPLE}"


@dataclass(frozen=True)
class Span(Scale):
    """Shares from `low` to `top` across a table cell: differences of two points must be seen."""

    low: float = 0.0

    def at(self, share: float) -> float:
        return round(100 * min(max((share - self.low) / (self.top - self.low), 0.0), 1.0), 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        return [(self.at(v), percents(v)) for v in steps(self.low, self.top, self.most)]


def span(shares: list[float]) -> Span:
    """From the tenth below the least of these to the tenth above the largest; 20 points wide at least."""
    low = min((math.floor(10 * min(shares) + 1e-9) if shares else 0), 8)
    top = max(math.ceil(10 * max(shares) - 1e-9) if shares else 10, low + 2)
    return Span(min(top, 10) / 10, low=max(low, 0) / 10)


@dataclass
class Method:
    """One row of the chart. `how`: in plain words, what it does; `nodes`: measured on so many."""

    name: str
    how: str
    right: Estimate
    nodes: int | None = None
    macro_f1: float | None = None


@dataclass
class Right:
    """How many labels are right. `said`: sentences, the first one the answer; `assumes`: what the estimate rests on."""

    said: list[str]
    methods: list[Method]
    guess: Estimate
    assumes: list[str]
    scale: Scale

    @property
    def measured(self) -> bool:
        return any(method.right.value is not None for method in self.methods)


def right_labels(metrics: Mapping[str, Any]) -> Right:
    """From `scores`, empty without true labels, and `estimate`."""
    scores, raw = part(metrics, "scores"), part(metrics, "estimate")
    order = [*METHODS, *(key for key in scores if key not in METHODS)]
    methods = [_method(key, found) for key in order if "accuracy" in words.figures(found := part(scores, key))]
    guess = estimate(raw, "accuracy")
    ends = [v for e in [*(m.right for m in methods), guess] for v in (e.low, e.value, e.high) if v is not None]
    assumes = texts(raw, "assumes", 6) if isinstance(raw.get("assumes"), list) else sentence(raw, "assumes")
    first, *more = _answer(part(scores, "llmlabel"), guess)
    return Right([first, *_beside(scores), *more, *sentence(scores, "note")], methods, guess, assumes, span(ends))


def _method(key: str, raw: Mapping[str, Any]) -> Method:
    name, how = METHODS.get(key, (words.clean(key, 40), ""))
    if key == "plain" and raw.get("nodes") == "the run's own":
        how = OWN_NODES
    return Method(name, how, estimate(raw, "accuracy"), whole(raw, "nodes_measured"), words.figure(raw.get("macro_f1")))


def _answer(ours: Mapping[str, Any], guess: Estimate) -> list[str]:
    """The answer first, then how the estimate compares with it."""
    right, nodes = estimate(ours, "accuracy"), whole(ours, "nodes_measured")
    guessed = words.percent(guess.value) + (f" (95% interval {guess.interval})" if guess.interval else "")
    if right.value is None:
        lines = ["Every node with a known true label was annotated: nothing is left to measure on."] if nodes == 0 else []
        if guess.value is None:
            return [*lines, "How many of the labels are right is not known."]
        return [f"By estimate {guessed} of the labels are right; no true label was there to measure it.", *lines]
    on = f", measured on {words.count(nodes, 'node that was', 'nodes that were')} not annotated" if nodes else ""
    between = f" (95% interval {right.interval})" if right.interval else ""
    lines = [f"{words.percent(right.value)} of the labels are right{between}{on}."]
    if guess.value is not None and guess.low is not None and guess.high is not None:
        holds = guess.low <= right.value <= guess.high
        what = "which covers what was measured" if holds else "which misses what was measured: do not rely on it here"
        lines.append(f"Without a true label the run would have said {guessed}, {what}.")
    if (ece := words.figure(ours.get("ece"))) is not None:
        lines.append(f"Confidence and the share that is right are {100 * ece:.1f} points of 100 apart (ECE {ece:.3f}).")
    return lines


def _beside(scores: Mapping[str, Any]) -> list[str]:
    ours, theirs = (estimate(part(scores, key), "accuracy") for key in ("llmlabel", "plain"))
    if ours.value is None or theirs.value is None:
        return []
    gap = round(100 * (ours.value - theirs.value), 1)
    said = "the same as" if gap == 0 else f"{abs(gap):.1f} points {'more' if gap > 0 else 'less'} than"
    chance = "; the intervals overlap, so it may be chance" if gap and _overlap(ours, theirs) else ""
    return [f"That is {said} plain, the simplest way to do it{chance}."]


def _overlap(a: Estimate, b: Estimate) -> bool:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return False
    return max(a.low, b.low) <= min(a.high, b.high)
