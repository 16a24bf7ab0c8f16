"""Shares of classes from predictions and a few gold rows: by hand, by simulation, and where nothing can be said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.annotation.truth.shares import accuracy, label_shares, quality
from llmlabel.errors import DataError
from llmlabel.stats import wilson, wilson_effective

CLASSES = ["a", "b", "c"]


def world(seed: int, rows: int = 2000, right: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Gold and labels of a model that takes many for class a."""
    rng = np.random.default_rng(seed)
    gold = rng.choice(3, rows, p=[0.3, 0.65, 0.05])
    return gold, np.where(rng.random(rows) < right, gold, 0)


def drawn(gold: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    known = np.full(len(gold), -1)
    rows = rng.choice(len(gold), size, replace=False)
    known[rows] = gold[rows]
    return known


def test_prediction_powered_mean_by_hand() -> None:
    predicted = np.array([[0.9], [0.2], [0.6], [0.1], [0.8], [0.4]])
    gold = np.array([[1], [0], [1], [0], [-1], [-1]])
    y, f = gold[:4, 0], predicted[:4, 0]
    power = np.cov(y, f)[0, 1] / f.var(ddof=1)
    assert power > 1
    (share,) = label_shares(["yes"], predicted, gold)
    assert share.share == pytest.approx(y.mean() + 1.0 * (predicted.mean() - f.mean()))
    assert (share.naive, share.rows, share.gold_rows) == (pytest.approx(0.5), 3, 2)


def test_the_power_is_that_of_least_variance() -> None:
    gold, labels = world(0)
    known = drawn(gold, 300, np.random.default_rng(0))
    y, f = (known[known >= 0] == 0).astype(float), (labels[known >= 0] == 0).astype(float)
    best = min(np.linspace(0, 1, 1001), key=lambda power: np.var(y - power * f))
    share = label_shares(CLASSES, labels, known)[0]
    assert share.share == pytest.approx(y.mean() + best * (np.mean(labels == 0) - f.mean()), abs=1e-3)


def test_useless_predictions_leave_the_gold_interval() -> None:
    gold, _ = world(1)
    known = drawn(gold, 200, np.random.default_rng(1))
    for share in label_shares(CLASSES, np.full((len(gold), 3), 1 / 3), known):
        assert (share.low, share.high) == pytest.approx((share.classical_low, share.classical_high))
        expected = wilson_effective(share.gold_rows / 200, 200 / (1 - 200 / len(gold)))
        assert (share.classical_low, share.classical_high) == pytest.approx([float(v) for v in expected])


def test_indices_and_indicators_say_the_same() -> None:
    gold, labels = world(2)
    labels[:50] = -1
    known = drawn(gold, 100, np.random.default_rng(2))
    assert label_shares(CLASSES, labels, known) == label_shares(CLASSES, (labels[:, None] == np.arange(3)) * 1.0, known)


def test_equal_inclusion_is_a_uniform_draw() -> None:
    gold, labels = world(3)
    known = drawn(gold, 100, np.random.default_rng(3))
    uniform = label_shares(CLASSES, labels, known)
    for a, b in zip(uniform, label_shares(CLASSES, labels, known, inclusion=np.full(2000, 0.05)), strict=True):
        assert (a.share, a.low, a.high) == pytest.approx((b.share, b.low, b.high))


def coverage(unequal: bool, size: int = 100, draws: int = 200) -> tuple[float, float]:
    """How many intervals hold the truth; their length over that of gold alone."""
    gold, labels = world(4)
    truth = np.bincount(gold) / len(gold)
    rng = np.random.default_rng(4)
    weight = np.where(labels == 0, 4.0, 1.0) if unequal else np.ones(len(gold))
    inclusion = size * weight / weight.sum()
    hits, lengths = [], []
    for _ in range(draws):
        known = np.where(rng.random(len(gold)) < inclusion, gold, -1)
        found = label_shares(CLASSES, labels, known, inclusion=inclusion if unequal else None)
        hits += [s.low <= t <= s.high for s, t in zip(found, truth, strict=True)]
        lengths.append([sum(s.high - s.low for s in found), sum(s.classical_high - s.classical_low for s in found)])
    mine, classical = np.mean(lengths, axis=0)
    return float(np.mean(hits)), float(mine / classical)


@pytest.mark.parametrize("unequal", [False, True])
def test_intervals_hold_the_truth_and_are_shorter(unequal: bool) -> None:
    held, ratio = coverage(unequal)
    assert 0.92 <= held <= 0.985
    assert ratio < 0.9


def test_unequal_draws_need_their_probabilities() -> None:
    gold, labels = world(5)
    inclusion = np.where(labels == 0, 0.4, 0.02)
    known = np.where(np.random.default_rng(50).random(len(gold)) < inclusion, gold, -1)
    told, untold = label_shares(CLASSES, labels, known, inclusion=inclusion)[1], label_shares(CLASSES, labels, known)[1]
    truth = np.mean(gold == 1)
    assert told.low <= truth <= told.high
    assert not untold.classical_low <= truth <= untold.classical_high


def test_a_rare_class_without_errors_is_not_certain() -> None:
    gold = np.zeros(5000, dtype=int)
    gold[:50] = 1
    share = label_shares(["common", "rare"], gold, drawn(gold, 100, np.random.default_rng(0)))[1]
    assert share.low < 0.01 < share.high
    assert share.high - share.low > 0.01


def test_all_rows_known_leaves_nothing_open() -> None:
    gold, labels = world(6)
    for k, share in enumerate(label_shares(CLASSES, labels, gold)):
        assert share.share == pytest.approx(np.mean(gold == k))
        assert share.high - share.low < 1e-4


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_intervals_are_in_order(seed: int, size: int) -> None:
    gold, labels = world(seed, rows=60)
    for share in label_shares(CLASSES, labels, drawn(gold, size, np.random.default_rng(seed))):
        assert 0 <= share.low <= share.high <= 1
        assert share.low - 1e-4 <= share.share <= share.high + 1e-4


@pytest.mark.parametrize(
    ("gold", "inclusion", "said"),
    [
        (np.full(4, -1), None, "no gold rows"),
        (np.array([0, 1]), None, "do not fit"),
        (np.array([0, 1, -1, -1]), np.array([0.5, 0.5, 0.0, 0.5]), "inclusion"),
        (np.array([0, 1, -1, -1]), np.array([0.5]), "inclusion"),
    ],
)
def test_what_cannot_be_used_is_refused(gold: np.ndarray, inclusion: np.ndarray | None, said: str) -> None:
    with pytest.raises(DataError, match=said):
        label_shares(CLASSES, np.array([0, 1, 2, 0]), gold, inclusion=inclusion)


def test_accuracy_is_wilson_or_weighted() -> None:
    right = np.array([True] * 8 + [False] * 2)
    found = accuracy(right)
    assert found is not None and (found.low, found.high) == pytest.approx(wilson(8, 10)) and found.rows == 10
    weighted = accuracy(right, inclusion=np.where(right, 0.1, 1.0))
    assert weighted is not None and weighted.value == pytest.approx(80 / 82)
    assert accuracy(np.zeros(0, dtype=bool)) is None


def test_precision_and_recall() -> None:
    labels, gold = np.array([0, 0, 1, -1, 0]), np.array([0, 1, 1, 0, -1])
    a, b, c = quality(CLASSES, labels, gold)
    assert a.precision is not None and a.recall is not None and b.precision is not None
    assert (a.precision.value, a.precision.rows, a.recall.value) == (0.5, 2, 0.5)
    assert b.precision.value == 1.0
    assert (c.precision, c.recall) == (None, None)
