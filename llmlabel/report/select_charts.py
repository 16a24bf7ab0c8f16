"""The pictures of a selection: scores of every answer, gaps to the best strategy, and cost against fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmlabel.report import words
from llmlabel.report.charts import LEFT, RIGHT, Axis, Chart, Point, steps
from llmlabel.report.curves import best, costs
from llmlabel.report.parts import Estimate
from llmlabel.report.select_read import MARGIN, OWN, Answers, Measured, between, two
from llmlabel.report.select_table import Row, Strategies

MOST_DOTS = 120  # of one strategy; more are an even choice of them
GOLDEN = 0.618034  # spreads dots over the height of a row
HEIGHT, EDGE = 40, 6
TOP, BOTTOM = 26.0, 236.0
NAME, LETTER = 26, 6.6  # characters of a name in a chart, and the width of one


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
    """The scores of one strategy: quartiles, the mean with its interval, and a dot (x in percent, y in pixels) for each answer."""

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
    known = [(row, row.cost, row.mean) for row in shown.rows if row.cost is not None and row.mean.value is not None]
    if len(known) < 2 or not any(cost for _, cost, _ in known):
        return None
    own = shown.own.mean.value if shown.own else None
    ends = [v for *_, mean in known for v in _ends(mean)] + ([own] if own is not None else [])
    around = line(ends, 4)
    x, ticks = costs([cost for _, cost, _ in known], words.money)
    y = Axis(around.low, around.high, BOTTOM, TOP)
    points = [_point(row, cost, mean, x, y, how) for row, cost, mean in known]
    sign = 1 if how.higher else -1  # `best` looks for what is high up
    edge = best((p.x, sign * p.y) for p, (row, *_) in zip(points, known, strict=True) if row.passed)
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
        [("ideal", [(LEFT, y.at(own)), (RIGHT, y.at(own))])] * (own is not None)
        + [("edge", [(px, sign * py) for px, py in edge])] * (len(edge) > 1),
        points,
        words=[*_names([(p.x, p.y, row.name) for p, (row, *_) in zip(points, known, strict=True)])]
        + ([(RIGHT - 2, y.at(own) - 5, "end", "the target itself")] if own is not None else []),
    )


def _point(row: Row, cost: float, mean: Estimate, x: Axis, y: Axis, how: Measured) -> Point:
    low, high = (None, None) if mean.low is None or mean.high is None else (y.at(mean.low), y.at(mean.high))
    note = f"{row.name}: {words.money(cost)}, {two(mean.value)} {how.unit}"
    return Point(x.at(cost), y.at(mean.value or 0.0), note, low, high)


def _names(places: Sequence[tuple[float, float, str]]) -> list[tuple[float, float, str, str]]:
    """A name beside each point, on the side where there is room, pushed down where it would cover one above it."""
    found: list[tuple[float, float, str, str]] = []
    taken: list[tuple[float, float, float]] = []
    for x, y, name in sorted(places, key=lambda place: place[1]):
        short = words.clean(name, NAME)
        width = LETTER * len(short)
        left = x + 9 if x + 9 + width <= RIGHT else x - 9 - width
        at = y + 4
        while any(abs(at - other) < 13 and left < end and start < left + width for start, end, other in taken):
            at += 4
        taken.append((left, left + width, at))
        found.append((round(x + 9 if left > x else x - 9, 1), round(at, 1), "start" if left > x else "end", short))
    return found
