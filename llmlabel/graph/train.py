"""From annotations of some nodes to labels of all: what is dropped, what weighs how much, what is learned, and how sure it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llmlabel.graph import filters, gnns
from llmlabel.graph.accuracy import Estimate, estimate
from llmlabel.graph.calibration import calibrated
from llmlabel.graph.correct_and_smooth import smoothing
from llmlabel.graph.graph import Annotated, BoolArray, FloatArray, Graph
from llmlabel.graph.losses import confidence_weights
from llmlabel.graph.reliability import reliability, shifted

Weigh = Literal["equal", "reliability", "confidence"]
AUTO_SELECT, AUTO_FILTER, AUTO_GNN = "stratified", "none", "sgc"  # see docs/graph-results.md
FEWEST = 10  # annotations of two classes at least, below which nothing is estimated


@dataclass(frozen=True)
class Learned:
    """What was learned from n annotated nodes about all N.

    Args:
        probs: (N, L). confidence: (N,) estimated probability that the likeliest class is right. kept: (n,) annotations that
            were learned from. weights: (n,) theirs, 1 on average, 0 for those dropped. reliability: (n,) estimated probability
            that the annotation is right. estimate: how many labels are right among nodes not annotated; None: cannot be said.
        gnn, filter: the ones used. notes: what a user should know, in plain sentences.
    """

    probs: FloatArray
    confidence: FloatArray
    kept: BoolArray
    weights: FloatArray
    reliability: FloatArray
    estimate: Estimate | None
    gnn: str
    filter: str
    notes: Sequence[str] = ()


def ready(gnn: str, filter: str, loss: str | None) -> tuple[str, str]:
    """Learner and filter that names, or auto, stand for. Raises: ConfigError for names there are not and missing packages."""
    name, dropping = AUTO_GNN if gnn == "auto" else gnn, AUTO_FILTER if filter == "auto" else filter
    gnns.gnn(name, loss)
    if dropping != "none":
        filters.filter(dropping)
    return name, dropping


def _weights(annotated: Annotated, sure: FloatArray, weigh: Weigh) -> FloatArray:
    if weigh == "equal":
        return np.ones(len(sure))
    return sure if weigh == "reliability" else confidence_weights(annotated.confidence)


def learn(
    graph: Graph, annotated: Annotated, *, gnn: str = "auto", filter: str = "auto", share: float = 0.2, weigh: Weigh = "equal",
    loss: str | None = None, smooth: bool = False, trainings: int = 5, seed: int = 0, proof: bool = True,
    on_done: Callable[[int], None] = lambda n: None,
) -> Learned:  # fmt: skip
    """Train on annotated nodes, label all.

    Args:
        gnn, filter: names, or auto; filter may be none. share: of the annotations, that a filter drops at most. weigh: what
            annotations that stay weigh: equal, by their reliability, or by the confidence told with them. loss: one of the
            learner's; None: its own. smooth: Correct and Smooth after the learner. trainings: seeds whose probabilities are
            averaged, where a learner depends on its seed. proof: False leaves out estimate and calibration, which train the
            learner five times more.
    """
    name, dropping = ready(gnn, filter, loss)
    fit = smoothing(gnns.gnn(name, loss)) if smooth else gnns.gnn(name, loss)
    sure = reliability(graph, annotated, seed=seed)
    kept = np.ones(len(sure), bool) if dropping == "none" else filters.filter(dropping).keep(graph, annotated, share)
    weights = kept * _weights(annotated, sure, weigh)
    weights = weights / weights[kept].mean()
    times = trainings if gnns.random(name) else 1
    probs: FloatArray = np.zeros((graph.size, len(annotated.classes)))
    for n in range(times):
        probs = probs + fit(graph, annotated.nodes, annotated.one_hot, weights, seed=seed + n) / times
        on_done(trainings // times)
    told = None
    if proof and len(sure) >= FEWEST and len(set(annotated.labels[kept].tolist())) > 1:
        told = estimate(graph, annotated, fit, seed=seed, weights=weights)
        others = np.ones(graph.size, bool)
        others[annotated.nodes] = False
        probs = calibrated(probs, told.value, others)
        sure = shifted(np.log(sure / (1 - sure)), told.value)
    notes = [] if told or not proof else ["too few annotations, or of one label only, to estimate how many labels are right"]
    return Learned(probs, probs.max(axis=1), kept, weights, sure, told, name, dropping, notes)
