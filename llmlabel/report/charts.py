"""Charts with two axes: numbers in, SVG coordinates out. One template draws them all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

WIDTH, LEFT, RIGHT = 420, 46, 404


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` on pixels from `start` to `end`; where `log`, values of 0 stand at `start`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value; values outside stand at the edge."""
        if self.log:
            share = (math.log(value) - math.log(self.low)) / math.log(self.high / self.low) if value > 0 else 0.0
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + (self.end - self.start) * min(max(share, 0.0), 1.0), 1)


@dataclass
class Point:
    """One value. `low`, `high`: pixels of its interval on the y axis; `name`: what stands beside it."""

    x: float
    y: float
    note: str
    low: float | None = None
    high: float | None = None
    name: str = ""


@dataclass
class Bar:
    x: float
    y: float
    width: float
    height: float
    note: str
    name: str = ""


@dataclass
class Chart:
    """One picture. `says`: all of it in words; `lines`: (class, points); `ticks`: (pixel, words)."""

    name: str
    title: str
    says: str
    label_x: str
    label_y: str
    ticks_x: list[tuple[float, str]]
    ticks_y: list[tuple[float, str]]
    top: float
    bottom: float
    lines: list[tuple[str, list[tuple[float, float]]]] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    words: list[tuple[float, float, str, str]] = field(default_factory=list)

    width, left, right = WIDTH, LEFT, RIGHT

    @property
    def height(self) -> float:
        return self.bottom + 40


@dataclass(frozen=True)
class Scale:
    """Shares from 0 to `top` across a table cell, in percent of its width; at most `most` + 1 ticks."""

    top: float
    most: int = 4

    def at(self, share: float) -> float:
        return round(100 * min(max(share / self.top, 0.0), 1.0), 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        return [(self.at(v), percents(v)) for v in steps(0, self.top, self.most)]


def scale(shares: Sequence[float | None]) -> Scale:
    """The scale that holds all of these, none of them more than 1."""
    return Scale(round_share(max((s for s in shares if s is not None), default=1.0)))


def round_share(value: float) -> float:
    """An upper end, at most 1, for an axis of shares that starts at 0."""
    tops = (0.01, 0.02, 0.04, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
    return next((top for top in tops if value <= top), 1.0)


def steps(low: float, high: float, most: int) -> list[float]:
    """At most `most` + 1 round values from `low` to `high`."""
    raw = (high - low) / most
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * f for f in (1, 2, 2.5, 5, 10) if size * f >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def percents(share: float) -> str:
    """A tick of an axis of shares."""
    return f"{100 * share:.3g}%"


def decades(low: float, high: float) -> list[float]:
    """Ticks of a log axis: 1, 2 and 5 times powers of ten, or the powers alone where there would be many."""
    span = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [f * 10.0**e for e in span for f in ((1, 2, 5) if len(span) <= 3 else (1,))]
    return [v for v in every if low * 0.999 <= v <= high * 1.001]
