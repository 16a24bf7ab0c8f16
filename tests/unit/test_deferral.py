"""Thresholds with a promise, against numbers worked out by another route."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from llmlabel.annotation.deferral.threshold import GRID, choose_threshold, curve, fewest_rows, upper_bound
from llmlabel.errors import ConfigError, DataError


def test_the_grid_goes_down_from_one_to_zero() -> None:
    assert GRID[0] == 1 and GRID[-1] == 0 and (np.diff(GRID) < 0).all()


@pytest.mark.parametrize(("errors", "rows"), [(0, 45), (1, 77), (7, 120)])
def test_the_bound_is_the_rate_at_which_so_few_errors_are_unlikely(errors: int, rows: int) -> None:
    assert binom.cdf(errors, rows, float(upper_bound(errors, rows, 0.1))) == pytest.approx(0.1)


def test_rows_needed() -> None:
    assert fewest_rows(0.05, 0.1) == 45
    assert upper_bound(0, 45, 0.1) <= 0.05 < upper_bound(0, 44, 0.1)
    assert upper_bound([3, 0], [3, 0], 0.1).tolist() == [1, 1]


def test_gold_too_small_says_what_it_takes() -> None:
    found = choose_threshold(np.ones(5), np.ones(5, dtype=bool), alpha=0.05)
    assert found.threshold is None and found.coverage == 0 and not found.accepts([1.0]).any()
    assert found.why == (
        "gold of 5 rows cannot promise 95% precision: even with no error at least 45 accepted rows are needed at delta 0.1"
    )
    assert choose_threshold([], [], alpha=0.05).threshold is None


def test_it_stops_where_errors_begin() -> None:
    confidence = np.repeat([0.97, 0.92, 0.72, 0.31], 50)
    right = np.repeat([True, True, False, True], 50)
    found = choose_threshold(confidence, right, alpha=0.05)
    assert found.threshold == pytest.approx(0.75)
    assert (found.accepted, found.errors, found.coverage) == (100, 0, 0.5)
    assert found.bound == pytest.approx(1 - 0.1 ** (1 / 100))
    assert found.accepts([0.75, 0.74, np.nan]).tolist() == [True, False, False]
    assert "of 200 gold rows 100 have a confidence of 0.75 or more, 0 of them wrong" in found.why


def test_a_bad_top_promises_nothing_whatever_follows() -> None:
    confidence = np.repeat([0.99, 0.5], [60, 500])
    right = np.repeat([False, True], [60, 500])
    found = choose_threshold(confidence, right, alpha=0.2)
    assert found.threshold is None
    assert found.why == "the 60 most confident of 560 gold rows hold 60 wrong ones, and 80% precision at delta 0.1 allows 7"


def test_ties_enter_together_however_the_share_was_computed() -> None:
    confidence = np.repeat([1 - 3 / 10, 7 / 10, 0.1 * 7], 40)
    found = choose_threshold(confidence, np.ones(120, dtype=bool), alpha=0.05)
    assert found.accepted == 120 and found.accepts(confidence).all()


def test_overconfident_scores_are_told_apart() -> None:
    confidence = np.repeat([0.9999, 0.99], 100)
    found = choose_threshold(confidence, np.repeat([True, False], 100), alpha=0.05)
    assert found.accepted == 100 and found.threshold is not None and 0.99 < found.threshold <= 0.9999


def test_the_promise_holds_on_a_known_population() -> None:
    rng = np.random.default_rng(0)
    broken = []
    for _ in range(400):
        confidence = rng.beta(3, 1, 300)
        found = choose_threshold(confidence, rng.random(300) < confidence**0.7, alpha=0.1)
        fresh = rng.beta(3, 1, 5_000)
        accepted = fresh[found.accepts(fresh)]
        broken.append(len(accepted) > 0 and 1 - (accepted**0.7).mean() > 0.1)
    assert np.mean(broken) <= 0.1 + 2 * np.sqrt(0.09 / 400)
    assert np.mean(broken) > 0  # delta is spent, not wasted


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=200), st.randoms())
def test_it_does_not_depend_on_the_order_of_rows(rows: list[tuple[int, bool]], shuffle: object) -> None:
    def found(some: list[tuple[int, bool]]) -> dict[str, object]:
        confidence, right = np.array([k / 10 for k, _ in some]), np.array([r for _, r in some])
        return choose_threshold(confidence, right, alpha=0.3, fewest=5).to_json()

    mixed = list(rows)
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]
    assert found(mixed) == found(rows)
    said = json.loads(json.dumps(found(rows)))
    assert said["threshold"] is None or said["bound"] <= 0.3


def test_the_curve_has_one_point_a_confidence() -> None:
    points = curve([0.9, 0.5, 0.9, 0.1], [True, False, False, True])
    assert points.threshold.tolist() == [0.9, 0.5, 0.1]
    assert points.coverage.tolist() == [0.5, 0.75, 1.0]
    assert points.error.tolist() == [0.5, pytest.approx(2 / 3), 0.5]


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        choose_threshold([0.5], [True], alpha=0.0)
    with pytest.raises(DataError, match="row 1"):
        choose_threshold([0.5, np.nan], [True, True], alpha=0.1)
    with pytest.raises(DataError, match="do not fit"):
        choose_threshold([0.5, 0.6], [True], alpha=0.1)
