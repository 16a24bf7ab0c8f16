"""Which annotators repeat each other? Votes that lean on the same errors are worth less than as many independent ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from llmlabel.annotation.consensus.ballots import FloatArray, IntArray, distinct, read, read_gold
from llmlabel.stats import holm

CERTAIN = 0.05  # adjusted p-value below which errors are said to coincide
COPY_KAPPA = 0.6  # a copy agrees at least this well ...
COPY_EXCESS = 0.05  # ... and this much better than the two annotators' agreement with the others explains
USABLE_KAPPA = 0.1  # pairs that agree by chance only say nothing about the others
MOST = 60  # annotators among whom copies are looked for: pairs grow with the square


@dataclass(frozen=True)
class SharedErrors:
    """Annotators `first` and `second` (columns) lean on each other, in one `sentence`.

    With gold: `observed` rows with the same wrong label among `rows`, `expected` if the two erred independently within a
    class. Without: both are kappas, what was seen and what the agreement with all others explains; p_value is then None.
    """

    first: int
    second: int
    rows: int
    observed: float
    expected: float
    p_value: float | None
    sentence: str


def pair_counts(votes: IntArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(A, A) rows in which both said the same, and rows in which both answered."""
    known = votes >= 0
    same, both = (np.zeros((votes.shape[1],) * 2) for _ in range(2))
    for a in range(votes.shape[1]):
        together = known & known[:, [a]]
        both[a] = weight @ together
        same[a] = weight @ (together & (votes == votes[:, [a]]))
    return same, both


def kappas(votes: IntArray, size: int, weight: FloatArray) -> FloatArray:
    """(A, A) Cohen's kappa of every pair over the rows both answered, with chance from each annotator's own shares of labels;
    NaN where no row is shared or both always say one and the same."""
    same, both = pair_counts(votes, weight)
    shares = np.stack([np.bincount(c[c >= 0], weight[c >= 0], minlength=size) for c in votes.T])
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-300)
    chance = shares @ shares.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where((both > 0) & (chance < 1 - 1e-12), (same / both - chance) / (1 - chance), np.nan))


