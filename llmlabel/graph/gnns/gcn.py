"""Graph convolutional network, two layers (Kipf and Welling 2017, arXiv 1609.02907)."""

from __future__ import annotations

from llmlabel.graph.gnns import _torch
from llmlabel.graph.graph import FloatArray, Graph, IntArray

LOSSES, RANDOM, needs = _torch.LOSSES, True, _torch.needs_torch


def fit_predict(
    graph: Graph, nodes: IntArray, targets: FloatArray, weights: FloatArray, *, seed: int, loss: str = LOSSES[0]
) -> FloatArray:
    """(N, L) probabilities; see `Learner`."""
    import torch
    from torch_geometric.nn import GCNConv

    class GCN(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = GCNConv(graph.x.shape[1], _torch.HIDDEN, normalize=False)
            self.second = GCNConv(_torch.HIDDEN, targets.shape[1], normalize=False)
            self.drop = torch.nn.Dropout(_torch.DROPOUT)

        def forward(self, x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
            return self.second(self.drop(self.first(self.drop(x), a).relu()), a)

    inputs = (torch.from_numpy(graph.x), _torch.tensor(graph.normalised))
    return _torch.trained(GCN, inputs, nodes, targets, weights, seed, loss)
