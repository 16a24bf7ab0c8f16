"""One file per learner: `fit_predict(graph, nodes, targets, weights, *, seed, loss) -> (N, L)`; `LOSSES`, those it can use, its
default first; `RANDOM` where its answer depends on the seed; and `needs()` where it asks for a package that may be missing.

A learner sees features, edges and annotations of some nodes, never a true label, and needs no validation set. Files with a
leading underscore are what several learners share.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

import numpy as np

from llmlabel import registry
from llmlabel.errors import ConfigError, DataError
from llmlabel.graph.graph import FloatArray, Graph, IntArray


class Learner(Protocol):
    """Args:
        nodes: (n,) annotated rows of the graph. targets: (n, L) distributions; one-hot where labels are certain. Some columns may
            be empty. weights: (n,) at least 0, only their ratios count.
    Returns: (N, L) float64 probabilities of every node's label, rows sum to 1.
    Raises: DataError when nothing is annotated or shapes differ.
    """

    def __call__(self, graph: Graph, nodes: IntArray, targets: FloatArray, weights: FloatArray, *, seed: int) -> FloatArray: ...


def names() -> list[str]:
    """The learners in this folder, spelled as on the command line."""
    return registry.names(__name__, "-")


def gnn(name: str, loss: str | None = None) -> Learner:
    """A learner with a loss, None: its own default; a dotted path names somebody else's module.

    Raises: ConfigError with the names there are, or when a package is missing.
    """
    module = _module(name)
    getattr(module, "needs", lambda: None)()
    known = getattr(module, "LOSSES", ("ce",))
    if loss is not None and loss not in known:
        raise ConfigError(f"{name} has no loss {loss!r}; there are: {', '.join(known)}")
    return partial(_checked, module, loss or known[0])


def random(name: str) -> bool:
    """Whether a learner's answer depends on its seed, so that several are worth averaging."""
    return bool(getattr(_module(name), "RANDOM", False))


def _module(name: str) -> Any:
    return registry.find(__name__, name, "graph learner", "fit_predict(graph, nodes, targets, weights, *, seed, loss)", names())


def _checked(
    module: Any, loss: str, graph: Graph, nodes: IntArray, targets: FloatArray, weights: FloatArray, *, seed: int
) -> FloatArray:
    if len(targets) != len(nodes) or len(weights) != len(nodes):
        raise DataError(f"{len(nodes)} nodes, but {len(targets)} targets and {len(weights)} weights")
    mass = weights @ targets if len(nodes) else np.zeros(targets.shape[1])
    if not mass.sum() > 0:
        raise DataError("no annotated node with a weight above 0: there is nothing to learn from")
    if np.count_nonzero(mass) == 1:
        return np.tile((mass > 0).astype(np.float64), (graph.size, 1))
    used = weights > 0
    share = weights[used] / weights[used].mean()
    probs = np.asarray(module.fit_predict(graph, nodes[used], targets[used], share, seed=seed, loss=loss), dtype=np.float64)
    probs = np.where(mass > 0, probs, 0.0)
    return np.asarray(probs / probs.sum(axis=1, keepdims=True))