def excess(kappa: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What each pair's kappa would be if annotators were independent given the truth, and how far a pair is above that.

    Under independence kappa[i, j] is about s[i] * s[j]; s is fitted by least squares on logarithms to all pairs but the one
    in question, which needs four annotators or more. Returns: (A, A) expected kappa, (A, A) redundancy in [0, 1]: 1 for exact
    copies, 0 for pairs that are no copies.
    """
    size = len(kappa)
    expected, redundancy = np.ones((size, size)), np.zeros((size, size))
    pairs = [p for p in combinations(range(size), 2) if kappa[p] >= USABLE_KAPPA]
    if not 4 <= size <= MOST or len(pairs) < 4:
        return expected, redundancy
    logs = np.log([min(kappa[p], 1.0) for p in pairs])
    design = np.zeros((len(pairs), size))
    for row, p in enumerate(pairs):
        design[row, list(p)] = 1.0
    gram, target = design.T @ design + 0.01 * np.eye(size), design.T @ logs
    for row, (i, j) in enumerate(pairs):
        skill = np.linalg.solve(gram - np.outer(design[row], design[row]), target - design[row] * logs[row])
        expected[i, j] = expected[j, i] = min(float(np.exp(skill[i] + skill[j])), 1.0)
        if kappa[i, j] >= COPY_KAPPA and kappa[i, j] - expected[i, j] >= COPY_EXCESS:
            redundancy[i, j] = redundancy[j, i] = min((kappa[i, j] - expected[i, j]) / (1 - expected[i, j]), 1.0)
    return expected, redundancy


def redundancies(votes: IntArray, size: int, weight: FloatArray) -> FloatArray:
    """(A, A) in [0, 1]: how far two annotators are copies of each other, judged without gold; the diagonal is 0.

    All 0 for fewer than four annotators or more than `MOST`.
    """
    if not 4 <= votes.shape[1] <= MOST:
        return np.zeros((votes.shape[1],) * 2)
    return excess(kappas(votes, size, weight))[1]


def shared_errors(
    votes: ArrayLike, size: int, gold: ArrayLike | None = None, names: Sequence[str] | None = None
) -> list[SharedErrors]:
    """Pairs of annotators whose errors coincide more than independence allows, the worst first.

    With gold a pair is named where a one-sided Poisson test over the gold rows says so (Holm over all pairs). Texts that
    are hard for everyone count too: what matters is that the two votes are not two opinions. Without gold a pair is named
    that agrees far better than its agreement with all others explains; this needs four annotators.
    Raises: DataError as `ballots.read`.
    """
    ballots = read(votes, size)
    known = read_gold(gold, len(ballots), size)
    called = list(names) if names is not None else [f"annotator {a}" for a in range(ballots.annotators)]
    if (known >= 0).any():
        rows = known >= 0
        return _against_gold(ballots.votes[rows], known[rows], size, called)
    return _without_gold(ballots.votes, size, called)


def _against_gold(votes: IntArray, gold: IntArray, size: int, names: list[str]) -> list[SharedErrors]:
    from scipy.stats import poisson

    found = []
    for i, j in combinations(range(votes.shape[1]), 2):
        both = (votes[:, i] >= 0) & (votes[:, j] >= 0)
        first, second, truth = votes[both, i], votes[both, j], gold[both]
        observed = int(((first == second) & (first != truth)).sum())
        expected = _expected(first, second, truth, size)
        if observed:
            found.append((i, j, int(both.sum()), observed, expected, float(poisson.sf(observed - 1, max(expected, 1e-9)))))
    adjusted = holm([row[-1] for row in found]) if found else np.array([])
    named = []
    for (i, j, rows, observed, expected, _), p in zip(found, adjusted, strict=True):
        if p < CERTAIN:
            sentence = (
                f"{names[i]} and {names[j]} gave the same wrong label in {observed} of {rows} gold rows, where "
                f"{expected:.1f} are expected of two that err independently: together they are less than two opinions."
            )
            named.append(SharedErrors(i, j, rows, observed, round(expected, 3), float(p), sentence))
    return sorted(named, key=lambda s: s.expected - s.observed)


def _expected(first: IntArray, second: IntArray, truth: IntArray, size: int) -> float:
    """Rows with the same wrong label if, within each class, the two erred independently."""
    total = 0.0
    for c in np.unique(truth):
        here = truth == c
        a, b = (np.bincount(v[here], minlength=size).astype(float) for v in (first, second))
        a[c] = b[c] = 0.0
        total += float(a @ b) / float(here.sum())
    return total


def _without_gold(votes: IntArray, size: int, names: list[str]) -> list[SharedErrors]:
    first, _, counts = distinct(votes, size)
    kappa = kappas(votes[first], size, counts.astype(np.float64))
    expected, redundancy = excess(kappa)
    same, both = pair_counts(votes[first], counts.astype(np.float64))
    found = []
    for i, j in zip(*np.nonzero(np.triu(redundancy)), strict=True):
        sentence = (
            f"{names[i]} and {names[j]} agree in {same[i, j] / both[i, j]:.0%} of rows (kappa {kappa[i, j]:.2f}, where their "
            f"agreement with the others explains {expected[i, j]:.2f}): they may repeat each other's errors."
        )
        pair = (round(float(kappa[i, j]), 4), round(float(expected[i, j]), 4))
        found.append(SharedErrors(int(i), int(j), int(both[i, j]), *pair, None, sentence))
    return sorted(found, key=lambda s: s.expected - s.observed)


def effective_number(votes: ArrayLike, size: int, gold: ArrayLike | None = None) -> float:
    """How many independent annotators the A are worth: between 1 and A.

    With gold: A / (1 + (A - 1) r), r the mean correlation of two annotators' being wrong (Kish's design effect), over pairs
    that both err now and then. Without gold only copies can be told: the sum of 1 / (1 + redundancy with all others).
    Raises: DataError as `ballots.read`.
    """
    ballots = read(votes, size)
    known = read_gold(gold, len(ballots), size)
    rows = known >= 0
    if not rows.any():
        first, _, counts = distinct(ballots.votes, size)
        redundancy = redundancies(ballots.votes[first], size, counts.astype(np.float64))
        return float((1 / (1 + redundancy.sum(axis=1))).sum())
    wrong, answered = (ballots.votes[rows] != known[rows, None]).astype(float), ballots.votes[rows] >= 0
    correlations = []
    for i, j in combinations(range(ballots.annotators), 2):
        both = answered[:, i] & answered[:, j]
        a, b = wrong[both, i], wrong[both, j]
        if both.any() and np.ptp(a) and np.ptp(b):
            correlations.append(float(np.corrcoef(a, b)[0, 1]))
    mean = max(float(np.mean(correlations)), 0.0) if correlations else 0.0
    return ballots.annotators / (1 + (ballots.annotators - 1) * mean)
