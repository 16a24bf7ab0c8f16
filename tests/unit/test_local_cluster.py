"""Local clustering: the solution of the flow problem, what labels change, and that it stays local."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from llmlabel.errors import ConfigError
from llmlabel.graph.graph import IntArray, adjacency
from llmlabel.graph.local_cluster import local_cluster, volume
from llmlabel.graph.repair import repair

BLOCK = 40


def blocks(number: int, seed: int = 0, near: int = 6, far: float = 0.5) -> sparse.csr_array:
    """Blocks of 40 nodes, 6 edges a node within and half an edge to anywhere."""
    rng = np.random.default_rng(seed)
    nodes = number * BLOCK
    inner, outer = rng.integers(0, nodes, near * nodes), rng.integers(0, nodes, round(far * nodes))
    source, target = (
        np.r_[inner, outer],
        np.r_[inner // BLOCK * BLOCK + rng.integers(0, BLOCK, len(inner)), rng.permutation(outer)],
    )
    return adjacency(nodes, source, target)


def weighted(a: sparse.csr_array, labels: np.ndarray, epsilon: float) -> np.ndarray:
    return np.where(labels[:, None] == labels, 1, epsilon) * a.toarray().astype(np.float64)


def pushed(w: np.ndarray, seeds: IntArray, mass: float) -> np.ndarray:
    """x by the definition: while a node holds more than its degree, raise it until it does not, and hand the rest on."""
    sink = w.sum(axis=1)
    held, x = np.zeros(len(w)), np.zeros(len(w))
    held[seeds] = sink[seeds] * mass / sink[seeds].sum()
    while (held - sink).max() > 1e-9:
        n = int((held - sink).argmax())
        rise = (held[n] - sink[n]) / sink[n]
        x[n] += rise
        held += rise * w[n]
        held[n] = sink[n]
    return x


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 999), share=st.floats(0.1, 0.8), epsilon=st.floats(0.05, 1))
def test_it_finds_what_pushing_finds(seed: int, share: float, epsilon: float) -> None:
    rng = np.random.default_rng(seed)
    source = rng.integers(0, 25, 60)
    a = adjacency(25, np.r_[source, np.arange(24)], np.r_[rng.integers(0, 25, 60), np.arange(1, 25)])
    labels, seeds = rng.random(25) < 0.4, rng.choice(25, 2, replace=False)
    w = weighted(a, labels, epsilon)
    expected = pushed(w, seeds, share * w.sum())
    found = local_cluster(a, seeds, labels, mass=share * w.sum(), epsilon=epsilon)
    x = np.zeros(25)
    x[found.reached] = found.x
    assert np.abs(x - expected).max() < 1e-5 * max(1, expected.max())
    assert np.diff(found.x).max(initial=0) <= 0


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 999))
def test_mass_is_kept_and_no_node_is_over_its_degree(seed: int) -> None:
    a = blocks(4, seed)
    degree = np.diff(a.indptr)
    found = local_cluster(a, [seed % 160], mass=300)
    x = np.zeros(160)
    x[found.reached] = found.x
    source = np.zeros(160)
    source[seed % 160] = 300
    held = source - degree * x + a @ x
    assert held.sum() == pytest.approx(300)
    assert (held <= degree * (1 + 1e-4)).all()
    assert held[found.reached] == pytest.approx(degree[found.reached])


def test_labels_keep_the_mass_inside() -> None:
    a = blocks(50)
    truth = np.arange(a.shape[0]) < BLOCK
    rng = np.random.default_rng(1)
    labels = np.where(rng.random(len(truth)) < np.where(truth, 0.8, 0.95), truth, ~truth)
    scores = []
    for said in (None, labels):
        found = local_cluster(a, [0], said, mass=1.5 * volume(a, np.flatnonzero(truth), said)).nodes
        scores.append(2 * truth[found].sum() / (len(found) + truth.sum()))
    assert scores[1] > scores[0] + 0.1


def test_the_cut_is_the_block() -> None:
    found = local_cluster(blocks(50), [3], mass=1500, sweep=True)
    assert sorted(found.nodes) == list(range(BLOCK))
    assert len(found.reached) > BLOCK and 0 < found.conductance < 0.2


def test_conductance_by_hand() -> None:
    path = adjacency(4, np.array([0, 1, 2]), np.array([1, 2, 3]))
    found = local_cluster(path, [0], mass=2.5)
    assert found.nodes.tolist() == [0] and found.conductance == 1
    assert local_cluster(path, [0, 1], mass=1.0).conductance == pytest.approx(1 / 3)  # no more than they hold: just the seeds


def test_a_lookup_is_as_good_as_an_array_and_asked_little() -> None:
    a = blocks(200)
    labels = np.arange(a.shape[0]) < BLOCK
    asked: set[int] = set()

    def look(nodes: IntArray) -> np.ndarray:
        asked.update(nodes.tolist())
        return labels[nodes]

    by_array, by_lookup = (local_cluster(a, [0], said, mass=600) for said in (labels, look))
    assert np.array_equal(by_array.reached, by_lookup.reached) and np.array_equal(by_array.x, by_lookup.x)
    assert len(asked) < 0.25 * a.shape[0]


def test_work_does_not_grow_with_the_graph() -> None:
    work = []
    for number in (50, 1000):
        a = blocks(number)
        labels = np.arange(a.shape[0]) < BLOCK
        found = [local_cluster(a, [s], labels, mass=600) for s in range(5)]
        work.append((sum(f.touched for f in found), sum(f.work for f in found)))
    assert work[1][0] < 1.3 * work[0][0] and work[1][1] < 1.3 * work[0][1]


def test_a_component_that_cannot_hold_the_mass_is_filled() -> None:
    two = adjacency(6, np.array([0, 1, 3, 4]), np.array([1, 2, 4, 5]))
    found = local_cluster(two, [0], mass=1000)
    assert sorted(found.nodes) == [0, 1, 2] and found.conductance == 0 and np.isfinite(found.x).all()


def test_seeds_without_edges_are_a_cluster_of_their_own() -> None:
    a = adjacency(5, np.array([0, 1]), np.array([1, 2]))
    assert local_cluster(a, [3], mass=10).nodes.tolist() == [3]
    assert 3 in local_cluster(a, [0, 3], mass=3).nodes


@pytest.mark.parametrize(
    "wrong", [{"seeds": []}, {"seeds": [7]}, {"seeds": [-1]}, {"mass": 0}, {"mass": float("inf")}, {"epsilon": 0}, {"epsilon": 2}]
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    a = adjacency(3, np.array([0, 1]), np.array([1, 2]))
    with pytest.raises(ConfigError):
        local_cluster(a, **({"seeds": [0], "mass": 1} | wrong))  # type: ignore[arg-type]


def test_repair_puts_flipped_labels_back() -> None:
    a = blocks(4, near=8, far=0.2)
    truth = np.arange(a.shape[0]) // BLOCK
    rng = np.random.default_rng(0)
    flipped = rng.random(len(truth)) < 0.15
    labels = np.where(flipped, (truth + 1) % 4, truth)
    found = repair(a, labels, np.where(flipped, 0.5, 0.9))
    assert len(found.nodes) > 10
    assert (found.labels == truth[found.nodes]).mean() > 0.9
    assert set(repair(a, labels, np.where(flipped, 0.5, 0.9), below=0.6).nodes) <= set(np.flatnonzero(flipped))


def test_repair_of_labels_that_are_not_there() -> None:
    a = blocks(2)
    assert not len(repair(a, np.full(80, -1)).nodes)
