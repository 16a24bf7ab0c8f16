"""One file per node-selection strategy: `select(graph, budget, rng) -> (n,)` node rows, and `WHY`, what its picks are, in words.

`select` answers with min(budget, askable nodes) distinct askable rows, best first, and sees structure and features, never a
label. To leave out nodes that are annotated already, give it a graph where they are not askable. Files with a leading
underscore are what several strategies share.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from llmlabel.errors import ConfigError


def names() -> list[str]:
    """The strategies in this folder, spelled as on the command line."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def selector(name: str) -> Any:
    """The module of a strategy; a dotted path names somebody else's.

    Raises: ConfigError with the names there are.
    """
    if name.replace("_", "-") not in names() and "." not in name:
        raise ConfigError(f"no selection strategy {name!r}; there are: {', '.join(names())}")
    try:
        module = import_module(name if "." in name else f"{__name__}.{name.replace('-', '_')}")
    except ModuleNotFoundError as e:
        raise ConfigError(f"selection strategy {name!r}: cannot import {e.name!r}") from e
    if not hasattr(module, "select"):
        raise ConfigError(f"{name} is no selection strategy: it has no select(graph, budget, rng)")
    return module
