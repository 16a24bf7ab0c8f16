"""Nodes drawn by chance, each equally likely."""

from __future__ import annotations

import numpy as np

from llmlabel.graph.graph import Graph, IntArray

WHY = "drawn by chance"


def select(graph: Graph, budget: int, rng: np.random.Generator) -> IntArray:
    return np.asarray(rng.permutation(np.flatnonzero(graph.askable))[:budget])
