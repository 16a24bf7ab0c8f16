"""How likely is an annotation right? Read from whether nodes alike were annotated alike; no label is known, nobody is asked.

After CANE (arXiv 2605.27913): reliability per (feature cluster, class) from agreement with neighbours in the graph and in the
features. Among a few hundred annotated nodes there are hardly any edges; features averaged over two hops stand for both.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

from llmlabel.graph.graph import Annotated, FloatArray, Graph, IntArray
from llmlabel.graph.selectors._clusters import kmeans

NEIGHBOURS = 10
CLUSTERS_PER_CLASS = 2  # CANE's K = 2C
SHRINK = 3.0  # annotations that a class's mean counts for in a cell, and the overall mean in a class
EDGE = 0.02  # nothing is impossible, nothing certain
SAMPLE = 20_000  # nodes the clusters are made from


def reliability(graph: Graph, annotated: Annotated, *, seed: int) -> FloatArray:
    """(n,) estimated probability that each annotation is right, in (0, 1); stated confidence plays no part.

    The mean, on the logit scale, of a node's own agreement with its neighbours and that of its (cluster, class) cell, shifted so
    that on average it is the share of annotations which are also the majority of their neighbours'. Good for telling better from
    worse ones. Its mean is no estimate of accuracy: too high where nodes alike are wrong alike, too low where all are right.
    """
    if not len(annotated.nodes):
        return np.zeros(0)
    rng = np.random.default_rng(seed)
    others = rng.choice(graph.size, min(graph.size, SAMPLE), replace=False)
    x = graph.smooth[np.concatenate([annotated.nodes, others])]
    n = len(annotated.nodes)
    votes = neighbour_votes(x[:n], annotated)
    own = agreement(votes, annotated)
    cluster = kmeans(x, CLUSTERS_PER_CLASS * len(annotated.classes), rng)[0][:n]
    both = (_logit(own) + _logit(cells(own, cluster, annotated))) / 2
    level = (1 + np.sum(votes.argmax(axis=1) == annotated.labels)) / (2 + n)
    return shifted(both, float(level))


def neighbour_votes(x: FloatArray, annotated: Annotated) -> FloatArray:
    """(n, L) shares of the labels among the nearest annotated nodes, by similarity, and one more vote spread as all labels are.

    A node has no vote on itself. x: (n, F) unit rows.
    """
    from sklearn.neighbors import NearestNeighbors

    n = len(x)
    prior = annotated.one_hot.mean(axis=0)
    k = min(NEIGHBOURS, n - 1)
    if not k:
        return np.tile(prior, (n, 1))
    distance, near = NearestNeighbors(n_neighbors=k).fit(x).kneighbors()
    weight = np.maximum(1 - distance**2 / 2, 1e-9)  # cosine
    weight *= k / weight.sum(axis=1, keepdims=True)
    votes = np.einsum("nk,nkl->nl", weight, annotated.one_hot[near])
    return np.asarray((votes + prior) / (k + 1))


def agreement(votes: FloatArray, annotated: Annotated) -> FloatArray:
    """(n,) the share of votes for a node's own label, each label's votes divided by how many other nodes could have cast them.

    Without that, annotations of rare classes look wrong: there is hardly anybody to agree with them.
    """
    rows = np.arange(len(votes))
    count = np.tile(np.bincount(annotated.labels, minlength=votes.shape[1]).astype(float), (len(votes), 1))
    count[rows, annotated.labels] -= 1
    fair = votes / np.maximum(count, 1)
    return np.asarray(fair[rows, annotated.labels] / fair.sum(axis=1))


def cells(value: FloatArray, cluster: IntArray, annotated: Annotated) -> FloatArray:
    """(n,) mean of `value` in a node's (cluster, class) cell, shrunk to the class's, which is shrunk to the overall mean."""
    classes = len(annotated.classes)
    cell = cluster * classes + annotated.labels
    by_class = _shrunk(value, annotated.labels, np.full(classes, value.mean()))
    every = np.tile(by_class, int(cluster.max()) + 1)
    return np.asarray(_shrunk(value, cell, every)[cell])


def _shrunk(value: FloatArray, group: IntArray, prior: FloatArray) -> FloatArray:
    total = np.bincount(group, weights=value, minlength=len(prior))
    return np.asarray((total + SHRINK * prior) / (np.bincount(group, minlength=len(prior)) + SHRINK))


def shifted(logits: FloatArray, level: float) -> FloatArray:
    """Probabilities whose mean is `level`, above 0 and below 1: a constant is added to their logits."""
    from scipy.optimize import brentq

    by = float(brentq(lambda b: float(expit(logits + b).mean()) - level, -50, 50))
    return np.asarray(expit(logits + by))


def _logit(p: FloatArray) -> FloatArray:
    return np.asarray(logit(np.clip(p, EDGE, 1 - EDGE)))
