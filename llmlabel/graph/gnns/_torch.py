"""What the learners on PyTorch share: the loop over epochs and the propagation as a sparse tensor."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from llmlabel.errors import ConfigError
from llmlabel.graph.graph import FloatArray, IntArray

LOSSES = ("gce", "ce", "sce", "forward")
HIDDEN, DROPOUT, RATE, DECAY, EPOCHS = 64, 0.5, 0.01, 5e-4, 30


def needs_torch() -> None:
    """Raises: ConfigError where the extra is missing."""
    try:
        import torch_geometric  # noqa: F401 - only to see whether it is there
    except ImportError as e:
        raise ConfigError(
            f"this graph learner needs {e.name}: pip install 'llmlabel[graph]', or use sgc or label-spreading"
        ) from e


def tensor(matrix: sparse.csr_array) -> Any:
    """A sparse CSR tensor, float32."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # CSR support is in beta
        index = (torch.from_numpy(matrix.indptr.astype(np.int64)), torch.from_numpy(matrix.indices.astype(np.int64)))
        return torch.sparse_csr_tensor(*index, torch.from_numpy(matrix.data.astype(np.float32)), matrix.shape)


def trained(
    make: Callable[[], Any],
    inputs: tuple[Any, ...],
    nodes: IntArray,
    targets: FloatArray,
    weights: FloatArray,
    seed: int,
    loss: str,
) -> FloatArray:
    """(N, L) probabilities of a network after `EPOCHS` epochs of Adam over all nodes, dropout on while it trains.

    Classes weigh the same. The settings are LLM-GNN's.

    Args:
        make: builds the network (F -> L logits). inputs: what its forward takes.
    """
    import torch

    from llmlabel.graph import losses

    y, where = torch.from_numpy(targets.astype(np.float32)), torch.from_numpy(nodes)
    w = torch.from_numpy(losses.balanced(targets, weights).astype(np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if loss != "forward":
            return _fit(make(), inputs, lambda z: losses.LOSSES[loss](z[where], y, w))
        first = _fit(make(), inputs, lambda z: losses.LOSSES["ce"](z[where], y, w))
        noise = torch.from_numpy(losses.transition(first).astype(np.float32))
        return _fit(make(), inputs, lambda z: losses.forward_correction(z[where], y, w, noise))


def _fit(net: Any, inputs: tuple[Any, ...], objective: Callable[[Any], Any]) -> FloatArray:
    import torch

    adam = torch.optim.Adam(net.parameters(), lr=RATE, weight_decay=DECAY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        net.train()
        for _ in range(EPOCHS):
            adam.zero_grad()
            objective(net(*inputs)).backward()
            adam.step()
        net.eval()
        with torch.no_grad():
            return np.asarray(torch.softmax(net(*inputs).double(), dim=1).numpy())
