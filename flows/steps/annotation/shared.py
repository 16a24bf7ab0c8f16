"""What the settings of the whole mean for one of its parts: limits of endpoints, and numbers of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmlabel.flows.running.runners import at_once
from llmlabel.flows.running.shares import caps_of

from llmlabel.config import AnnotatePartsConfig
from llmlabel.errors import ConfigError
from llmlabel.parts import Part

EVENLY = ("rpm", "tpm")
BY_ROWS = ("label_with_llm", "order_sample")


class Limits:
    """Each part's share of what the settings say of the whole.

    Requests in flight and per minute are shared by the parts that run at once; `label_with_llm` and `order_sample` by rows.

    Args:
        limits: slots of Prefect's global limits for the endpoints in use, by name.
    Raises: ConfigError where there is something to share on a cluster, and it is not said by how many.
    """

    def __init__(self, config: AnnotatePartsConfig, parts: Sequence[Part], limits: Mapping[str, int]) -> None:
        self._evenly = _evenly(config, len(parts), limits)
        self._by_rows: dict[str, dict[str, int]] = {part.name: {} for part in parts}
        for name in BY_ROWS:
            if (most := getattr(config, name)) is not None:
                for part, share in zip(parts, shared(most, [part.rows or part.size for part in parts]), strict=True):
                    self._by_rows[part.name][name] = max(share, 1) if name == "label_with_llm" else share

    def of(self, part: Part) -> dict[str, Any]:
        """Settings of a part's run."""
        return {**self._evenly, **self._by_rows[part.name]}


def _evenly(config: AnnotatePartsConfig, parts: int, limits: Mapping[str, int]) -> dict[str, Any]:
    slots = [n for n in (config.concurrency, *limits.values()) if n is not None]
    rates = {name: value for name in EVENLY if (value := getattr(config, name)) is not None}
    if config.address and not config.workers and (slots or rates or caps_of(config)):
        said = ", ".join([*["concurrency"] * bool(config.concurrency), *limits, *rates, *caps_of(config)])
        raise ConfigError(f"{said}: shared by the parts that run at once; say how many with --workers")
    places = at_once(config, parts)
    flight = {"concurrency": max(1, min(slots) // places)} if slots else {}
    return {name: value / places for name, value in rates.items()} | flight


def shared(most: int, sizes: Sequence[int]) -> list[int]:
    """A number in shares as large as these sizes, which add up to it."""
    whole, before, found = sum(sizes) or 1, 0, []
    for size in sizes:
        found.append(most * (before + size) // whole - most * before // whole)
        before += size
    return found
