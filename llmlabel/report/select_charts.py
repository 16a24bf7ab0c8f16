"""The pictures of a selection: scores of every answer, gaps to the best strategy, and cost against fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmlabel.report import words
from llmlabel.report.charts import LEFT, RIGHT, Axis, Chart, Point, steps
from llmlabel.report.curves import cost_axis, undominated
from llmlabel.report.parts import Estimate
from llmlabel.report.select_read import OWN_NAME, Answers, Measured, between, two
from llmlabel.report.select_table import Row, Strategies
from llmlabel.selection.answers import OWN
from llmlabel.selection.elimination import MARGIN

MOST_DOTS = 120  # of one strategy; more are an even choice of them
GOLDEN = 0.618034  # spreads dots over the height of a row
HEIGHT, EDGE = 40, 6
TOP, BOTTOM = 26.0, 236.0
NAME, LETTER = 22, 6.4  # characters of a name in a chart, and the width of one
SIDES = [  # where a name may stand: pixels from its point
    (9, 4, "start"), (-9, 4, "end"), (0, -10, "middle"), (0, 18, "middle"), (7, -8, "start"), (7, 17, "start"), (-7, -8, "end"),
    (-7, 17, "end"), (0, -24, "middle"), (0, 32, "middle"),
]  # fmt: skip
Box = tuple[float, float, float, float]  # left, top, right, bottom
Place = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """Values across a table cell, in percent of its width."""

    low: float
    high: float
    most: int = 5

    def at(self, value: float) -> float:
        """Values outside stand at the edge."""
        return round(100 * min(max((value - self.low) / (self.high - self.low), 0.0), 1.0), 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        return [(self.at(v), f"{v:g}") for v in steps(self.low, self.high, self.most)]


def line(values: Sequence[float], most: int = 5) -> Line:
    """From a round number below the least of these to one above the largest."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    marks = steps(low, high, most)
    size = marks[1] - marks[0] if len(marks) > 1 else (high - low) / 2
    return Line(math.floor(low / size + 1e-9) * size, math.ceil(high / size - 1e-9) * size, most)


@dataclass
class Spread:
    """The scores of one strategy: quartiles, mean and interval, and a dot for each answer, x in percent and y in pixels."""

    row: Row
    quartiles: tuple[float, float, float]
    mean: Estimate
    dots: list[tuple[float, float]]

    @property
    def says(self) -> str:
        low, middle, high = (two(v) for v in self.quartiles)
        mean = two(self.mean.value) + (f" ({between(self.mean)})" if between(self.mean) else "")
        return f"mean {mean}; half of the answers lie between {low} and {high}, the middle one at {middle}"


@dataclass
class Charts:
    """`spreads`, `gaps`: best strategy first; `own`: the target's own answers; `beyond`: answers that stand at an edge;
    `margin`: pixels (percent) from where to where a gap is a tie, None where there is none."""

    spreads: list[Spread]
    own: Spread | None
    scale: Line
    beyond: int
    gaps: list[Row]
    gap_scale: Line
    margin: tuple[float, float] | None
    cost: Chart | None


def charts(shown: Strategies, given: Answers, how: Measured) -> Charts:
    values = {row.key: sorted(given.values(row.key, how.score).values()) for row in shown.rows}
    values[OWN] = sorted(given.values(OWN, how.score).values())
    every = [v for found in values.values() for v in found]
    ends = [float(v) for v in np.percentile(every, [1, 99])] if every else []
    known = [v for row in shown.rows if values[row.key] for v in _ends(row.mean)]
    scale = line(ends + known)
    spreads = [_spread(row, values[row.key], scale) for row in shown.rows if values[row.key]]
    own = _spread(shown.own, values[OWN], scale) if shown.own and values[OWN] else None
    gaps = [row for row in shown.rows if not row.best and row.gap.value is not None]
    margin = MARGIN if how.nats and gaps else None
    gap_scale = line([0.0, *([-2 * margin, 2 * margin] if margin else []), *(v for row in gaps for v in _ends(row.gap))])
    shade = (gap_scale.at(-margin), gap_scale.at(margin)) if margin else None
    beyond = sum(v < scale.low or v > scale.high for v in every)
    return Charts(spreads, own, scale, beyond, gaps, gap_scale, shade, _cost(shown, how))


def _ends(found: Estimate) -> list[float]:
    return [v for v in (found.low, found.value, found.high) if v is not None]


