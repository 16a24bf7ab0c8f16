"""GraphSAGE with the mean of the neighbours, two layers (Hamilton et al. 2017, arXiv 1706.02216)."""

from __future__ import annotations

from llmlabel.graph.gnns import _torch
from llmlabel.graph.graph import FloatArray, Graph, IntArray

LOSSES, RANDOM, needs = _torch.LOSSES, True, _torch.needs_torch


def fit_predict(
    graph: Graph, nodes: IntArray, targets: FloatArray, weights: FloatArray, *, seed: int, loss: str = LOSSES[0]
) -> FloatArray:
    """(N, L) probabilities; see `Learner`."""
    import torch
    from torch_geometric.nn import SAGEConv

    class SAGE(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = SAGEConv(graph.x.shape[1], _torch.HIDDEN, aggr="sum")  # the walk's rows sum to 1: a mean
            self.second = SAGEConv(_torch.HIDDEN, targets.shape[1], aggr="sum")
            self.drop = torch.nn.Dropout(_torch.DROPOUT)

        def forward(self, x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
            return self.second(self.drop(self.first(self.drop(x), a).relu()), a)

    inputs = (torch.from_numpy(graph.x), _torch.tensor(graph.walk))
    return _torch.trained(SAGE, inputs, nodes, targets, weights, seed, loss)
