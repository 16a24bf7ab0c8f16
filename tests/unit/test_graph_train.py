"""From annotations to labels of all nodes: what is dropped and weighed, what is estimated, and what happens at the edges."""

import numpy as np
import pytest

from llmlabel.errors import ConfigError
from llmlabel.graph.graph import Annotated, Graph, adjacency
from llmlabel.graph.plain import plain
from llmlabel.graph.train import FEWEST, learn, ready

CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def world():
    """300 nodes of three classes, nine of ten edges within a class; 60 annotations, a quarter of them wrong, less sure if so."""
    rng = np.random.default_rng(0)
    truth = np.arange(300) % 3
    source = np.repeat(np.arange(300), 3)
    same = rng.random(len(source)) < 0.9
    target = np.array([rng.choice(np.flatnonzero((truth == truth[s]) == k)) for s, k in zip(source, same, strict=True)])
    x = np.eye(3, 16)[truth] + rng.normal(scale=0.6, size=(300, 16))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    graph = Graph(adjacency(300, source, target), x.astype(np.float32), 3, np.ones(300, bool))
    nodes = rng.permutation(300)[:60]
    wrong = rng.random(60) < 0.25
    labels = np.where(wrong, (truth[nodes] + 1) % 3, truth[nodes])
    return graph, truth, Annotated(nodes, labels, np.where(wrong, 0.5, 0.9), CLASSES)


def right(probs, truth, known):
    rest = np.setdiff1d(np.arange(len(truth)), known.nodes)
    return (probs[rest].argmax(axis=1) == truth[rest]).mean()


def test_it_labels_better_than_the_annotator_and_drops_what_is_wrong(world):
    graph, truth, known = world
    found = learn(graph, known, filter="cane")
    said = known.labels == truth[known.nodes]
    assert right(found.probs, truth, known) > max(0.9, said.mean())
    assert said[found.kept].mean() > said.mean() > said[~found.kept].mean()
    assert found.weights[found.kept].mean() == pytest.approx(1) and not found.weights[~found.kept].any()
    assert found.probs.sum(axis=1) == pytest.approx(1) and found.confidence == pytest.approx(found.probs.max(axis=1))


def test_confidence_means_what_the_estimate_says(world):
    graph, _, known = world
    found = learn(graph, known)
    others = np.setdiff1d(np.arange(graph.size), known.nodes)
    told = found.estimate
    assert told.low <= told.value <= told.high
    assert found.confidence[others].mean() == pytest.approx(told.value, abs=0.02)
    assert found.reliability.mean() == pytest.approx(told.value, abs=0.01)


def test_weights_by_reliability_and_by_told_confidence(world):
    graph, truth, known = world
    said = known.labels == truth[known.nodes]
    for weigh in ("reliability", "confidence"):
        weights = learn(graph, known, filter="none", weigh=weigh, proof=False).weights
        assert weights.mean() == pytest.approx(1) and weights[said].mean() > weights[~said].mean()
    assert learn(graph, known, filter="none", proof=False).weights.tolist() == [1.0] * 60


def test_correct_and_smooth_comes_after_the_learner(world):
    graph, truth, known = world
    before, after = (learn(graph, known, proof=False, smooth=smooth).probs for smooth in (False, True))
    assert not np.allclose(before, after) and right(after, truth, known) > 0.8


def test_the_names_of_classes_and_their_order_do_not_matter(world):
    graph, _, known = world
    turned = Annotated(known.nodes, (known.labels + 1) % 3, known.confidence, CLASSES)
    a, b = learn(graph, known), learn(graph, turned)
    assert (a.kept == b.kept).all() and ((a.probs.argmax(axis=1) + 1) % 3 == b.probs.argmax(axis=1)).mean() > 0.99


@pytest.mark.parametrize(("n", "labels"), [(FEWEST - 1, None), (30, 0)])
def test_too_little_to_estimate_is_said(world, n, labels):
    graph, _, known = world
    some = known.some(np.arange(60) < n)
    if labels is not None:
        some = Annotated(some.nodes, np.full(n, labels), some.confidence, CLASSES)
    found = learn(graph, some)
    assert found.estimate is None and "too few" in found.notes[0]
    assert np.isfinite(found.probs).all()
    if labels is not None:
        assert (found.probs.argmax(axis=1) == labels).all()
        assert (plain(graph, some).argmax(axis=1) == labels).all()


def test_a_learner_with_a_seed_is_averaged_and_others_are_trained_once(world, monkeypatch):
    from llmlabel.graph import gnns

    graph, _, known = world
    seeds = []

    def fit(graph, nodes, targets, weights, *, seed):
        seeds.append(seed)
        return np.tile([0.2, 0.3, 0.5], (graph.size, 1))

    monkeypatch.setattr(gnns, "gnn", lambda name, loss=None: fit)
    done = []
    for chance in (True, False):
        monkeypatch.setattr(gnns, "random", lambda name, chance=chance: chance)
        learn(graph, known, trainings=4, seed=7, proof=False, on_done=done.append)
    assert seeds == [7, 8, 9, 10, 7]
    assert sum(done) == 8


def test_wrong_names_are_told_with_those_there_are():
    for names in (("magic", "none", None), ("sgc", "magic", None), ("sgc", "none", "magic")):
        with pytest.raises(ConfigError, match="there are:"):
            ready(*names)
