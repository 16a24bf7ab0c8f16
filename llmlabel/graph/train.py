"""From annotations of some nodes to labels of all: what is dropped, what weighs how much, what is learned, and how sure it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from llmlabel.graph import filters, gnns
from llmlabel.graph.accuracy import Estimate, estimate
from llmlabel.graph.calibration import calibrated
from llmlabel.graph.graph import Annotated, BoolArray, FloatArray, Graph
from llmlabel.graph.reliability import reliability

AUTO_SELECT, AUTO_FILTER, AUTO_GNN = "stratified", "none", "sgc"


@dataclass
class Learned:
    """What was learned from n annotated nodes about all N.

    Args:
        probs: (N, L). confidence: (N,) estimated probability that the likeliest class is right. kept: (n,) annotations that were
            learned from. weights: (n,) theirs, 1 on average, 0 for those dropped. reliability: (n,) estimated probability that the
            annotation is right. estimate: share of labels that are right among nodes not annotated, without gold.
    """

    probs: FloatArray
    confidence: FloatArray
    kept: BoolArray
    weights: FloatArray
    reliability: FloatArray
    estimate: Estimate
    gnn: str
    filter: str
    why: str
    notes: Sequence[str] = field(default_factory=list)
