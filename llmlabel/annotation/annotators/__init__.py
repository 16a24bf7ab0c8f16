"""One file per way to annotate: `annotate(examples, taxonomy, client, prompts, how) -> annotations`, and `PROMPTS`, the
prompts it may use."""

from __future__ import annotations

from typing import Any

from llmlabel import registry


def names() -> list[str]:
    """The files in this folder."""
    return registry.names(__name__)


def annotator(name: str) -> Any:
    """The module of a way to annotate; a dotted path names somebody else's.

    Raises: ConfigError with the names there are.
    """
    return registry.find(__name__, name, "annotator", "annotate(examples, taxonomy, client, prompts, how)", names())


def pinned() -> dict[str, str]:
    """Every prompt any annotator may use: `{annotator_use: id}`."""
    return {f"{name}_{use}": i for name in names() for use, i in annotator(name).PROMPTS.items()}
