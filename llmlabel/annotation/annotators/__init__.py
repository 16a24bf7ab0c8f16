"""One file per way to annotate: `annotate(examples, taxonomy, client, prompts, how) -> annotations`, and `PROMPTS`, the
prompts it may use."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from llmlabel.errors import ConfigError


def names() -> list[str]:
    """The files in this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def annotator(name: str) -> Any:
    """The module of a way to annotate; a dotted path names somebody else's.

    Raises: ConfigError with the names there are.
    """
    if name not in names() and "." not in name:
        raise ConfigError(f"no annotator {name!r}; there are: {', '.join(names())}")
    try:
        module = import_module(name if "." in name else f"{__name__}.{name}")
    except ModuleNotFoundError as e:
        raise ConfigError(f"annotator {name!r}: cannot import {e.name!r}") from e
    if not hasattr(module, "annotate"):
        raise ConfigError(f"{name} is no annotator: it has no annotate(examples, taxonomy, client, prompts, how)")
    return module


def pinned() -> dict[str, str]:
    """Every prompt any annotator may use: `{annotator_use: id}`."""
    return {f"{name}_{use}": i for name in names() for use, i in annotator(name).PROMPTS.items()}
