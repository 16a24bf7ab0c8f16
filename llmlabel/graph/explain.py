"""Why each node was picked: facts per node, and one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmlabel.graph.graph import Graph, IntArray
from llmlabel.graph.selectors import selector
from llmlabel.graph.selectors._clusters import c_density
from llmlabel.graph.selectors._scores import percentile
from llmlabel.graph.selectors.pagerank import pagerank


def explain(graph: Graph, picked: IntArray, strategies: Sequence[str]) -> list[dict[str, Any]]:
    """One dict per picked node, in order.

    Args:
        picked: (n,) node rows, best first. strategies: (n,) the one each comes from; `given` for none.
    Returns: `node` (row), `rank` (from 1), `degree` (neighbours), `pagerank_percentile` and `density_percentile` (of C-Density,
        above 0 to 100), `reaches` (other nodes within two hops that no earlier pick reaches), `why` (a sentence).
    Raises: ConfigError for a name that is no strategy.
    """
    reasons = {name: _reason(name) for name in set(strategies)}
    neighbours = np.diff(graph.adjacency.indptr)
    central = 100 * percentile(pagerank(graph))
    typical = 100 * percentile(c_density(graph, np.random.default_rng(0)))
    told = []
    for n, (node, reaches) in enumerate(zip(picked, reached(graph, picked), strict=True)):
        facts = {
            "node": int(node),
            "rank": n + 1,
            "degree": int(neighbours[node]),
            "pagerank_percentile": round(float(central[node]), 1),
            "density_percentile": round(float(typical[node]), 1),
            "reaches": reaches,
        }
        told.append({**facts, "why": sentence(facts, reasons[strategies[n]])})
    return told


def _reason(name: str) -> str:
    if name == "given":
        return "somebody had labelled it"
    return str(getattr(selector(name), "WHY", f"picked by {name}"))


def sentence(facts: dict[str, Any], reason: str) -> str:
    near, more = facts["degree"], facts["reaches"]
    central, typical = facts["pagerank_percentile"], facts["density_percentile"]
    return (
        f"Pick {facts['rank']}: {reason}; {near or 'no'} neighbour{'s' * (near != 1)}, more central than {central:.0f}% and more "
        f"typical than {typical:.0f}% of all nodes, first to reach {more or 'no'} other node{'s' * (more != 1)} within two hops."
    )


def reached(graph: Graph, picked: IntArray) -> list[int]:
    """(n,) for each pick, the other nodes within two hops that no earlier pick reaches."""
    seen = np.zeros(graph.size, bool)
    counts = []
    for node in picked:
        near = graph.adjacency[[node]].indices
        around = np.concatenate([near, graph.adjacency[near].indices])
        fresh = np.unique(around[~seen[around] & (around != node)])
        seen[fresh] = seen[node] = True
        counts.append(len(fresh))
    return counts
