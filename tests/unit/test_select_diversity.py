"""The Vendi score of answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.selection.diversity import diversities, diversity, vendi


def unit(n: int, d: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_alike_is_one_and_orthogonal_is_all() -> None:
    assert vendi(np.tile([0.6, 0.8], (7, 1))) == pytest.approx(1.0)
    assert (vendi(np.eye(5)), diversity(np.eye(5))) == pytest.approx((5.0, 1.0))
    assert vendi(np.repeat(np.eye(3), 4, axis=0)) == pytest.approx(3.0)  # three groups of four


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_both_matrices_say_the_same(n: int, d: int, seed: int) -> None:
    x = unit(n, d, seed)
    values = np.linalg.eigvalsh(x @ x.T / n)
    values = values[values > 1e-12]
    assert vendi(x) == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-6)
    assert 0 < diversity(x) <= 1
    assert vendi(x[np.random.default_rng(1).permutation(n)]) == pytest.approx(vendi(x))


def test_sets_are_compared_at_one_size() -> None:
    x = unit(100, 8)
    small, large = diversities([x[:10], x], seed=0)
    assert diversity(x) < 0.2 < 0.5 < diversity(x[:10])
    assert small == pytest.approx(diversity(x[:10])) and large == pytest.approx(small, rel=0.1)
    assert list(diversities([x[:10], x], seed=0)) == [small, large]


def test_too_few_answers_have_none_and_leave_the_others_alone() -> None:
    x = unit(20, 8)
    found = diversities([x[:2], np.zeros((0, 8)), x], seed=0)
    assert np.isnan(found[:2]).all() and found[2] == pytest.approx(diversity(x))
    with pytest.raises(ValueError, match="at least one"):
        vendi(np.zeros((0, 3)))
