"""Personalised-PageRank features and a class-balanced logistic regression: a linear graph network that needs no torch.

Sources: SGC (Wu et al. 2019, arXiv 1902.07153) for the linear model on propagated features; APPNP (Gasteiger et al. 2019,
arXiv 1810.05997) for the propagation, its alpha and steps.

Classes weigh the same whatever their number of annotations: an LLM has favourite classes, so their share among its labels says
little of their share in the data. The penalty is scikit-learn's default. On rows of length 1 and some twenty annotations a class
it is a strong one, which brings the model near to comparing a node with the mean of each class; that is hard to mislead by
wrong labels (van Rooyen et al. 2015, arXiv 1505.07634).
"""

from __future__ import annotations

import numpy as np

from llmlabel.graph.graph import FloatArray, Graph, IntArray

RANDOM = False
LOSSES = ("ce", "label-smoothing", "unbalanced")
ALPHA, STEPS = 0.1, 10
SMOOTHING = 0.1
BLOCK = 32  # columns propagated at a time: bounds memory on large graphs
ROWS = 100_000  # predicted at a time


def fit_predict(
    graph: Graph, nodes: IntArray, targets: FloatArray, weights: FloatArray, *, seed: int, loss: str = "ce"
) -> FloatArray:
    """(N, L) probabilities; see `Learner`."""
    from sklearn.linear_model import LogisticRegression

    x = vectors(graph)
    if loss == "label-smoothing":
        targets = (1 - SMOOTHING) * targets + SMOOTHING / targets.shape[1]
    row, column = np.nonzero(targets * weights[:, None])  # a row for each label it may have
    share = weights[row] * targets[row, column]
    if loss != "unbalanced":
        share = share * _balance(share, column)
    model = LogisticRegression(max_iter=1000).fit(x[nodes[row]], column, sample_weight=share * len(nodes) / share.sum())
    probs = np.zeros((graph.size, targets.shape[1]))
    for start in range(0, graph.size, ROWS):
        probs[start : start + ROWS, model.classes_] = model.predict_proba(x[start : start + ROWS])
    return probs


def _balance(share: FloatArray, column: IntArray) -> FloatArray:
    return np.asarray(1 / np.bincount(column, weights=share)[column])


def vectors(graph: Graph) -> FloatArray:
    """(N, F) float32 unit rows: features less their mean, at length 1, spread by personalised PageRank; kept with the graph."""
    kept = vars(graph).get("_sgc")
    if kept is None:
        kept = vars(graph)["_sgc"] = _spread(graph)
    return np.asarray(kept)


def _spread(graph: Graph) -> FloatArray:
    x, a = graph.x, graph.normalised
    mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
    length = np.sqrt(np.maximum(np.einsum("nf,nf->n", x, x) - 2 * (x @ mean) + mean @ mean, 1e-12))[:, None]
    found = np.empty(x.shape, dtype=np.float32)
    for start in range(0, x.shape[1], BLOCK):
        columns = slice(start, start + BLOCK)
        z = first = (x[:, columns] - mean[columns]) / length
        for _ in range(STEPS):
            z = (1 - ALPHA) * (a @ z) + ALPHA * first
        found[:, columns] = z
    found /= np.maximum(np.sqrt(np.einsum("nf,nf->n", found, found)), 1e-12)[:, None]
    return found
