"""Intervals over scipy; the only room for them."""

from __future__ import annotations


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share.

    Raises: ValueError when there are no trials.
    """
    from scipy.stats import binomtest

    if trials < 1:
        raise ValueError("no trials, no interval")
    interval = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
