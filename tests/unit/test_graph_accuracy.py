"""Calibration and the accuracy estimate see no gold label; both are held against the truth of made-up graphs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from llmlabel.errors import DataError
from llmlabel.graph.accuracy import _ceilings, estimate
from llmlabel.graph.calibration import calibrated, dealt, out_of_fold, scaled, temperature, threshold
from llmlabel.graph.gnns import gnn
from llmlabel.graph.graph import Annotated, FloatArray, Graph, IntArray, adjacency


def world(noise: float, n: int = 150, size: int = 900, seed: int = 0) -> tuple[Graph, IntArray, Annotated]:
    """Three classes with features and edges; of the annotations a share is wrong at random."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 3, size)
    source = rng.integers(0, size, 3 * size)
    order = np.argsort(gold, kind="stable")
    start = np.searchsorted(gold[order], gold[source])
    count = np.bincount(gold)[gold[source]]
    target = order[start + (rng.random(len(source)) * count).astype(int)]
    target = np.where(rng.random(len(source)) < 0.2, rng.integers(0, size, len(source)), target)
    x = np.eye(3, 16)[gold] + rng.normal(scale=0.45, size=(size, 16))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    graph = Graph(adjacency(size, source, target), x.astype(np.float32), 3, np.ones(size, bool))
    said = np.where(rng.random(size) < noise, (gold + rng.integers(1, 3, size)) % 3, gold)
    nodes = np.sort(rng.choice(size, n, replace=False))
    return graph, gold, Annotated(nodes, said[nodes], np.full(n, np.nan), ["a", "b", "c"])


def test_out_of_fold_answers_do_not_know_their_own_label() -> None:
    graph, _, known = world(0.2)
    w = np.ones(len(known.nodes))

    def memory(graph: Graph, nodes: IntArray, targets: FloatArray, weights: FloatArray, *, seed: int) -> FloatArray:
        found = np.full((graph.size, targets.shape[1]), 1 / 3)
        found[nodes] = targets
        return found

    found = out_of_fold(graph, known.nodes, known.one_hot, w, memory, seed=0)
    np.testing.assert_allclose(found, 1 / 3)


def test_a_weight_of_nought_is_never_trained_on_but_answered() -> None:
    graph, _, known = world(0.0)
    w = np.where(np.arange(150) % 3 == 0, 0.0, 1.0)
    seen: set[int] = set()

    def spy(graph: Graph, nodes: IntArray, targets: FloatArray, weights: FloatArray, *, seed: int) -> FloatArray:
        seen.update(nodes[weights > 0].tolist())
        return gnn("sgc")(graph, nodes, targets, weights, seed=seed)

    found = out_of_fold(graph, known.nodes, known.one_hot, w, spy, seed=0)
    assert not seen & set(known.nodes[w == 0].tolist())
    assert np.mean(found[w == 0].argmax(axis=1) == known.labels[w == 0]) > 0.8
    with pytest.raises(DataError, match="two annotated"):
        out_of_fold(graph, known.nodes, known.one_hot, np.where(np.arange(150) == 0, 1.0, 0.0), spy, seed=0)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.integers(2, 6), st.integers(0, 99))
@settings(deadline=None)
def test_folds_share_every_label_out(labels: list[int], folds: int, seed: int) -> None:
    found = dealt(np.array(labels), np.ones(len(labels), bool), folds, seed)
    for k in set(labels):
        counts = np.bincount(found[np.array(labels) == k], minlength=folds)
        assert counts.max() - counts.min() <= 1


@given(st.integers(0, 999), st.floats(0.1, 8.0))
@settings(deadline=None, max_examples=25)
def test_a_temperature_is_found_again(seed: int, heat: float) -> None:
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.ones(3), 400)
    assert temperature(scaled(true, 1 / heat), true, np.ones(400)) == pytest.approx(heat, rel=0.05)


@given(st.integers(0, 999), st.floats(0.45, 0.97))
@settings(deadline=None, max_examples=25)
def test_calibrated_confidence_has_the_mean_asked_for_and_keeps_labels(seed: int, accuracy: float) -> None:
    probs = np.random.default_rng(seed).dirichlet(np.ones(3), 200)
    rows = np.arange(200) < 150
    found = calibrated(probs, accuracy, rows)
    assert found[rows].max(axis=1).mean() == pytest.approx(accuracy, abs=1e-3)
    np.testing.assert_array_equal(found.argmax(axis=1), probs.argmax(axis=1))
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_calibrated_goes_as_far_as_it_can() -> None:
    flat = np.full((10, 4), 0.25)
    np.testing.assert_allclose(calibrated(flat, 0.9), flat)
    sure = np.tile([0.9, 0.1], (10, 1))
    assert calibrated(sure, 0.1).max() < 0.53


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0.05, 1))
@settings(deadline=None)
def test_threshold_is_the_lowest_that_keeps_the_promise(values: list[float], target: float) -> None:
    confidence = np.array(values)
    found = threshold(confidence, target)
    if found <= 1:
        assert confidence[confidence >= found].mean() >= target - 1e-9
    for lower in confidence[confidence < found]:
        assert confidence[confidence >= lower].mean() < target + 1e-9


def test_ceilings_are_exact_when_errors_are_independent() -> None:
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 4, 400_000)
    right = (0.8, 0.65, 0.7, 0.6)
    learner, llm, features, edges = (
        np.where(rng.random(len(gold)) < a, gold, (gold + rng.integers(1, 4, len(gold))) % 4) for a in right
    )
    same = np.array([np.mean(p == q) for p, q in [(learner, llm), (features, llm), (edges, llm), (features, edges)]])
    found = _ceilings(same, 4)
    assert found[0] == pytest.approx(0.8, abs=0.01) and found[1] == pytest.approx(0.65, abs=0.01)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_interval_holds_the_truth(noise: float) -> None:
    held = 0
    for seed in range(5):
        graph, gold, known = world(noise, seed=seed)
        told = estimate(graph, known, gnn("sgc"), seed=seed)
        rest = np.setdiff1d(np.arange(graph.size), known.nodes)
        probs = gnn("sgc")(graph, known.nodes, known.one_hot, np.ones(150), seed=seed)
        truth = np.mean(probs[rest].argmax(axis=1) == gold[rest])
        held += told.low <= truth <= told.high
        assert 0 <= told.low <= told.value <= told.high <= 1
    assert held >= 4


def test_labels_that_mean_nothing_get_a_low_estimate() -> None:
    graph, _, known = world(2 / 3)
    told = estimate(graph, known, gnn("sgc"), seed=0)
    assert told.value < 0.5
    assert told == estimate(graph, known, gnn("sgc"), seed=0)


def test_estimate_without_edges_and_with_one_label() -> None:
    graph, _, known = world(0.2)
    bare = Graph(sparse.csr_array(graph.adjacency.shape, dtype=np.float32), graph.x, 3, graph.askable)
    told = estimate(bare, known, gnn("sgc"), seed=0)
    assert told.low < 0.85 < told.high
    one = known.some(known.labels == 0)
    assert estimate(graph, one, gnn("sgc"), seed=0).value == 1.0
    with pytest.raises(DataError):
        estimate(graph, known.some(np.arange(150) == 0), gnn("sgc"), seed=0)
