"""A two-layer perceptron whose answers are spread by personalised PageRank: APPNP (Gasteiger et al. 2019, arXiv 1810.05997)."""

from __future__ import annotations

from llmlabel.graph.gnns import _torch
from llmlabel.graph.graph import FloatArray, Graph, IntArray

LOSSES, RANDOM, needs = _torch.LOSSES, True, _torch.needs_torch


def fit_predict(
    graph: Graph, nodes: IntArray, targets: FloatArray, weights: FloatArray, *, seed: int, loss: str = LOSSES[0]
) -> FloatArray:
    """(N, L) probabilities; see `Learner`."""
    import torch
    from torch_geometric.nn import APPNP as Spread

    class APPNP(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Linear(graph.x.shape[1], _torch.HIDDEN)
            self.second = torch.nn.Linear(_torch.HIDDEN, targets.shape[1])
            self.drop = torch.nn.Dropout(_torch.DROPOUT)
            self.spread = Spread(K=10, alpha=0.1, normalize=False)

        def forward(self, x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
            return self.spread(self.second(self.drop(self.first(self.drop(x)).relu())), a)

    inputs = (torch.from_numpy(graph.x), _torch.tensor(graph.normalised))
    return _torch.trained(APPNP, inputs, nodes, targets, weights, seed, loss)
