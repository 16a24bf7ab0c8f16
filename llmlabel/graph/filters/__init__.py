"""One file per filter: `keep(graph, annotated, share) -> (n,) bool`, the annotations that stay, and `WHY`, who goes, in words.

At most `share` of the annotations are dropped, and never the last one of a class. A filter sees annotations, their confidence
and the graph, never a true label. Not to filter is no file: `none`.
"""

from __future__ import annotations

from typing import Any

from llmlabel import registry


def names() -> list[str]:
    """The filters in this folder, spelled as on the command line."""
    return registry.names(__name__, "-")


def filter(name: str) -> Any:
    """The module of a filter; a dotted path names somebody else's.

    Raises: ConfigError with the names there are.
    """
    return registry.find(__name__, name, "filter", "keep(graph, annotated, share)", [*names(), "none"])
