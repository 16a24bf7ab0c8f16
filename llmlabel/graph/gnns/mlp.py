"""A two-layer perceptron on the features alone: what a learner knows without the graph."""

from __future__ import annotations

from llmlabel.graph.gnns import _torch
from llmlabel.graph.graph import FloatArray, Graph, IntArray

LOSSES, RANDOM, needs = _torch.LOSSES, True, _torch.needs_torch


def fit_predict(
    graph: Graph, nodes: IntArray, targets: FloatArray, weights: FloatArray, *, seed: int, loss: str = LOSSES[0]
) -> FloatArray:
    """(N, L) probabilities; see `Learner`."""
    import torch
    from torch.nn import Dropout, Linear, ReLU

    def make() -> torch.nn.Module:
        first, second = Linear(graph.x.shape[1], _torch.HIDDEN), Linear(_torch.HIDDEN, targets.shape[1])
        return torch.nn.Sequential(Dropout(_torch.DROPOUT), first, ReLU(), Dropout(_torch.DROPOUT), second)

    return _torch.trained(make, (torch.from_numpy(graph.x),), nodes, targets, weights, seed, loss)
