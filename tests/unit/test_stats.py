"""Intervals and tests against published numbers, other routes and their own properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp, ttest_rel

from llmlabel import stats

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@settings(deadline=None)
@given(st.integers(1, 300), st.data())
def test_wilson_at_whole_counts_is_wilson(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    low, high = stats.wilson_effective(successes / trials, trials)
    assert (float(low), float(high)) == pytest.approx(stats.wilson(successes, trials), abs=1e-9)


def test_wilson_of_infinitely_many_trials_is_a_point() -> None:
    low, high = stats.wilson_effective([0.3, 0.0], [np.inf, 10.0])
    assert low[0] == high[0] == 0.3
    assert low[1] == 0.0 < high[1]


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 500))
def test_missing_mass_holds_its_estimate(once: int, twice: int, more: int) -> None:
    rows = once + 2 * twice + more
    low, high = stats.missing_mass(once, twice, rows)
    assert 0 <= low <= once / rows + 1e-12 and once / rows <= high <= 1


def test_missing_mass_without_pairs_is_wilson() -> None:
    assert stats.missing_mass(7, 0, 60) == pytest.approx(stats.wilson(7, 60), abs=1e-9)
    low, high = stats.missing_mass(7, 5, 60)
    assert high - low > np.subtract(*stats.wilson(7, 60)[::-1])


def test_bootstrap_of_a_mean_is_about_the_normal_interval() -> None:
    x = np.random.default_rng(0).normal(size=400)
    low, high = stats.bootstrap(np.mean, [x], seed=1)
    half = 1.96 * x.std() / 20
    assert (low, high) == pytest.approx((x.mean() - half, x.mean() + half), abs=0.02)
    assert stats.bootstrap(np.mean, [x], seed=1) == (low, high)


def test_bootstrap_draws_arrays_together() -> None:
    x = np.arange(50.0)
    assert stats.bootstrap(lambda a, b: float(np.mean(a - b)), [x, x + 3], seed=0) == (-3.0, -3.0)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(2, 30), st.integers(0, 99))
def test_bootstrap_means_draws_the_same_columns_for_all_rows(rows: int, n: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(rows, n))
    drawn = stats.bootstrap_means(np.vstack([x, x[0] + 2]), seed=seed, draws=50)
    assert drawn.shape == (50, rows + 1)
    np.testing.assert_allclose(drawn[:, -1] - drawn[:, 0], 2.0)
    assert (drawn >= np.append(x.min(axis=1), x[0].min() + 2) - 1e-9).all()
    np.testing.assert_array_equal(stats.bootstrap_means(x, seed=seed, draws=50), stats.bootstrap_means(x, seed=seed, draws=50))


def test_bootstrap_means_spreads_as_the_mean_does() -> None:
    x = np.random.default_rng(0).normal(size=400)
    drawn = stats.bootstrap_means(x, seed=1)
    assert drawn.mean() == pytest.approx(x.mean(), abs=0.01) and drawn.std() == pytest.approx(x.std() / 20, rel=0.1)
    assert stats.bootstrap(np.mean, [x], seed=1) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)
    with pytest.raises(ValueError, match="nothing to draw"):
        stats.bootstrap_means(np.zeros((2, 0)), seed=0)


def test_mean_differs() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 30))
    assert stats.mean_differs(a - b) == pytest.approx(ttest_rel(a, b).pvalue)
    assert (stats.mean_differs([0.0, 1e-12, 0.0]), stats.mean_differs(np.arange(9) + 0.1 - np.arange(9))) == (1.0, 0.0)
    with pytest.raises(ValueError, match="two values"):
        stats.mean_differs([1.0])


def test_sign_test_is_mcnemars_of_0_and_1() -> None:
    a, b = [1, 1, 1, 1, 1, 0, 1, np.nan], [0, 0, 0, 0, 0, 1, 1, 0]
    assert stats.sign_test(a, b) == pytest.approx((1 + 6) / 64)  # 5 of 6 or more
    assert stats.sign_test(b, a) == pytest.approx(63 / 64)
    assert stats.sign_test([1, np.nan], [1, 0]) == 1.0


def test_alike_but_for_rounding() -> None:
    assert stats.alike([5.0]) and stats.alike(np.arange(9) + 0.1 - np.arange(9)) and stats.alike([1e9, 1e9 + 0.1])
    assert not stats.alike([0.0, 1e-6]) and not stats.alike([1.0, 1.001])


def test_mean_below() -> None:
    x = [0.1, -0.2, 0.3, 0.0, -0.1]
    assert stats.mean_below(x, 0.5) == pytest.approx(ttest_1samp(x, 0.5, alternative="less").pvalue)
    assert (stats.mean_below([0, 0, 0], 0.1), stats.mean_below([0.2, 0.2], 0.1)) == (0.0, 1.0)
    with pytest.raises(ValueError, match="two values"):
        stats.mean_below([1.0], 0.5)


def test_holm_against_its_textbook_example() -> None:
    np.testing.assert_allclose(stats.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def test_benjamini_yekutieli_against_the_step_up_rule() -> None:
    p = np.array([0.001, 0.2, 0.012, 0.9, 0.008])
    order, m = np.argsort(p), len(p)
    under = p[order] <= np.arange(1, m + 1) / m * 0.05 / np.sum(1 / np.arange(1, m + 1))
    rejected = np.zeros(m, dtype=bool)
    rejected[order[: np.flatnonzero(under).max() + 1]] = True
    np.testing.assert_array_equal(stats.benjamini_yekutieli(p) <= 0.05, rejected)


@settings(deadline=None)
@given(P_VALUES)
def test_adjusting_keeps_the_order_and_never_helps(p: list[float]) -> None:
    for adjust in (stats.holm, stats.benjamini_yekutieli):
        adjusted = adjust(p)
        assert (adjusted >= np.array(p) - 1e-12).all() and (adjusted <= 1).all()
        assert (np.diff(adjusted[np.argsort(p)]) >= -1e-12).all()
