"""Clusters of vectors: the planted groups are found, the shape of the answer holds on any input."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from llmlabel.taxonomy.cluster import centroids, cluster, modularity, neighbour_graph, soft_assign


def planted(groups: int, size: int, noise: float = 0.08, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, 64))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    truth = np.repeat(np.arange(groups), size)
    rows = centres[truth] + noise * rng.normal(size=(groups * size, 64))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), truth


@pytest.mark.parametrize("groups", [2, 5, 12])
def test_finds_planted_groups_without_being_told_how_many(groups: int) -> None:
    vectors, truth = planted(groups, 25)
    found = cluster(vectors, max_labels=25, seed=0)
    assert found.max() + 1 == groups
    assert adjusted_rand_score(truth, found) > 0.98


def test_the_cap_holds_where_there_are_more_groups() -> None:
    vectors, _ = planted(12, 20)
    assert cluster(vectors, max_labels=4, seed=0).max() + 1 <= 4


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 5, 12])
def test_few_rows(rows: int) -> None:
    vectors, _ = planted(1, 12)
    found = cluster(vectors[:rows], max_labels=25, seed=0)
    assert found.shape == (rows,)
    assert set(found.tolist()) == set(range(int(found.max(initial=-1)) + 1))


def test_equal_vectors_are_one_cluster() -> None:
    vectors, _ = planted(1, 1)
    assert not cluster(np.repeat(vectors, 40, axis=0), max_labels=10, seed=0).any()


def test_equal_vectors_stay_together() -> None:
    vectors, _ = planted(4, 12)
    found = cluster(np.concatenate([vectors, vectors]), max_labels=10, seed=0)
    assert (found[:48] == found[48:]).all()


def test_zero_vectors_do_no_harm() -> None:
    vectors, _ = planted(3, 12)
    vectors[:5] = 0
    assert cluster(vectors, max_labels=10, seed=0).shape == (36,)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 30), st.integers(0, 5))
def test_ids_are_compact_largest_first_and_repeatable(rows: int, cap: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(rows, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = cluster(vectors, max_labels=cap, seed=seed)
    sizes = np.bincount(found)
    assert len(sizes) <= cap
    assert (sizes > 0).all()
    assert (np.diff(sizes) <= 0).all()
    assert (found == cluster(vectors, max_labels=cap, seed=seed)).all()


def test_sparse_path_finds_the_same_and_in_time() -> None:
    vectors, truth = planted(8, 250)
    start = time.perf_counter()
    found = cluster(vectors, max_labels=25, seed=0)
    assert time.perf_counter() - start < 30
    assert adjusted_rand_score(truth, found) > 0.98


@pytest.mark.parametrize(
    ("vectors", "cap"), [(np.ones(3), 5), (np.full((4, 2), np.nan), 5), (np.ones((4, 2)), 0)], ids=["1d", "nan", "cap"]
)
def test_bad_input_is_refused(vectors: np.ndarray, cap: int) -> None:
    with pytest.raises(ValueError, match=r"dimensions|finite|max_labels"):
        cluster(vectors, max_labels=cap, seed=0)


def test_modularity_of_the_truth_beats_a_shuffle_and_one_group_is_zero() -> None:
    vectors, truth = planted(5, 20)
    graph = neighbour_graph(vectors.astype(np.float64))
    shuffled = np.random.default_rng(0).permutation(truth)
    assert modularity(graph, truth) > 0.6 > modularity(graph, shuffled)
    assert modularity(graph, np.zeros_like(truth)) == pytest.approx(0)


def test_soft_assignment_agrees_and_sums_to_one() -> None:
    vectors, truth = planted(5, 20)
    centres = centroids(vectors, truth)
    assert centres.shape == (5, 64)
    assert np.linalg.norm(centres, axis=1) == pytest.approx(1)
    shares = soft_assign(vectors, centres)
    assert shares.sum(axis=1) == pytest.approx(1)
    assert (shares.argmax(axis=1) == truth).all()
    assert soft_assign(vectors, centres, 0.01).max() > shares.max()
    with pytest.raises(ValueError, match="temperature"):
        soft_assign(vectors, centres, 0)
