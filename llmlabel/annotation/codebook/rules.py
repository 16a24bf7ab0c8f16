"""A codebook: rules beside the labels' descriptions, each kept only because it makes an annotator better on gold rows.

Gold rows are dealt to three parts. From `learn` the rules are drafted; on `choose` each of them is tried, and it stays only where
F1 rises and a sign test says that this is no accident; on `test`, which chose nothing, the whole is measured.

Source: after LIG (arXiv 2306.14035), for texts: prototypes and borderline cases, chosen greedily by what they bring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmlabel import stats
from llmlabel.records import Taxonomy

Kind = Literal["include", "exclude", "example"]
Ask = Callable[[Taxonomy, Sequence[str], str], Mapping[str, str | None]]
"""(taxonomy, row ids, name of the step) -> label id, `-` for none fits, None for no usable answer"""

DEALT = "clctlctclt"  # initials of the parts that ten gold rows of a label go to
DRAWS = 1000
SAYS = {"include": "Belongs here", "exclude": "Does not belong here", "example": "Example"}


@dataclass(frozen=True)
class Rule:
    """One line of a codebook. `text` of an example is a text of the data, in quotes."""

    label: str
    kind: Kind
    text: str


@dataclass(frozen=True)
class Gain:
    """Macro F1 before and after, with the 95% interval of the difference; rows that were mended and broken, and the one-sided
    p-value of that (sign test)."""

    rows: int
    before: float
    after: float
    low: float
    high: float
    mended: int
    broken: int
    p: float

    @property
    def gain(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class Trial:
    """What became of a rule. `gain` is None where it was dropped before all rows of `choose` were asked."""

    rule: Rule
    kept: bool
    why: str
    mended: int = 0
    broken: int = 0
    gain: Gain | None = None


@dataclass
class Codebook:
    """`kept`: rules in force. `chosen`: what they bring together on the rows they were chosen on, which flatters; `tested`: on
    rows that chose nothing; both None where no rule was kept in the first place."""

    taxonomy: Taxonomy
    trials: list[Trial] = field(default_factory=list)
    kept: list[Rule] = field(default_factory=list)
    before: float = 0.0
    chosen: Gain | None = None
    tested: Gain | None = None
    why: str = ""

    @property
    def described(self) -> Taxonomy:
        return described(self.taxonomy, self.kept)


def deal(gold: Mapping[str, str], seed: int) -> dict[str, list[str]]:
    """Gold rows by part, learn, choose and test 3 : 4 : 3, each label alike. `gold`: row id -> label id."""
    order = sorted(gold)
    np.random.default_rng(seed).shuffle(order)
    order.sort(key=lambda i: gold[i])
    parts: dict[str, list[str]] = {"learn": [], "choose": [], "test": []}
    names = {name[0]: name for name in parts}
    for n, row in enumerate(order):
        parts[names[DEALT[n % 10]]].append(row)
    return {name: sorted(rows) for name, rows in parts.items()}


def described(taxonomy: Taxonomy, rules: Sequence[Rule]) -> Taxonomy:
    """The taxonomy with the rules in its labels' descriptions."""
    labels = []
    for label in taxonomy.labels:
        parts = [label.description.strip()] if label.description.strip() else []
        if parts and not parts[0].endswith((".", "!", "?")):
            parts[0] += "."
        for kind, says in SAYS.items():
            texts = [rule.text for rule in rules if rule.label == label.id and rule.kind == kind]
            parts += [f"{says}: {'; '.join(texts)}."] if texts else []
        own = any(rule.label == label.id for rule in rules)
        labels.append(label.model_copy(update={"description": " ".join(parts)}) if own else label)
    return taxonomy.model_copy(update={"labels": labels})


def build(
    taxonomy: Taxonomy, rules: Sequence[Rule], gold: Mapping[str, str], parts: Mapping[str, Sequence[str]], ask: Ask, *,
    alpha: float = 0.1, seed: int = 0,
) -> Codebook:  # fmt: skip
    """Try the rules in their order, keep what helps, and measure it.

    A rule is tried first on the rows whose true label or present answer is the rule's label; what does not show there is
    dropped before the others are asked. In the end all rules go where F1 on `test` does not rise.

    Args:
        gold: row id -> label id. parts: see `deal`. ask: labels rows. alpha: of the one-sided sign test, for each rule.
    """
    book, rows = Codebook(taxonomy), list(parts["choose"])
    first = now = dict(ask(taxonomy, rows, "base"))
    book.before = macro_f1(gold, now, rows)
    for n, rule in enumerate(rules):
        trial, said = _try(book, rule, n, gold, rows, now, ask, alpha, seed)
        book.trials.append(trial)
        if trial.kept:
            book.kept.append(rule)
            now = said
    if not book.kept:
        book.why = "no rule made the labels measurably better"
        return book
    book.chosen = compare(gold, first, now, rows, seed)
    held = list(parts["test"])
    book.tested = compare(gold, ask(taxonomy, held, "test-base"), ask(book.described, held, "test-rules"), held, seed)
    if book.tested.gain <= 0:
        book.kept, book.why = [], "on rows that had not chosen the rules they did not help, so none was kept"
    return book


