"""Drop from the worst up, and keep every class."""

from __future__ import annotations

import math

import numpy as np

from llmlabel.graph.graph import Annotated, BoolArray, FloatArray, Graph
from llmlabel.graph.reliability import reliability

SEED = 0  # of the clusters behind the reliability


def how_many(annotated: Annotated, share: float) -> int:
    """Most annotations that may go: floor(share * n)."""
    return math.floor(share * len(annotated.nodes) + 1e-9)


def lowest(score: FloatArray, annotated: Annotated, share: float) -> BoolArray:
    """(n,) False for the lowest scores; of equal ones the last goes first."""
    keep = np.ones(len(score), bool)
    left = np.bincount(annotated.labels, minlength=len(annotated.classes))
    most = how_many(annotated, share)
    for row in np.lexsort((-np.arange(len(score)), score)):
        if most == 0:
            break
        if left[annotated.labels[row]] > 1:
            keep[row] = False
            left[annotated.labels[row]] -= 1
            most -= 1
    return keep


def confidence(graph: Graph, annotated: Annotated) -> FloatArray:
    """(n,) as told; where any of it is missing, the label-free reliability of all: the two do not share a scale."""
    return reliability(graph, annotated, seed=SEED) if np.isnan(annotated.confidence).any() else annotated.confidence
