"""Parts of metrics.json, read with care: any of them may be missing, null, or not what is expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmlabel.report import words


def part(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object inside a JSON object; empty when it is not there."""
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def parts(raw: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects of a list inside a JSON object."""
    value = raw.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(raw: Mapping[str, Any], key: str, most: int, length: int = 300) -> list[str]:
    """The first `most` entries of a list of texts, cleaned."""
    value = raw.get(key)
    return [words.clean(item, length) for item in value[:most] if item] if isinstance(value, list) else []


def whole(raw: Mapping[str, Any], key: str) -> int | None:
    """A count."""
    value = words.figure(raw.get(key))
    return None if value is None else round(value)


def sentence(raw: Mapping[str, Any], key: str = "why") -> list[str]:
    """What the run noted, as one sentence in a list; an empty list when it noted nothing."""
    said = words.field(raw, key, 600).rstrip(".")
    return [f"{said[:1].upper()}{said[1:]}."] if said else []


@dataclass(frozen=True)
class Estimate:
    """A share with its 95% interval; any of them may be unknown."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> str:
        """`70% to 84%`, or "" without an interval."""
        return "" if self.low is None or self.high is None else f"{words.percent(self.low)} to {words.percent(self.high)}"

    @property
    def text(self) -> str:
        """`78% (70% to 84%)`."""
        return words.percent(self.value) + (f" ({self.interval})" if self.interval else "")


def estimate(raw: Mapping[str, Any], value: str, low: str = "low", high: str = "high") -> Estimate:
    """An estimate out of three entries of a JSON object."""
    return Estimate(*(words.figure(raw.get(key)) for key in (value, low, high)))
