"""The geometry of the charts: numbers in, SVG coordinates out. The templates draw them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from llmlabel.report.words import clean

WIDTH, HEIGHT, EDGE = 1000, 640, 26
COLOURS, SHAPES = 8, 4
MOST_NAMES, FONT = 40, 15


@dataclass(frozen=True)
class Mark:
    """How a label looks: one of 8 colours that colour-blind people tell apart, times 4 shapes."""

    colour: int = -1
    shape: int = 0


@dataclass
class Dot:
    """One text on the map. `ring`: marked, as an annotated node of a graph."""

    x: float
    y: float
    text: str
    ring: bool = False


@dataclass
class Cloud:
    """The texts of one label on the map; (x, y) is their median, (name_x, name_y) where the name stands."""

    label: str
    name: str
    mark: Mark
    dots: list[Dot] = field(default_factory=list)
    number: int = 0
    x: float = 0.0
    y: float = 0.0
    name_x: float = 0.0
    name_y: float = 0.0
    named: bool = True

    @property
    def short(self) -> str:
        return clean(self.name, 30)

    @property
    def moved(self) -> bool:
        return abs(self.name_x - self.x) + abs(self.name_y - self.y) > 22


def scaled(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    """Positions fitted into the picture; the outermost half percent is pulled to the edge."""

    def fit(values: Sequence[float], size: float) -> np.ndarray:
        array = np.asarray(values, dtype=float)
        low, high = np.percentile(array, [0.5, 99.5]) if len(array) else (0.0, 1.0)
        share = np.clip((array - low) / (high - low), -0.01, 1.01) if high > low else np.full(len(array), 0.5)
        return EDGE + share * (size - 2 * EDGE)

    places = zip(fit(xs, WIDTH), HEIGHT - fit(ys, HEIGHT), strict=True)
    return [(round(float(x), 1), round(float(y), 1)) for x, y in places]


def marks(centres: dict[str, tuple[float, float]]) -> dict[str, Mark]:
    """A mark for every label, in the order given; labels that share a colour lie far apart and differ in shape."""
    chosen: dict[str, Mark] = {}
    members: list[list[tuple[float, float]]] = [[] for _ in range(COLOURS)]
    for label, here in centres.items():
        fewest = min(len(m) for m in members)
        free = [c for c in range(COLOURS) if len(members[c]) == fewest]
        colour = max(free, key=lambda c: min((_apart(here, there) for there in members[c]), default=0.0))
        chosen[label] = Mark(colour, len(members[colour]) % SHAPES)
        members[colour].append(here)
    return chosen


def _apart(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2


def medians(points: dict[str, list[tuple[float, float]]]) -> dict[str, tuple[float, float]]:
    """The middle of each label's points; labels without points are left out."""
    middle = {label: np.median(places, axis=0) for label, places in points.items() if places}
    return {label: (float(x), float(y)) for label, (x, y) in middle.items()}


def place_names(clouds: list[Cloud]) -> None:
    """Put each cloud's name at its median and push names apart until none covers another; small clouds go unnamed."""
    for n, cloud in enumerate(clouds):
        cloud.named = n < MOST_NAMES
        cloud.name_x, cloud.name_y = cloud.x, cloud.y
    named = [c for c in clouds if c.named]
    halves = [_text_width(c.short) / 2 + 4 for c in named]
    for _ in range(300):
        if not _push(named, halves):
            return


def _push(clouds: list[Cloud], halves: list[float]) -> bool:
    """One round of pushing; whether any names still overlapped."""
    height, overlapped = FONT + 4, False
    for i, a in enumerate(clouds):
        a.name_x = min(max(a.name_x, halves[i]), WIDTH - halves[i])
        a.name_y = min(max(a.name_y, height), HEIGHT - height / 2)
        for j in range(i + 1, len(clouds)):
            b = clouds[j]
            wide = halves[i] + halves[j] - abs(a.name_x - b.name_x)
            high = height - abs(a.name_y - b.name_y)
            if wide > 0 and high > 0:
                overlapped, step = True, high / 2 + 0.5
                up = step if (a.name_y, i) <= (b.name_y, j) else -step
                a.name_y, b.name_y = a.name_y - up, b.name_y + up
    return overlapped


def _text_width(text: str) -> float:
    return sum(FONT if unicodedata.east_asian_width(c) in "WF" else FONT * 0.58 for c in text)


@dataclass
class Panel:
    """One small line chart. `lines`: per line its points (x, y, what it shows), the line that matters last.

    `ticks_y`: (y, words). `ticks_x`: (x, words). `last`: the last value of the line that matters.
    """

    title: str
    lines: list[list[tuple[float, float, str]]]
    ticks_y: list[tuple[float, str]]
    ticks_x: list[tuple[float, str]]
    last: str

    WIDTH = 340
    HEIGHT = 194
    LEFT, RIGHT, TOP, BOTTOM = 40, 300, 16, 156


def panel(title: str, lines: Sequence[Sequence[tuple[float | None, str]]], top: float, unit: str = "") -> Panel | None:
    """A line chart over the steps, from 0 to `top`.

    Args:
        lines: per line a (value, what to show) for each step; the line that matters last.
    Returns: None when that line has fewer than three values, which need no chart.
    """
    known = [[(n, v, note) for n, (v, note) in enumerate(line) if v is not None] for line in lines]
    if not known or len(known[-1]) < 3:
        return None
    steps = max(len(line) for line in lines)

    def at_x(n: float) -> float:
        return round(Panel.LEFT + (Panel.RIGHT - Panel.LEFT) * n / (steps - 1), 1)

    def at_y(v: float) -> float:
        return round(Panel.BOTTOM - (Panel.BOTTOM - Panel.TOP) * min(v / top, 1.0), 1)

    return Panel(
        title,
        [[(at_x(n), at_y(v), note) for n, v, note in line] for line in known],
        [(at_y(v), f"{v:.0f}{unit}") for v in (0, top / 2, top)],
        [(at_x(n), str(n + 1)) for n in range(0, steps, max(1, -(-steps // 8)))],
        f"{round(known[-1][-1][1])}{unit}",
    )


def round_up(value: float) -> int:
    """An even upper end for an axis that starts at 0."""
    for top in (4, 6, 10, 16, 20, 30, 40, 60, 80, 100, 150, 200, 300, 400, 500):
        if value <= top:
            return top
    return int(value) + int(value) % 2