def _spread(row: Row, values: Sequence[float], scale: Line) -> Spread:
    """`values`: in order."""
    low, middle, high = (float(v) for v in np.percentile(values, [25, 50, 75]))
    mean = row.mean if row.mean.value is not None else Estimate(float(np.mean(values)))
    chosen = np.unique(np.linspace(0, len(values) - 1, min(len(values), MOST_DOTS)).round().astype(int))
    dots = [(scale.at(values[int(i)]), round(EDGE + (HEIGHT - 2 * EDGE) * (n * GOLDEN % 1), 1)) for n, i in enumerate(chosen)]
    return Spread(row, (low, middle, high), mean, dots)


def _cost(shown: Strategies, how: Measured) -> Chart | None:
    """None for fewer than two strategies with a price, or where all are free."""
    known = [(row, row.cost, row.mean.value) for row in shown.rows if row.cost is not None and row.mean.value is not None]
    if len(known) < 2 or not any(cost for _, cost, _ in known):
        return None
    own = shown.own.mean.value if shown.own else None
    around = line([v for row, *_ in known for v in _ends(row.mean)] + ([] if own is None else [own]), 8)
    x, ticks = cost_axis([cost for _, cost, _ in known], words.money)
    y = Axis(around.low, around.high, BOTTOM, TOP)
    points = [_point(row, x.at(cost), y.at(value), y, how) for row, cost, value in known]
    rows = [row for row, *_ in known]
    level = None if own is None else y.at(own)
    names = _names([(p.x, p.y, row.name) for p, row in zip(points, rows, strict=True)], level)
    return Chart(
        "cost",
        "What it costs, and how well it fits",
        "; ".join(p.note for p in points),
        "cost of 1,000 answers",
        how.unit,
        ticks,
        [(y.at(v), f"{v:g}") for v in steps(y.low, y.high, 4)],
        TOP,
        BOTTOM,
        _lines([(p.x, p.y) for p, row in zip(points, rows, strict=True) if row.passed], level, how),
        points,
        words=names if level is None else [*names, (RIGHT - 2, level - 5, "end", OWN_NAME.lower())],
    )


def _lines(places: Sequence[Place], level: float | None, how: Measured) -> list[tuple[str, list[Place]]]:
    """Where the target itself stands, and what joins those that none beats in both."""
    sign = 1.0 if how.higher else -1.0  # `undominated` looks for what is high up
    edge = [(x, sign * y) for x, y in undominated((x, sign * y) for x, y in places)]
    lines = [] if level is None else [("ideal", [(float(LEFT), level), (float(RIGHT), level)])]
    return [*lines, ("edge", edge)] if len(edge) > 1 else lines


def _point(row: Row, x: float, at: float, y: Axis, how: Measured) -> Point:
    low, high = (None if end is None else y.at(end) for end in (row.mean.low, row.mean.high))
    return Point(x, at, f"{row.name}: {words.money(row.cost)}, {two(row.mean.value)} {how.unit}", low, high)


def _names(places: Sequence[tuple[float, float, str]], line_at: float | None) -> list[tuple[float, float, str, str]]:
    """A name beside each point: to the right, left, above or below, where it covers no point, no other name and no line."""
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y, _ in places]
    taken += [] if line_at is None else [(RIGHT - LETTER * 17, line_at - 16, RIGHT, line_at)]
    found = []
    for x, y, name in sorted(places, key=lambda place: place[1]):
        short = words.clean(name, NAME)
        tries = [_box(x + dx, y + dy, anchor, short) for dx, dy, anchor in SIDES]
        at = min(range(len(SIDES)), key=lambda k: (_covered(tries[k], taken), k))
        taken.append(tries[at])
        dx, dy, anchor = SIDES[at]
        found.append((round(x + dx, 1), round(y + dy, 1), anchor, short))
    return found


def _box(x: float, y: float, anchor: str, text: str) -> Box:
    width = LETTER * len(text)
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    return left, y - 10, left + width, y + 3


def _covered(box: Box, taken: Sequence[Box]) -> float:
    """How much of other things a box covers, in pixels, and how much of it lies outside the chart."""
    inside = sum(
        max(0.0, min(box[2], other[2]) - max(box[0], other[0])) * max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
        for other in taken
    )
    return inside + 1000 * (max(0.0, LEFT - box[0]) + max(0.0, box[2] - RIGHT))
