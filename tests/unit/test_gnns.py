"""One contract for every graph learner; losses; Correct and Smooth beside torch-geometric's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from llmlabel.errors import ConfigError, DataError
from llmlabel.graph import losses
from llmlabel.graph.correct_and_smooth import correct_and_smooth, corrected, smoothed
from llmlabel.graph.gnns import gnn, names, random
from llmlabel.graph.gnns.sgc import ALPHA, STEPS, vectors
from llmlabel.graph.graph import FloatArray, Graph, IntArray, adjacency

WITHOUT_TORCH = ["label-spreading", "sgc"]


def blocks(classes: int = 3, size: int = 40, seed: int = 0) -> tuple[Graph, IntArray]:
    """A graph whose nodes link within their class nine times of ten; the last node is alone."""
    rng = np.random.default_rng(seed)
    labels = np.arange(classes * size) % classes
    source = rng.integers(0, len(labels), 5 * len(labels))
    near = rng.permutation(len(labels))[: len(source)]
    target = np.array([rng.choice(np.flatnonzero(labels == labels[s])) for s in source])
    wild = rng.random(len(source)) < 0.1
    target[wild] = rng.choice(near, wild.sum())
    free = (source != len(labels) - 1) & (target != len(labels) - 1)
    x = np.eye(classes, 8)[labels] + rng.normal(scale=0.5, size=(len(labels), 8))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return Graph(
        adjacency(len(labels), source[free], target[free]), x.astype(np.float32), classes, np.ones(len(labels), bool)
    ), labels


def fast(name: str) -> object:
    return name if name in WITHOUT_TORCH else pytest.param(name, marks=pytest.mark.slow)


def learnt(name: str, nodes: IntArray, columns: int = 4, loss: str | None = None) -> tuple[FloatArray, IntArray]:
    graph, labels = blocks()
    return gnn(name, loss)(graph, nodes, np.eye(columns)[labels[nodes]], np.ones(len(nodes)), seed=0), labels


def test_names_are_the_files() -> None:
    assert names() == ["appnp", "gcn", "label-spreading", "mlp", "sage", "sgc"]
    assert {n for n in names() if random(n)} == {"appnp", "gcn", "mlp", "sage"}
    with pytest.raises(ConfigError, match="there are: appnp, gcn"):
        gnn("gat")
    with pytest.raises(ConfigError, match="no loss 'focal'; there are: self-training"):
        gnn("sgc", "focal")


@pytest.mark.parametrize("name", [fast(n) for n in names()])
def test_every_learner_learns_and_is_repeatable(name: str) -> None:
    nodes = np.arange(30)
    probs, labels = learnt(name, nodes)
    assert probs.shape == (120, 4) and probs.dtype == np.float64
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert (probs[:, 3] == 0).all()  # a class nobody annotated
    assert np.mean(probs[:-1].argmax(axis=1) == labels[:-1]) > 0.75
    np.testing.assert_array_equal(probs, learnt(name, nodes)[0])


@pytest.mark.parametrize("name", [fast(n) for n in names()])
def test_every_learner_copes_with_one_node_a_class_one_class_and_soft_labels(name: str) -> None:
    assert np.isfinite(learnt(name, np.arange(3))[0]).all()
    alone, _ = learnt(name, np.array([0, 3]))
    np.testing.assert_array_equal(alone, np.tile([1.0, 0, 0, 0], (120, 1)))
    graph, labels = blocks()
    soft = 0.7 * np.eye(3)[labels[:30]] + 0.1
    probs = gnn(name)(graph, np.arange(30), soft, np.ones(30), seed=0)
    assert np.mean(probs[:-1].argmax(axis=1) == labels[:-1]) > 0.75


@pytest.mark.parametrize("name", [fast(n) for n in names()])
def test_only_ratios_of_weights_count_and_zero_means_not_there(name: str) -> None:
    graph, labels = blocks()
    nodes = np.arange(33)
    wrong = labels[nodes].copy()
    wrong[30:] = (wrong[30:] + 1) % 3
    weights = np.where(nodes < 30, 2.0, 0.0)
    probs = gnn(name)(graph, nodes, np.eye(3)[wrong], weights, seed=0)
    np.testing.assert_allclose(probs, gnn(name)(graph, nodes[:30], np.eye(3)[labels[:30]], np.ones(30), seed=0), atol=1e-9)


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_nothing_to_learn_from_is_said(name: str) -> None:
    graph, _ = blocks()
    for nodes, targets, weights in [([], np.zeros((0, 3)), []), ([1], np.eye(3)[:1], [0.0]), ([1], np.eye(3)[:2], [1.0])]:
        with pytest.raises(DataError):
            gnn(name)(graph, np.array(nodes, dtype=int), targets, np.array(weights, dtype=float), seed=0)


def test_a_favourite_label_of_the_annotator_does_not_spread() -> None:
    graph, labels = blocks()
    bare = Graph(sparse.csr_array(graph.adjacency.shape, dtype=np.float32), graph.x, 3, graph.askable)
    nodes, rest, said = np.arange(60), np.arange(60, 120), labels[:60].copy()
    said[np.arange(60) % 3 != 0] *= np.arange(40) % 5 > 1  # two in five of the others are called class 0
    right = {}
    for loss in ("unbalanced", "ce", "self-training"):
        probs = gnn("sgc", loss)(bare, nodes, np.eye(3)[said], np.ones(60), seed=0)
        right[loss] = float(np.mean(probs[rest].argmax(axis=1) == labels[rest]))
    assert right["unbalanced"] < min(right["ce"], right["self-training"]) - 0.05


def test_sgc_vectors_are_the_dense_definition() -> None:
    graph, _ = blocks()
    a = graph.adjacency.toarray() + np.eye(graph.size)
    a /= np.sqrt(np.outer(a.sum(axis=1), a.sum(axis=1)))
    x = graph.x - graph.x.mean(axis=0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    z = x
    for _ in range(STEPS):
        z = (1 - ALPHA) * a @ z + ALPHA * x
    np.testing.assert_allclose(vectors(graph), z / np.linalg.norm(z, axis=1, keepdims=True), atol=1e-5)
    assert vectors(graph) is vectors(graph)


def test_a_node_without_features_or_edges_gets_what_most_nodes_get() -> None:
    graph, labels = blocks()
    x = graph.x.copy()
    x[-1] = 0
    graph = Graph(graph.adjacency, x, 3, graph.askable)
    assert not vectors(graph)[-1].any()
    probs = gnn("sgc")(graph, np.arange(30), np.eye(3)[labels[:30]], np.ones(30), seed=0)
    assert probs[-1].max() < 0.4


def test_label_spreading_gives_shares_where_nothing_arrives() -> None:
    probs, _ = learnt("label-spreading", np.array([0, 1, 2, 3]))
    np.testing.assert_allclose(probs[-1], [0.5, 0.25, 0.25, 0], atol=1e-9)


@given(st.integers(0, 1000), st.integers(2, 5))
@settings(deadline=None, max_examples=25)
def test_balanced_weights_give_classes_the_same_mass(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    targets, weights = np.eye(classes + 1)[rng.integers(0, classes, 30)], rng.random(30)
    mass = losses.balanced(targets, weights) @ targets
    np.testing.assert_allclose(mass[mass > 0], 30 / np.count_nonzero(mass))


def test_confidence_weights() -> None:
    np.testing.assert_allclose(losses.confidence_weights(np.array([0.5, 0.75, 1.0, np.nan])), [0.1, 0.55, 1.0, 0.55])
    np.testing.assert_array_equal(losses.confidence_weights(np.full(3, np.nan)), 1)
    np.testing.assert_array_equal(losses.confidence_weights(np.full(3, 0.9)), 1)


@pytest.mark.slow
def test_losses_as_their_papers_write_them() -> None:
    import torch

    logits, y = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True), torch.eye(2)
    w, p = torch.tensor([1.0, 3.0]), torch.softmax(logits.detach(), dim=1).diagonal()
    ce, gce = losses.cross_entropy(logits, y, w), losses.generalised_cross_entropy(logits, y, w)
    assert ce.item() == pytest.approx(float(-(w * p.log()).sum() / 4))
    assert gce.item() == pytest.approx(float((w * (1 - p**0.7) / 0.7).sum() / 4))
    near = losses.generalised_cross_entropy(logits, y, w, q=1e-4)
    assert near.item() == pytest.approx(ce.item(), rel=1e-3)
    reverse = float((w * 4 * (1 - p)).sum() / 4)
    assert losses.symmetric_cross_entropy(logits, y, w).item() == pytest.approx(0.1 * ce.item() + reverse)
    assert losses.forward_correction(logits, y, w, torch.eye(2)).item() == pytest.approx(ce.item())
    flipped = losses.forward_correction(logits, y.flip(1), w, torch.eye(2).flip(1))
    assert flipped.item() == pytest.approx(ce.item())


def test_transition_reads_noise_at_anchors() -> None:
    probs = np.vstack([np.tile([0.8, 0.2], (50, 1)), np.tile([0.1, 0.9], (50, 1))])
    np.testing.assert_allclose(losses.transition(probs), [[0.8, 0.2], [0.1, 0.9]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["appnp", "gcn", "mlp", "sage"])
@pytest.mark.parametrize("loss", ["ce", "sce", "forward"])
def test_noise_robust_losses_learn(name: str, loss: str) -> None:
    probs, labels = learnt(name, np.arange(60), columns=3, loss=loss)
    assert np.mean(probs[:-1].argmax(axis=1) == labels[:-1]) > 0.75


@pytest.mark.slow
def test_dropout_is_on_while_training() -> None:
    import torch

    from llmlabel.graph.gnns import _torch

    modes = []

    class Net(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            modes.append(self.training)
            return super().forward(x)

    graph, labels = blocks()
    _torch.trained(lambda: Net(8, 3), (torch.from_numpy(graph.x),), np.arange(9), np.eye(3)[labels[:9]], np.ones(9), 0, "ce")
    assert modes == [True] * _torch.EPOCHS + [False]


@pytest.mark.slow
def test_correct_and_smooth_is_torch_geometrics() -> None:
    import torch
    from torch_geometric.nn import CorrectAndSmooth

    graph, labels = blocks()
    probs = np.random.default_rng(1).dirichlet(np.ones(3), graph.size)
    nodes = np.arange(0, 60, 2)
    targets = np.eye(3)[labels[nodes]]
    s = normalised(graph)
    ours = smoothed(s, corrected(s, probs, nodes, targets, 0.8, 20), nodes, targets, 0.7, 30)
    theirs = CorrectAndSmooth(20, 0.8, 30, 0.7)
    edges = torch.from_numpy(np.vstack(graph.adjacency.nonzero()))
    y, where = torch.from_numpy(targets), torch.from_numpy(nodes)
    first = theirs.correct(torch.from_numpy(probs), y, where, edges)
    np.testing.assert_allclose(ours, theirs.smooth(first, y, where, edges).numpy(), atol=1e-5)


def normalised(graph: Graph) -> sparse.csr_array:
    root = sparse.diags_array(1 / np.sqrt(np.maximum(graph.degree, 1e-12)))
    return sparse.csr_array(root @ graph.adjacency @ root)


def test_correct_and_smooth_repairs_answers_with_right_labels() -> None:
    graph, labels = blocks()
    rng = np.random.default_rng(2)
    probs = 0.6 * np.eye(3)[np.where(rng.random(graph.size) < 0.4, rng.integers(0, 3, graph.size), labels)] + 0.4 / 3
    nodes = rng.permutation(graph.size - 1)[:40]
    found = correct_and_smooth(graph, probs, nodes, np.eye(3)[labels[nodes]])
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert np.mean(found.argmax(axis=1) == labels) > np.mean(probs.argmax(axis=1) == labels) + 0.1
    np.testing.assert_allclose(correct_and_smooth(graph, probs, nodes, np.eye(3)[labels[nodes]], correct=0, smooth=0), probs)
