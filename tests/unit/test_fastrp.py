"""FastRP against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from llmlabel.errors import ConfigError
from llmlabel.graph.fastrp import embed, fastrp, projection
from llmlabel.graph.graph import adjacency

WEIGHTS, BETA = (0.5, 0.0, 1.0, 4.0), -0.6


def graph(nodes: int, edges: int, seed: int, weighted: bool = True) -> sparse.csr_array:
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.5, 2, edges) if weighted else None
    return adjacency(nodes, rng.integers(0, nodes, edges), rng.integers(0, nodes, edges), weight)


def dense(a: np.ndarray, r: np.ndarray, weights: tuple[float, ...], beta: float) -> np.ndarray:
    """Section 3 of the paper, word for word: P = D^-1 A, L = diag((d_j / 2m)^beta), sum of weight_k rownorm(P^k L R)."""
    degree = a.sum(axis=1)
    p = np.diag([1 / d if d else 0 for d in degree]) @ a
    damped = np.diag([(d / degree.sum()) ** beta if d else 0 for d in degree]) @ r
    total = np.zeros_like(r)
    for k, weight in enumerate(weights, start=1):
        power = np.linalg.matrix_power(p, k) @ damped
        norm = np.linalg.norm(power, axis=1, keepdims=True)
        total += weight * np.divide(power, norm, where=norm > 0, out=np.zeros_like(power))
    return total


@settings(deadline=None, max_examples=40)
@given(nodes=st.integers(2, 40), edges=st.integers(1, 120), seed=st.integers(0, 99), beta=st.floats(-1, 1))
def test_it_is_the_papers_formula(nodes: int, edges: int, seed: int, beta: float) -> None:
    a = graph(nodes, edges, seed)
    r = projection(nodes, 16, np.random.default_rng(seed))
    expected = dense(a.toarray().astype(np.float64), r.toarray().astype(np.float64), WEIGHTS, beta)
    found = embed(a, r, WEIGHTS, beta)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-5


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999))
def test_renumbering_the_nodes_renumbers_the_vectors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, r, order = graph(30, 60, seed), projection(30, 16, rng), rng.permutation(30)
    renumbered = embed(sparse.csr_array(a[order][:, order]), r[order], WEIGHTS, BETA)
    assert np.abs(renumbered - embed(a, r, WEIGHTS, BETA)[order]).max() < 1e-5


def test_a_node_without_edges_is_a_row_of_zeros() -> None:
    vectors = fastrp(adjacency(5, np.array([0, 1, 2]), np.array([1, 2, 0])), dim=200, beta=-0.5)
    assert (vectors[3:] == 0).all() and (np.linalg.norm(vectors[:3], axis=1) > 0).all()


def test_the_seed_decides() -> None:
    a = graph(50, 200, 0)
    assert np.array_equal(fastrp(a, seed=1), fastrp(a, seed=1))
    assert not np.array_equal(fastrp(a, seed=1), fastrp(a, seed=2))


def test_the_projection_is_very_sparse() -> None:
    r = projection(10_000, 32, np.random.default_rng(0))
    assert set(np.abs(r.data)) == {np.float32(10)}  # sqrt(s), s = sqrt(N) = 100
    assert r.nnz == 3200 and abs((r.data > 0).mean() - 0.5) < 0.05


def test_nodes_of_one_community_point_the_same_way() -> None:
    rng = np.random.default_rng(0)
    member = np.arange(200) // 100
    near = rng.integers(0, 200, 2000)
    a = adjacency(200, near, near // 100 * 100 + rng.integers(0, 100, 2000))
    vectors = fastrp(a)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = vectors @ vectors.T
    same = member[:, None] == member
    assert alike[same].mean() > alike[~same].mean() + 0.5


@pytest.mark.parametrize("wrong", [{"dim": 0}, {"weights": ()}, {"weights": (0.0, 0.0)}, {"beta": float("nan")}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="FastRP"):
        fastrp(graph(5, 9, 0), **wrong)  # type: ignore[arg-type]
