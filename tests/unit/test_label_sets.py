"""Conformal label sets against every label set written out."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.annotation.deferral.label_sets import LabelSets, certainty
from llmlabel.errors import ConfigError, DataError

marginal = st.integers(0, 20).map(lambda k: k / 20)  # ties, and marginals of exactly 0, .5 and 1


@st.composite
def problems(draw: st.DrawFn) -> tuple[LabelSets, np.ndarray]:
    labels = draw(st.integers(1, 5))
    rows = st.lists(marginal, min_size=labels, max_size=labels)
    probs = np.array(draw(st.lists(rows, min_size=4, max_size=30)))
    truth = np.random.default_rng(draw(st.integers(0, 99))).random(probs.shape) < probs
    found = LabelSets.fit(probs, truth, draw(st.sampled_from([0.1, 0.3, 0.6, 0.9])), draw(st.sampled_from([1.0, 2.0, 0.5])))
    return found, np.array(draw(st.lists(rows, min_size=1, max_size=6)))


def brute_force(found: LabelSets, p: np.ndarray) -> np.ndarray:
    every = np.array(list(product([False, True], repeat=len(p))))
    return every[(np.abs(every - p) ** found.r).sum(axis=1) <= found.q + 1e-9]


@settings(deadline=None, max_examples=50)
@given(problems())
def test_it_is_the_brute_force_answer(problem: tuple[LabelSets, np.ndarray]) -> None:
    found, probs = problem
    answer = found.predict(probs)
    for i, p in enumerate(probs):
        left = brute_force(found, p)
        assert answer.count[i] == len(left) and not answer.capped[i]
        assert answer.single[i] == (len(left) == 1)
        assert (answer.union[i] == left.any(axis=0)).all()
        assert (answer.core[i] == (left.all(axis=0) if len(left) else False)).all()
        listed, more = found.sets(p)
        assert not more and {tuple(s) for s in listed} == {tuple(s) for s in left}
        scores = [float((np.abs(s - p) ** found.r).sum()) for s in listed]
        assert scores == pytest.approx(sorted(scores))
        if listed:
            assert (listed[0] == answer.best[i]).all()


@settings(deadline=None, max_examples=30)
@given(problems())
def test_a_set_is_left_when_its_p_value_is_above_epsilon(problem: tuple[LabelSets, np.ndarray]) -> None:
    found, probs = problem
    for p in probs:
        left = {tuple(s) for s in brute_force(found, p)}
        for s in product([False, True], repeat=len(p)):
            assert (found.p_value(p[None], np.array([s]))[0] > found.epsilon + 1e-9) == (tuple(s) in left)


def simulated(rng: np.random.Generator, rows: int, labels: int, sharp: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    probs = rng.beta(sharp, 4 * sharp, (rows, labels))
    return probs, rng.random(probs.shape) < probs


def test_true_sets_are_kept_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(100):
        found = LabelSets.fit(*simulated(rng, 99, 8), 0.2)
        probs, truth = simulated(rng, 200, 8)
        kept.append((found.p_value(probs, truth) > 0.2).mean())
    assert np.mean(kept) == pytest.approx(0.8, abs=0.015)


def test_counting_stops_at_the_cap_and_says_so() -> None:
    probs, truth = simulated(np.random.default_rng(0), 300, 12, sharp=2.0)
    found = LabelSets.fit(probs, truth, 0.1)
    full, cut = found.predict(probs, cap=5000), found.predict(probs, cap=10)
    assert not full.capped.any() and full.count.max() > 10
    assert (cut.capped == (full.count > 10)).all()
    assert (cut.count == np.minimum(full.count, 10)).all()
    assert (cut.union == full.union).all() and (cut.core == full.core).all()
    row = int(full.count.argmax())
    listed, more = found.sets(probs[row], cap=10)
    assert len(listed) == 10 and more


def test_little_gold_promises_nothing() -> None:
    probs, truth = simulated(np.random.default_rng(0), 8, 6)
    found = LabelSets.fit(probs, truth, 0.1)
    assert found.to_json()["q"] is None
    assert found.why == "gold of 8 rows cannot promise to keep 90% of the true label sets: it takes at least 9"
    answer = found.predict(probs)
    assert (answer.count == 2**6).all() and answer.union.all() and not answer.core.any()
    assert LabelSets.fit(*simulated(np.random.default_rng(0), 9, 6), 0.1).q < np.inf


def test_a_row_unlike_all_others_has_no_set() -> None:
    found = LabelSets.fit(np.full((20, 3), 0.01), np.zeros((20, 3), dtype=bool), 0.1)
    answer = found.predict([[0.5, 0.4, 0.5]])
    assert answer.count[0] == 0 and not answer.single[0] and not answer.union.any()
    assert answer.best.tolist() == [[True, False, True]]


def test_certainty_is_the_probability_of_the_best_set() -> None:
    assert certainty([[0.9, 0.2], [0.5, 1.0]]).tolist() == pytest.approx([0.72, 0.5])


def test_it_comes_back_from_json() -> None:
    probs, truth = simulated(np.random.default_rng(0), 50, 4)
    found = LabelSets.fit(probs, truth, 0.1, r=2.0)
    again = LabelSets.from_json(json.loads(json.dumps(found.to_json())))
    assert (again.q, again.r, again.epsilon) == (found.q, 2.0, 0.1)
    assert (again.predict(probs).count == found.predict(probs).count).all()


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(ConfigError, match="epsilon"):
        LabelSets.fit([[0.5]], [[True]], 1.0)
    with pytest.raises(DataError, match="between 0 and 1"):
        LabelSets.fit([[1.5]], [[True]], 0.1)
    with pytest.raises(DataError, match="do not fit"):
        LabelSets.fit([[0.5, 0.5]], [[True]], 0.1)
