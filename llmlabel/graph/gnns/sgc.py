"""Personalised-PageRank features, a class-balanced logistic regression and one step of self-training: no torch, any size.

The logistic regression answers for all nodes. Then each class is what its annotated nodes and the nodes answered so have in
common: the mean of both means. A node's label follows from its cosine to these and from how many nodes were answered so.

Classes weigh the same in the regression whatever their number of annotations: an LLM has favourite labels, so their share among
its answers says little of their share in the data. The penalty is scikit-learn's default; on rows of length 1 and some twenty
annotations a class it is strong, which brings the model near to comparing means too, and wrong labels hardly mislead those.

Sources: SGC (Wu et al. 2019, arXiv 1902.07153), a linear model of propagated features; APPNP (Gasteiger et al. 2019, arXiv
1810.05997), the propagation with its alpha and steps; van Rooyen et al. 2015, arXiv 1505.07634, why means; Basu et al. 2002,
Semi-supervised clustering by seeding.
"""

from __future__ import annotations

import numpy as np

from llmlabel.graph.graph import FloatArray, Graph, IntArray

LOSSES = ("self-training", "ce", "unbalanced")
ALPHA, STEPS = 0.1, 10
SHARPNESS = 10.0  # of cosines; hardly matters from 5 to 20, and confidence is calibrated later
BLOCK = 32  # columns propagated at a time: bounds memory on large graphs
ROWS = 100_000  # answered at a time
TINY = 1e-12


def fit_predict(
    graph: Graph, nodes: IntArray, targets: FloatArray, weights: FloatArray, *, seed: int, loss: str = LOSSES[0]
) -> FloatArray:
    """(N, L) probabilities; see `Learner`.

    Args:
        loss: self-training; ce is the logistic regression alone; unbalanced likewise, and classes weigh what they have.
    """
    x = vectors(graph)
    probs = logistic(x, nodes, targets, weights, balance=loss != "unbalanced")
    return self_trained(x, probs, nodes, targets, weights) if loss == "self-training" else probs


def logistic(x: FloatArray, nodes: IntArray, targets: FloatArray, weights: FloatArray, *, balance: bool) -> FloatArray:
    """(N, L) probabilities of a logistic regression of (N, F) rows on those annotated."""
    from sklearn.linear_model import LogisticRegression

    row, label = np.nonzero(targets * weights[:, None])  # a row for each label it may have
    share = weights[row] * targets[row, label]
    if balance:
        share = share / np.bincount(label, weights=share)[label]
    model = LogisticRegression(max_iter=1000).fit(x[nodes[row]], label, sample_weight=share * len(nodes) / share.sum())
    probs = np.zeros((len(x), targets.shape[1]))
    for some in _blocks(len(x)):
        probs[some, model.classes_] = model.predict_proba(x[some])
    return probs


def self_trained(x: FloatArray, probs: FloatArray, nodes: IntArray, targets: FloatArray, weights: FloatArray) -> FloatArray:
    """(N, L) probabilities from the means of nodes annotated and of nodes answered. probs: (N, L), the answers."""
    from scipy.special import softmax

    answer = probs.argmax(axis=1)
    answer[nodes] = -1
    classes = np.arange(probs.shape[1])
    found = np.array([x[answer == k].mean(axis=0) if (answer == k).any() else np.zeros(x.shape[1]) for k in classes])
    mass = weights[:, None] * targets
    told = mass.T @ x[nodes] / np.maximum(mass.sum(axis=0), TINY)[:, None]
    means = told + found
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), TINY)
    share = np.log(np.bincount(answer + 1, minlength=len(classes) + 1)[1:] + 1)
    result = np.empty(probs.shape)
    for some in _blocks(len(x)):
        result[some] = softmax(SHARPNESS * (x[some] @ means.T) + share, axis=1)
    return result


def _blocks(rows: int) -> list[slice]:
    return [slice(start, start + ROWS) for start in range(0, rows, ROWS)]


def vectors(graph: Graph) -> FloatArray:
    """(N, F) float32 unit rows: features less their mean, at length 1, spread by personalised PageRank; kept with the graph.

    A node without features has its neighbours' only, and is a zero row where it is alone.
    """
    kept = vars(graph).get("_sgc")
    if kept is None:
        kept = vars(graph)["_sgc"] = _spread(graph)
    return np.asarray(kept)


def _spread(graph: Graph) -> FloatArray:
    x, a = graph.x, graph.normalised
    mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
    square = np.einsum("nf,nf->n", x, x)
    length = np.sqrt(np.maximum(square - 2 * (x @ mean) + mean @ mean, TINY))
    scale = np.where(square > 0, 1 / length, 0)[:, None].astype(np.float32)  # a node without features says nothing
    found = np.empty(x.shape, dtype=np.float32)
    for start in range(0, x.shape[1], BLOCK):
        columns = slice(start, start + BLOCK)
        z = first = (x[:, columns] - mean[columns]) * scale
        for _ in range(STEPS):
            z = (1 - ALPHA) * (a @ z) + ALPHA * first
        found[:, columns] = z
    found /= np.maximum(np.sqrt(np.einsum("nf,nf->n", found, found)), TINY)[:, None]
    return found
