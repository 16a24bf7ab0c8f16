"""One file per node-selection strategy: `select(graph, budget, rng) -> (n,)` node rows, and `WHY`, what its picks are, in words.

`select` answers with min(budget, askable nodes) distinct askable rows, best first, and sees structure and features, never a
label. To leave out nodes that are annotated already, give it a graph where they are not askable. Files with a leading
underscore are what several strategies share.
"""

from __future__ import annotations

from typing import Any

from llmlabel import registry


def names() -> list[str]:
    """The strategies in this folder, spelled as on the command line."""
    return registry.names(__name__, "-")


def selector(name: str) -> Any:
    """The module of a strategy; a dotted path names somebody else's.

    Raises: ConfigError with the names there are.
    """
    return registry.find(__name__, name, "selection strategy", "select(graph, budget, rng)", names())