def _try(
    book: Codebook, rule: Rule, n: int, gold: Mapping[str, str], rows: Sequence[str], now: Mapping[str, str | None], ask: Ask,
    alpha: float, seed: int,
) -> tuple[Trial, dict[str, str | None]]:  # fmt: skip
    trial = described(book.taxonomy, [*book.kept, rule])
    near = [i for i in rows if rule.label in (gold[i], now[i])]
    wrong = sum(now[i] != gold[i] for i in near)
    if sign_test(wrong, 0) > alpha:
        return Trial(rule, False, f"not tried: {wrong} wrong labels are too few to show a gain"), {}
    said = {**now, **ask(trial, near, f"rule-{n}-near")}
    mended, broken = changes(gold, now, said, near)
    if sign_test(mended, broken) > alpha:
        return Trial(rule, False, "no measurable gain among the rows it is about", mended, broken), {}
    asked = set(near)
    said |= ask(trial, [i for i in rows if i not in asked], f"rule-{n}-rest")
    gain = compare(gold, now, said, rows, seed)
    kept = gain.gain > 0 and gain.p <= alpha
    return Trial(rule, kept, "" if kept else "the gain did not hold over all rows", gain.mended, gain.broken, gain), said


def changes(
    gold: Mapping[str, str], old: Mapping[str, str | None], new: Mapping[str, str | None], rows: Sequence[str]
) -> tuple[int, int]:
    """How many rows were mended, and how many broken."""
    pairs = [(old[i] == gold[i], new[i] == gold[i]) for i in rows]
    return pairs.count((False, True)), pairs.count((True, False))


def sign_test(mended: int, broken: int) -> float:
    """One-sided exact p-value that so many of the rows that changed were mended by chance; 1 where none changed."""
    n = mended + broken
    return sum(comb(n, k) for k in range(mended, n + 1)) / (1 << n)


def compare(
    gold: Mapping[str, str], old: Mapping[str, str | None], new: Mapping[str, str | None], rows: Sequence[str], seed: int
) -> Gain:
    """What the new answers are worth beside the old ones, on the same rows (paired bootstrap for the interval)."""
    codes = {label: k for k, label in enumerate(sorted({gold[i] for i in rows}))}
    truth, before, after = (np.array([codes.get(v, -1) for v in values]) for values in _columns(gold, old, new, rows))

    def difference(t: NDArray[np.int64], a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
        return _f1(t, b, len(codes)) - _f1(t, a, len(codes))

    same = bool((before == after).all()) or len(rows) < 2
    low, high = (0.0, 0.0) if same else stats.bootstrap(difference, [truth, before, after], seed=seed, draws=DRAWS)
    mended, broken = changes(gold, old, new, rows)
    first, second = _f1(truth, before, len(codes)), _f1(truth, after, len(codes))
    return Gain(len(rows), first, second, low, high, mended, broken, sign_test(mended, broken))


def _columns(
    gold: Mapping[str, str], old: Mapping[str, str | None], new: Mapping[str, str | None], rows: Sequence[str]
) -> list[list[str]]:
    return [[values.get(i) or "" for i in rows] for values in (gold, old, new)]


def macro_f1(gold: Mapping[str, str], said: Mapping[str, str | None], rows: Sequence[str]) -> float:
    """Mean F1 over the labels that occur in the gold of these rows; no answer counts as wrong."""
    codes = {label: k for k, label in enumerate(sorted({gold[i] for i in rows}))}
    truth, answers, _ = (np.array([codes.get(v, -1) for v in values]) for values in _columns(gold, said, said, rows))
    return _f1(truth, answers, len(codes))


def _f1(truth: NDArray[np.int64], said: NDArray[np.int64], labels: int) -> float:
    """Codes of the labels; -1: an answer that is none of them. Labels without a true row (a bootstrap's draw) do not count."""
    right = np.bincount(truth[truth == said], minlength=labels)
    seen, named = np.bincount(truth, minlength=labels), np.bincount(said[said >= 0], minlength=labels)
    there = seen > 0
    return float((2 * right[there] / (seen + named)[there]).mean()) if there.any() else 0.0
