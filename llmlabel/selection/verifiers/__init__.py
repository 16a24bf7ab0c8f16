"""One file per way to check an answer against gold: `verify(answer, gold, taxonomy) -> bool`. It never raises on any text.

    answer: the whole answer, reasons and all. gold: what it should end in. taxonomy: the labels there are, None without any.

Files with a leading underscore are what several of them share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmlabel import registry
from llmlabel.records import Taxonomy
from llmlabel.selection.verifiers import numeric


def names() -> list[str]:
    """The files in this folder."""
    return registry.names(__name__)


def verifier(name: str) -> Any:
    """The module of a way to check; a dotted path names somebody else's.

    Raises: ConfigError with the names there are.
    """
    return registry.find(__name__, name, "way to check answers", "verify(answer, gold, taxonomy)", names())


def auto(golds: Sequence[str], taxonomy: Taxonomy | None) -> str:
    """label with a taxonomy, numeric where all gold are numbers or solutions that end in a marked one, else exact."""
    if taxonomy is not None:
        return "label"
    return "numeric" if golds and all(numeric.is_number(gold) for gold in golds) else "exact"
