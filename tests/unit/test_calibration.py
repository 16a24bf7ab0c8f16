"""Confidences that mean what they say; maps that cannot be learned are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.annotation.calibration.fitting import Calibration, cross_fitted, ece, fit, reliability
from llmlabel.annotation.calibration.maps import Map, with_top
from llmlabel.errors import DataError


def model(sharper: float, rows: int = 600, seed: int = 0) -> tuple[Any, Any]:
    """(N, 4) probabilities that are right at `sharper` 1, and the truth drawn from them."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet([0.5] * 4, rows)
    truth = np.array([rng.choice(4, p=p) for p in true])
    said = np.maximum(true, 1e-9) ** sharper
    return said / said.sum(axis=1, keepdims=True), truth


def gap(probs: Any, truth: Any) -> float:
    return ece(probs.max(axis=1), probs.argmax(axis=1) == truth)


def test_too_sure_a_model_is_softened() -> None:
    probs, truth = model(3.0)
    gold = np.where(np.arange(600) < 150, truth, -1)
    found, chosen = cross_fitted(probs, gold)
    assert chosen.kind != "identity" and chosen.rows == 150
    assert gap(found[150:], truth[150:]) < gap(probs[150:], truth[150:]) / 2
    np.testing.assert_array_equal(found.argmax(axis=1), probs.argmax(axis=1))


def test_the_temperature_is_found() -> None:
    from llmlabel.annotation.calibration.maps import temperature

    probs, truth = model(2.0, 3000)
    assert temperature(probs, truth, {}).temperature == pytest.approx(2.0, rel=0.1)


def test_calibrated_probabilities_are_left_alone() -> None:
    left = [fit(*model(1.0, 100, seed)).kind for seed in range(5)]
    assert left.count("identity") >= 4


@pytest.mark.parametrize(
    ("gold", "words"),
    [(None, "no gold rows"), (np.full(60, -1), "no gold rows"), (np.array([0, 1, 2] + [-1] * 57), "3 gold rows are too few")],
)
def test_little_gold_leaves_it_as_it_is(gold: Any, words: str) -> None:
    probs, _ = model(3.0, 60)
    found, chosen = cross_fitted(probs, gold)
    assert chosen.kind == "identity" and words in chosen.why
    np.testing.assert_array_equal(found, probs)


def test_gold_of_one_class_only() -> None:
    probs, _ = model(3.0, 60)
    assert "same class" in fit(probs, np.zeros(60, dtype=int)).why


def test_features_of_a_black_box_say_more_than_its_label() -> None:
    """The model always says .9; vote share tells when it is right, and is unknown in some rows."""
    rng = np.random.default_rng(0)
    truth, share = rng.integers(0, 2, 400), rng.random(400)
    said = np.where(rng.random(400) < 0.3 + 0.7 * share, truth, 1 - truth)
    probs = np.where(np.eye(2)[said] > 0, 0.9, 0.1)
    share[::20] = np.nan
    found, chosen = cross_fitted(probs, truth, features={"vote_share": share})
    assert chosen.kind == "logistic" and chosen.map.names == ("vote_share",)
    confidence = found.max(axis=1)
    assert np.corrcoef(confidence[~np.isnan(share)], share[~np.isnan(share)])[0, 1] > 0.9
    assert gap(found, truth) < 0.1
    with pytest.raises(DataError, match="feature vote_share"):
        chosen.apply(probs)


def test_all_right_or_all_wrong_rows_are_no_reason_to_fail() -> None:
    probs, _ = model(1.0, 40)
    best = probs.argmax(axis=1)
    for truth in (best, (best + 1) % 4):
        found, _ = cross_fitted(probs, truth)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found.sum(axis=1), 1)


def test_gold_rows_go_through_a_map_that_has_not_seen_them() -> None:
    """Truth is noise: a map fitted on all rows looks better on them than the cross-fitted ones."""
    rng = np.random.default_rng(3)
    probs, _ = model(3.0, 40)
    truth = rng.integers(0, 4, 40)
    found, chosen = cross_fitted(probs, truth)
    assert not np.allclose(found, chosen.apply(probs))


@pytest.mark.parametrize("features", [None, {"share": np.linspace(0, 1, 300)}])
@pytest.mark.parametrize("sharper", [1.0, 4.0])
def test_json_round_trip(sharper: float, features: Any) -> None:
    probs, truth = model(sharper, 300)
    chosen = fit(probs, truth, features=features)
    again = Calibration.from_json(chosen.to_json())
    assert again == chosen
    np.testing.assert_array_equal(again.apply(probs, features), chosen.apply(probs, features))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"map": {"kind": "magic"}, "why": "", "rows": 1}', '{"map": {"kinds": 1}}'])
def test_no_saved_calibration(text: str) -> None:
    with pytest.raises(DataError, match="not a saved calibration"):
        Calibration.from_json(text)


def test_isotonic_knots_are_followed() -> None:
    found = Map("isotonic", x=(0.4, 0.8), y=(0.3, 0.7)).apply(np.array([[0.6, 0.4, 0.0]]), {})
    assert found[0, 0] == pytest.approx(0.5)


@given(st.integers(2, 6), st.integers(0, 10_000))
@settings(deadline=None)
def test_a_new_confidence_keeps_the_top_label_and_the_sum(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probs, wanted = rng.dirichlet([0.3] * size, 20), rng.random(20)
    found = with_top(probs, wanted)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found >= 0).all()
    np.testing.assert_array_equal(found.argmax(axis=1), probs.argmax(axis=1))
    np.testing.assert_allclose(found.max(axis=1), np.maximum(wanted, 1 / size + 1e-6))


def test_reliability_bins() -> None:
    bins = reliability([0.2] * 50 + [0.9] * 50, [True] * 10 + [False] * 40 + [True] * 40 + [False] * 10)
    assert [(b["rows"], b["accuracy"]) for b in bins] == [(50, 0.2), (50, 0.8)]
    assert all(b["low95"] < b["accuracy"] < b["high95"] for b in bins)
    assert ece([0.2] * 50 + [0.9] * 50, [True] * 10 + [False] * 40 + [True] * 40 + [False] * 10) == pytest.approx(0.05)


def test_bins_hold_about_as_many_rows_each() -> None:
    rng = np.random.default_rng(0)
    bins = reliability(rng.random(1000), rng.random(1000) < 0.5)
    assert len(bins) == 10 and {b["rows"] for b in bins} == {100}
    assert all(a["high"] < b["low"] for a, b in zip(bins, bins[1:], strict=False))


def test_bad_input() -> None:
    with pytest.raises(DataError, match="one length"):
        ece([], [])
    with pytest.raises(DataError, match="finite"):
        fit(np.array([[np.nan, 1.0]]), None)
    with pytest.raises(DataError, match="feature x"):
        fit(np.array([[0.5, 0.5]]), None, features={"x": np.zeros(2)})
