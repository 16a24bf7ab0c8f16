"""Drift: few false alarms, found where there is some, and said in words."""

from __future__ import annotations

import numpy as np
import pytest

from llmlabel import stats
from llmlabel.annotation.drift.check import FEWEST, Drift, check
from llmlabel.annotation.drift.sample import NONE, Side

CLASSES = ["-", "a", "b", "c", "d"]
SIZE = 8


def centres(kinds: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((kinds, SIZE))


def side(rng: np.random.Generator, kinds: np.ndarray, labels: np.ndarray | None = None, asked: float = 1.0) -> Side:
    """Rows around the centre of their kind; their texts hold the vectors."""
    points = centres(6)[kinds] + 0.4 * rng.standard_normal((len(kinds), SIZE))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    said = kinds if labels is None else labels
    texts = [" ".join(map(str, row)) for row in points.tolist()]
    sure = np.clip(0.8 + 0.1 * rng.standard_normal(len(kinds)), 0, 1)
    mark = np.zeros(len(kinds), dtype=bool)
    return Side([str(i) for i in range(len(kinds))], texts, said.astype(np.int64), rng.random(len(kinds)) < asked, sure, mark)


def encode(texts: list[str]) -> np.ndarray:
    return np.array([[float(v) for v in text.split()] for text in texts])


def kinds(rng: np.random.Generator, size: int, shares: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)) -> np.ndarray:
    return 1 + rng.choice(4, size, p=shares)


def judged(before: Side, now: Side, seed: int = 0) -> Drift:
    return check(CLASSES, before, now, encode, names={"a": "Apples"}, seed=seed)


def test_without_drift_few_rounds_say_so() -> None:
    rng, found = np.random.default_rng(1), []
    for n in range(20):
        asked = 1.0 if n % 2 else 0.6
        before, now = side(rng, kinds(rng, 60), asked=asked), side(rng, kinds(rng, 40), asked=asked)
        found.append(judged(before, now, n).verdict)
    assert found.count("act") <= 3, "5% of the rounds, and some for chance"
    assert found.count("watch") + found.count("act") <= 6


def test_texts_that_no_label_fits_ask_for_a_wider_taxonomy() -> None:
    rng = np.random.default_rng(2)
    new = kinds(rng, 150)
    new[:30] = 5
    found = judged(side(rng, kinds(rng, 300)), side(rng, new, np.where(new == 5, NONE, new)))
    assert found.verdict == "act"
    assert "none_fits" in found.found["acting"] and "Extend the taxonomy" in found.todo["none_fits"]
    assert "0.0% before, 20% now" in found.why[0]
    strange = {str(i) for i in range(30)}
    assert len(strange & set(found.rows)) >= 7, "the rows to look at are the strange ones"


def test_strange_texts_that_were_given_a_label_are_found_by_where_they_lie() -> None:
    rng = np.random.default_rng(3)
    new = kinds(rng, 200)
    labels = np.where(np.arange(200) < 50, 1, new)
    new[:50] = 5
    found = judged(side(rng, kinds(rng, 400)), side(rng, new, labels))
    assert found.verdict == "act" and "texts" in found.found["acting"]
    assert found.found["texts"]["now"] > 0.18 > found.found["texts"]["before"]


def test_a_label_that_grows_is_named() -> None:
    rng = np.random.default_rng(4)
    before, now = side(rng, kinds(rng, 400)), side(rng, kinds(rng, 300, (0.7, 0.1, 0.1, 0.1)))
    found = judged(before, now)
    assert found.verdict == "act" and "labels" in found.found["acting"]
    assert any("Apples" in why for why in found.why)
    row = next(r for r in found.found["labels"] if r["label"] == "a")
    assert row["low"] > 0 and row["now_low"] < row["now"] < row["now_high"]


def test_labels_that_mean_something_else_now_are_found_by_a_classifier() -> None:
    rng = np.random.default_rng(5)
    new = kinds(rng, 200)
    swapped = np.where(new == 1, 2, np.where(new == 2, 1, new))
    found = judged(side(rng, kinds(rng, 400)), side(rng, new, swapped))
    assert "student" in found.found["acting"] and "Retrain" in found.todo["student"]


def test_what_is_certain_but_small_is_watched_only() -> None:
    rng = np.random.default_rng(6)
    new = kinds(rng, 4000)
    labels = np.where(np.arange(4000) < 40, NONE, new)
    found = judged(side(rng, kinds(rng, 4000)), side(rng, new, labels))
    assert found.found["p"]["none_fits"] < 0.01 and found.verdict == "watch"


def test_a_handful_of_rows_says_nothing() -> None:
    rng = np.random.default_rng(7)
    found = judged(side(rng, kinds(rng, 400)), side(rng, np.full(FEWEST - 1, 5)))
    assert found.verdict == "steady" and "too few" in found.why[0] and not found.found["enough"]


def test_rows_that_all_look_alike_are_no_reason_to_fail() -> None:
    same = np.ones(50, dtype=np.int64)
    one = Side([str(i) for i in range(50)], ["1 0"] * 50, same, same.astype(bool), np.full(50, np.nan), np.zeros(50, dtype=bool))
    assert judged(one, one).verdict == "steady"


def test_the_difference_of_shares_has_newcombes_interval() -> None:
    low, high = stats.share_difference((48, 80), (56, 70))  # his table II, (a): 0.0524, 0.3339
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert stats.shares_differ((5, 100), (20, 100), grown=True) < 0.01 < stats.shares_differ((20, 100), (5, 100), grown=True)


def test_the_kernel_test_keeps_its_level_and_sees_a_shift() -> None:
    rng = np.random.default_rng(8)
    p = [stats.same_distribution(*rng.standard_normal((2, 30, 4)), seed=n, draws=99) for n in range(100)]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.09)
    assert stats.same_distribution(rng.standard_normal((40, 4)), rng.standard_normal((40, 4)) + 1, seed=0) == 0.001


def test_an_auc_is_how_often_one_is_above_the_other() -> None:
    area, low, high = stats.auc_interval([2, 3, 4], [1, 2, 3])
    assert area == pytest.approx((1.5 + 2.5 + 3) / 9) and 0 <= low < area < high <= 1
