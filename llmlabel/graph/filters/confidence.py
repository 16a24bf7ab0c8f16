"""Drop the least confident annotations.

It shifts the classes where the model is unsure of some of them more than of others (LLM-GNN, section 3.4).
"""

from __future__ import annotations

from llmlabel.graph.filters import _dropping
from llmlabel.graph.graph import Annotated, BoolArray, Graph

WHY = "the least confident"


def keep(graph: Graph, annotated: Annotated, share: float) -> BoolArray:
    """(n,) bool; by the stated confidence, or the label-free reliability where not every node has one."""
    return _dropping.lowest(_dropping.confidence(graph, annotated), annotated, share)
