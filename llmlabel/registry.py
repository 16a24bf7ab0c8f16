"""One file to add one thing: modules of a folder by their names, and somebody else's by a dotted path."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from llmlabel.errors import ConfigError


def names(package: str, mark: str = "_") -> list[str]:
    """The files in a package's folder, but those with a leading underscore; `mark` stands for the underscores in them."""
    found = (module.name for module in pkgutil.iter_modules(import_module(package).__path__))
    return sorted(name.replace("_", mark) for name in found if not name.startswith("_"))


def find(package: str, name: str, kind: str, call: str, known: Sequence[str]) -> Any:
    """The module of a name.

    Args:
        kind: what it is, in messages. call: the function it must have, with its parameters. known: the names to tell.
    Raises: ConfigError with the names there are, or what is missing.
    """
    file = name.replace("-", "_")
    if file not in names(package) and "." not in name:
        raise ConfigError(f"no {kind} {name!r}; there are: {', '.join(known)}")
    try:
        module = import_module(name if "." in name else f"{package}.{file}")
    except ModuleNotFoundError as e:
        raise ConfigError(f"{kind} {name!r}: cannot import {e.name!r}") from e
    if not hasattr(module, call.partition("(")[0]):
        raise ConfigError(f"{name} is no {kind}: it has no {call}")
    return module
