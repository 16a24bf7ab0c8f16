"""The arithmetic of a cascade by hand, and its promise on a known population."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llmlabel.annotation.deferral.cascade import Stage, plan, route
from llmlabel.annotation.deferral.threshold import choose_threshold
from llmlabel.errors import ConfigError, DataError


def test_the_first_sure_stage_decides() -> None:
    stages = route([[0.9, 0.5, 0.2, 0.9], [0.1, 0.9, 0.3, np.nan]], [0.8, 0.8])
    assert stages.tolist() == [0, 1, -1, 0]
    assert route([[0.9, 0.5]], [None, 0.8]).tolist() == [-1, -1]


def test_one_stage_is_plain_deferral() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.beta(6, 1, 300)
    right = rng.random(300) < confidence
    found, alone = plan([Stage("a", confidence, right, 1.0)], alpha=0.1), choose_threshold(confidence, right, alpha=0.1)
    assert found.thresholds == (alone.threshold,) and alone.threshold is not None
    assert (found.errors, found.bound, found.why) == (alone.errors, alone.bound, alone.why)
    assert found.shares == (alone.coverage,)


def test_the_books_by_hand() -> None:
    cheap = Stage("cheap", np.repeat([0.99, 0.5, 0.3], [60, 30, 10]), np.repeat([True, False, False], [60, 30, 10]), 1.0)
    strong = Stage("strong", np.repeat([0.2, 0.99, 0.3], [60, 30, 10]), np.repeat([True, True, False], [60, 30, 10]), 10.0)
    found = plan([cheap, strong], alpha=0.05)
    assert found.promised and found.errors == 0
    assert found.thresholds == (pytest.approx(0.55), pytest.approx(0.55))
    assert found.shares == (pytest.approx(0.6), pytest.approx(0.3)) and found.people == pytest.approx(0.1)
    assert found.cost == pytest.approx(0.6 * 1 + 0.4 * 11)
    assert found.saving == pytest.approx(0.5)
    low, high = found.saving_interval
    assert 0.35 < low < 0.5 < high < 0.65
    assert (found.accuracy, found.strong_accuracy, found.gain_interval) == (pytest.approx(0.9), pytest.approx(0.9), (0.0, 0.0))
    assert json.loads(json.dumps(found.to_json()))["people"] == pytest.approx(0.1)


def test_without_gold_nothing_is_promised() -> None:
    found = plan([Stage("cheap", [0.99, 0.5], None, 1.0), Stage("strong", [0.9, 0.96], None, 4.0)], alpha=0.05)
    assert not found.promised and found.why.startswith("no gold")
    assert found.thresholds == (0.95, 0.95) and found.shares == (0.5, 0.5)
    assert found.accuracy is None and found.cost == pytest.approx(3.0)


def test_where_nothing_can_be_promised_people_decide_all() -> None:
    found = plan([Stage("a", np.full(20, 0.9), np.ones(20), 1.0), Stage("b", np.full(20, 0.9), np.ones(20), 2.0)], alpha=0.05)
    assert not found.promised and found.people == 1 and found.thresholds == (None, None)
    assert "at least 45 accepted rows" in found.why
    assert found.saving == pytest.approx(-0.5)


def population(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of being right, of a cheap and of a strong model, on texts that are easy or hard for both."""
    ease = rng.normal(size=rows)
    return 1 / (1 + np.exp(-1.2 - 1.5 * ease)), 1 / (1 + np.exp(-2.5 - 1.5 * ease - 0.5 * rng.normal(size=rows)))


def test_the_promise_holds_for_all_decided_rows_together() -> None:
    rng = np.random.default_rng(0)
    fresh = np.stack(population(rng, 10_000))
    broken, decided = [], []
    for _ in range(200):
        chances = population(rng, 300)
        stages = [Stage("s", p, rng.random(300) < p, cost) for p, cost in zip(chances, (1.0, 10.0), strict=True)]
        stage = route(fresh, plan(stages, alpha=0.1).thresholds)
        some = stage >= 0
        error = 1 - fresh[stage[some], np.flatnonzero(some)].mean() if some.any() else 0.0
        broken.append(error > 0.1)
        decided.append(some.mean())
    assert np.mean(broken) <= 0.1 + 2 * np.sqrt(0.09 / 200)
    assert np.mean(decided) > 0.4


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one stage"):
        plan([], alpha=0.1)
    with pytest.raises(DataError, match="for all of them or for none"):
        plan([Stage("a", [0.5], [True], 1.0), Stage("b", [0.5], None, 1.0)], alpha=0.1)
    with pytest.raises(DataError, match="same rows"):
        plan([Stage("a", [0.5], None, 1.0), Stage("b", [0.5, 0.6], None, 1.0)], alpha=0.1)
