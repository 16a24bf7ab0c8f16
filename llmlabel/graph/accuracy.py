"""How accurate is a learner on the nodes nobody annotated? Estimated without a gold label, from agreements alone.

What can be measured is how often the learner, out of fold, says what the LLM said. That is its accuracy if it repairs as many of
the LLM's errors as it repeats; if more are repaired, it is better than that. How many cannot be seen without gold labels. If no
error were shared, accuracies would follow from the agreements of three views (after Platanios et al. 2014, Estimating accuracy
from unlabeled data): the LLM, features alone, edges alone. All views learnt from one LLM, so that figure is a ceiling.

The estimate is the agreement; the interval goes from its lower end to the upper end of the ceiling. Measured with `sgc` over
10 draws of random nodes: on two citation graphs with labels of real LLMs (budgets 120 and 140) the estimate was .021 and .004
too high on average, with a standard deviation of .05, and 18 of 20 intervals held the truth. Where wrong labels were
simulated without regard to the text, so that a learner repairs most of them, it was .25 and .20 too low; 20 of 20 intervals
held the truth. They are wide, because little is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmlabel.graph.calibration import out_of_fold
from llmlabel.graph.gnns import Learner, gnn
from llmlabel.graph.graph import Annotated, FloatArray, Graph

DRAWS = 1000
TAIL = 0.025
LEAST = 0.05  # agreement above chance, below which a view is of no use
ASSUMES = (
    "annotated nodes are like the others; the learner repairs as many of the LLM's errors as it repeats (low end), "
    "or repeats none of them (high end)"
)


@dataclass(frozen=True)
class Estimate:
    """Accuracy on nodes not annotated, in [0, 1], with an interval; what it assumes, in words; the figures it was made of.

    Args:
        views: agreement (learner and LLM), features_agreement, edges_agreement (each with the LLM), features_edges_agreement,
            ceiling (accuracy if no error were shared), llm_ceiling (the LLM's, likewise).
    """

    value: float
    low: float
    high: float
    assumes: str
    views: Mapping[str, float]


def estimate(
    graph: Graph, annotated: Annotated, fit_predict: Learner, *, seed: int, weights: FloatArray | None = None
) -> Estimate:
    """The learner's accuracy on nodes that are not annotated.

    Args:
        annotated: all annotations, also those a filter dropped: who drops disagreement and then measures agreement deceives
            himself. weights: (n,) of the training, 0 for those dropped.
    Raises: DataError for fewer than two annotations with a weight.
    """
    w = np.ones(len(annotated.nodes)) if weights is None else weights
    alone = Graph(sparse.csr_array(graph.adjacency.shape, dtype=np.float32), graph.x, graph.classes, graph.askable)
    learners = ((graph, fit_predict), (alone, gnn("sgc")), (graph, gnn("label-spreading")))
    g, x, s = (out_of_fold(of, annotated.nodes, annotated.one_hot, w, by, seed=seed).argmax(axis=1) for of, by in learners)
    same = np.array([g == annotated.labels, x == annotated.labels, s == annotated.labels, x == s], dtype=np.float64)
    drawn = _resampled(same, seed)
    classes = len(np.unique(annotated.labels))
    ceiling, llm = _ceilings(same.mean(axis=1), classes)
    top = _ceilings(drawn, classes)[0]
    value = float(same[0].mean())
    low, high = float(np.quantile(drawn[0], TAIL)), float(np.quantile(np.maximum(top, drawn[0]), 1 - TAIL))
    names = ("agreement", "features_agreement", "edges_agreement", "features_edges_agreement")
    views = dict(zip(names, map(float, same.mean(axis=1)), strict=True))
    return Estimate(
        value, min(low, value), max(high, value), ASSUMES, views | {"ceiling": float(ceiling), "llm_ceiling": float(llm)}
    )


def _resampled(same: FloatArray, seed: int) -> FloatArray:
    """(V, n) agreements -> (V, DRAWS) their means over nodes drawn with replacement; one success and one failure are added, or
    agreement everywhere would have no spread."""
    n = same.shape[1]
    drawn = np.random.default_rng(seed).multinomial(n + 2, np.r_[np.full(n, 1.0), 1.0, 1.0] / (n + 2), size=DRAWS)
    ends = np.tile([0.0, 1.0], (len(same), 1))
    return np.asarray(np.hstack([same, ends]) @ drawn.T / (n + 2))


def _ceilings(agreements: FloatArray, classes: int) -> tuple[FloatArray, FloatArray]:
    """Accuracy of learner and LLM if views err independently and evenly over classes: then agreement above chance is the product
    of two accuracies above chance.

    Args:
        agreements: (4, ...) learner-LLM, features-LLM, edges-LLM, features-edges.
    """
    if classes < 2:
        return np.ones(agreements.shape[1:]), np.ones(agreements.shape[1:])
    chance = 1 / classes
    above = np.maximum((agreements - chance) / (1 - chance), 1e-6)
    useful = np.minimum(above[2], above[3]) > LEAST
    llm = np.minimum(
        np.where(useful, np.sqrt(above[1] * above[2] / above[3]), np.sqrt(above[0])), 1.0
    )  # else: as good as the learner
    learner = np.minimum(above[0] / llm, 1.0)
    return np.asarray(chance + (1 - chance) * learner), np.asarray(chance + (1 - chance) * llm)
