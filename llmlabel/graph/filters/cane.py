"""Drop the annotations that nodes alike disagree with: label-free reliability, per node and per (feature cluster, class).

Source: the reliability of CANE (arXiv 2605.27913), see `llmlabel.graph.reliability`.
"""

from __future__ import annotations

from llmlabel.graph.filters import _dropping
from llmlabel.graph.graph import Annotated, BoolArray, Graph
from llmlabel.graph.reliability import reliability

WHY = "those that nodes alike disagree with most"
DOUBTFUL = 0.5  # reliability from which an annotation stays whatever the share: where most are right, dropping costs more


def keep(graph: Graph, annotated: Annotated, share: float) -> BoolArray:
    """(n,) bool: the least reliable go, of those more likely wrong than right. Stated confidence plays no part."""
    sure = reliability(graph, annotated, seed=_dropping.SEED)
    return _dropping.lowest(sure, annotated, share) | (sure >= DOUBTFUL)
