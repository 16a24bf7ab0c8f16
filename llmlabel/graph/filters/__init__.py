"""One file per filter: `keep(graph, annotated, share) -> (n,) bool`, the annotations that stay, and `WHY`, who goes, in words.

At most `share` of the annotations are dropped, and never the last one of a class. A filter sees annotations, their confidence
and the graph, never a true label. Not to filter is no file: `none`.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from llmlabel.errors import ConfigError


def names() -> list[str]:
    """The filters in this folder, spelled as on the command line."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def filter(name: str) -> Any:
    """The module of a filter; a dotted path names somebody else's.

    Raises: ConfigError with the names there are.
    """
    if name.replace("_", "-") not in names() and "." not in name:
        raise ConfigError(f"no filter {name!r}; there are: {', '.join([*names(), 'none'])}")
    try:
        module = import_module(name if "." in name else f"{__name__}.{name.replace('-', '_')}")
    except ModuleNotFoundError as e:
        raise ConfigError(f"filter {name!r}: cannot import {e.name!r}") from e
    if not hasattr(module, "keep"):
        raise ConfigError(f"{name} is no filter: it has no keep(graph, annotated, share)")
    return module
