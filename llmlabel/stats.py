"""Intervals and tests over scipy; the only room for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share.

    Raises: ValueError when there are no trials.
    """
    from scipy.stats import binomtest

    if trials < 1:
        raise ValueError("no trials, no interval")
    interval = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def wilson_effective(share: ArrayLike, trials: ArrayLike, confidence: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Wilson's interval for shares that are not counts: weighted, or estimated with the help of predictions.

    Args:
        share: estimates in [0, 1]. trials: the effective sample size, share * (1 - share) / variance, above 0; may be infinite.
    Returns: low and high, in the shape of the two.
    Source: Korn and Graubard 1998; Franco et al. 2019, https://doi.org/10.1093/jssam/smy019.
    """
    p, n, square = np.asarray(share, float), np.asarray(trials, float), critical(confidence) ** 2
    middle = p + square / n / 2
    half = np.sqrt(square * (p * (1 - p) / n + square / n**2 / 4))
    return np.clip((middle - half) / (1 + square / n), 0.0, 1.0), np.clip((middle + half) / (1 + square / n), 0.0, 1.0)


def critical(confidence: float) -> float:
    """The normal quantile of a two-sided interval: 1.96 for 0.95."""
    from scipy.stats import norm

    return float(norm.ppf((1 + confidence) / 2))


def missing_mass(once: int, twice: int, rows: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the share of data whose kind is not among those seen in `rows` rows, around Good-Turing's once / rows.

    Args:
        once, twice: how many kinds were seen once, and twice.

    The error of that estimate has variance (f1 + 2 f2 - f1^2 / n) / n^2 (Esty 1983, https://doi.org/10.1214/aos/1176346256);
    its f1 is replaced by what is estimated, as in Wilson's interval, which this one is where nothing was seen twice.
    Raises: ValueError when there are no rows.
    """
    if rows < 1:
        raise ValueError("no rows, no interval")
    square = critical(confidence) ** 2
    a, b, c = 1 + square / rows, 2 * once + square, once**2 - 2 * square * twice
    half = np.sqrt(b**2 - 4 * a * c)
    low, high = np.clip([(b - half) / (2 * a * rows), (b + half) / (2 * a * rows)], 0.0, 1.0)
    return float(low), float(high)


def bootstrap(
    statistic: Callable[..., float], rows: Sequence[ArrayLike], *, seed: int, draws: int = 1000, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of a statistic of rows drawn with replacement.

    Args:
        statistic: of the arrays in `rows`, which are drawn together. rows: arrays of length N.
    """
    from scipy.stats import bootstrap as resampled

    found = resampled(
        tuple(np.asarray(r) for r in rows), statistic, paired=True, vectorized=False, n_resamples=draws,
        confidence_level=confidence, method="percentile", rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


def bootstrap_means(rows: ArrayLike, *, seed: int, draws: int = 2000) -> FloatArray:
    """Means of several rows over columns drawn with replacement, the same columns for all rows: paired, and fast.

    Args:
        rows: (R, N).
    Returns: (draws, R). Their quantiles are percentile intervals; differences between columns of it are paired.
    Raises: ValueError when there are no columns.
    """
    x = np.atleast_2d(np.asarray(rows, float))
    n = x.shape[1]
    if n < 1:
        raise ValueError("nothing to draw from")
    drawn = np.random.default_rng(seed).integers(n, size=(draws, n)) + np.arange(draws)[:, None] * n
    weights = np.bincount(drawn.ravel(), minlength=draws * n).reshape(draws, n)
    return np.asarray(weights @ x.T / n, float)


def mean_below(values: ArrayLike, bound: float) -> float:
    """One-sided p-value of Student's t-test that the mean of the values is below a bound.

    Values that are all alike have no spread to test with: then 0 below the bound, else 1.
    Raises: ValueError for fewer than two values.
    """
    from scipy.stats import ttest_1samp

    x = np.asarray(values, float)
    if len(x) < 2:
        raise ValueError("a t-test needs two values")
    if np.ptp(x) == 0:
        return float(x[0] >= bound)
    return float(ttest_1samp(x, bound, alternative="less").pvalue)


def mean_differs(values: ArrayLike) -> float:
    """Two-sided p-value of Student's t-test that the mean of the values is not 0; of paired differences, the paired t-test.

    Values that are all alike have no spread to test with: then 1 if they are 0, else 0.
    Raises: ValueError for fewer than two values.
    """
    from scipy.stats import ttest_1samp

    x = np.asarray(values, float)
    if len(x) < 2:
        raise ValueError("a t-test needs two values")
    if alike(x):
        return float(np.allclose(x, 0.0, atol=1e-9))
    return float(ttest_1samp(x, 0.0).pvalue)


def sign_test(a: ArrayLike, b: ArrayLike) -> float:
    """One-sided p-value that a is larger than b no more often than smaller, in pairs; of 0 and 1, McNemar's exact test.

    Pairs that are equal, or in which one is nan, say nothing; without any other the p-value is 1.
    """
    from scipy.stats import binomtest

    d = np.asarray(a, float) - np.asarray(b, float)
    more, fewer = int((d > 0).sum()), int((d < 0).sum())
    return float(binomtest(more, more + fewer, alternative="greater").pvalue) if more + fewer else 1.0


def larger_share(a: ArrayLike, b: ArrayLike) -> float:
    """One-sided p-value that the share of ones in a is no larger than in b: Fisher's exact test; nan says nothing."""
    from scipy.stats import fisher_exact

    counts = [[int((x == 1).sum()), int((x == 0).sum())] for x in (np.asarray(a, float), np.asarray(b, float))]
    return float(fisher_exact(counts, alternative="greater").pvalue)


def share_difference(before: tuple[int, int], now: tuple[int, int], confidence: float = 0.95) -> tuple[float, float]:
    """Interval of how much a share has grown: now less before, each (successes, trials).

    Source: Newcombe 1998, method 10: the two Wilson intervals, put together.
    Raises: ValueError when one has no trials.
    """
    (low_a, high_a), (low_b, high_b) = wilson(*before, confidence), wilson(*now, confidence)
    a, b = before[0] / before[1], now[0] / now[1]
    down, up = np.hypot(b - low_b, high_a - a), np.hypot(high_b - b, a - low_a)
    return float(max(b - a - down, -1.0)), float(min(b - a + up, 1.0))


def shares_differ(before: tuple[int, int], now: tuple[int, int], grown: bool = False) -> float:
    """P-value of Fisher's exact test that two shares, each (successes, trials), are the same; `grown`: that the second is no
    larger."""
    from scipy.stats import fisher_exact

    table = [[now[0], now[1] - now[0]], [before[0], before[1] - before[0]]]
    return float(fisher_exact(table, alternative="greater" if grown else "two-sided").pvalue)


def mostly_larger(a: ArrayLike, b: ArrayLike) -> float:
    """One-sided p-value of Mann and Whitney's test that values of a are no larger than those of b.

    Raises: ValueError when one has no values.
    """
    from scipy.stats import mannwhitneyu

    x, y = np.asarray(a, float), np.asarray(b, float)
    if not len(x) or not len(y):
        raise ValueError("two samples are needed")
    return float(mannwhitneyu(x, y, alternative="greater").pvalue)


def auc_interval(larger: ArrayLike, smaller: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """How often a value of `larger` is above one of `smaller`, ties half, and its interval.

    Source: the variance of Hanley and McNeil 1982.
    """
    from scipy.stats import rankdata

    x, y = np.asarray(larger, float), np.asarray(smaller, float)
    n, m = len(x), len(y)
    area = float((rankdata(np.concatenate([x, y]))[:n].sum() - n * (n + 1) / 2) / (n * m))
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (n - 1) * (first - area**2) + (m - 1) * (second - area**2)
    half = critical(confidence) * float(np.sqrt(max(spread, 0.0) / (n * m)))
    return area, max(area - half, 0.0), min(area + half, 1.0)


def same_distribution(x: ArrayLike, y: ArrayLike, *, seed: int, draws: int = 999) -> float:
    """P-value of the permutation test that two samples of vectors come from one distribution, by their maximum mean discrepancy
    under a Gaussian kernel whose width is the median distance.

    Args:
        x, y: (N, D) and (M, D). draws: permutations; the p-value is 1 / (draws + 1) at the least.
    Source: Gretton et al. 2012, A Kernel Two-Sample Test.
    """
    z = np.vstack([np.asarray(x, float), np.asarray(y, float)])
    n, m = len(np.asarray(x)), len(np.asarray(y))
    squares = (z**2).sum(axis=1)
    apart = np.maximum(squares[:, None] + squares - 2 * z @ z.T, 0.0)
    kernel = np.exp(-apart / max(float(np.median(apart[np.triu_indices(n + m, 1)])), 1e-12))
    np.fill_diagonal(kernel, 0.0)
    rng, sides = np.random.default_rng(seed), np.repeat([1 / n, -1 / m], [n, m])
    weights = np.vstack([sides, *(rng.permutation(sides) for _ in range(draws))])
    found = ((weights @ kernel) * weights).sum(axis=1)
    return float((found >= found[0] - 1e-15).mean())


def alike(values: ArrayLike) -> bool:
    """Whether the values differ by no more than rounding, relative to their size or, near 0, to 1."""
    x = np.asarray(values, float)
    return bool(np.ptp(x) <= 1e-9 * max(1.0, float(np.abs(x).max())))


def holm(p_values: ArrayLike) -> FloatArray:
    """P-values adjusted by Holm 1979: reject those at most alpha, and no more than alpha of such families err even once."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def benjamini_yekutieli(p_values: ArrayLike) -> FloatArray:
    """P-values adjusted by Benjamini and Yekutieli 2001: the false discovery rate under any dependence."""
    from scipy.stats import false_discovery_control

    adjusted: Any = false_discovery_control(np.asarray(p_values, float), method="by")
    return np.asarray(adjusted, float)
