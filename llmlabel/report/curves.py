"""Three charts: is the confidence right, what does holding back the unsure ones buy, and which annotator for the money."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from llmlabel.report import words
from llmlabel.report.charts import LEFT, RIGHT, Axis, Bar, Chart, Point, decades, percents, round_share, steps
from llmlabel.report.parts import Estimate

BAND = 36.0  # height of the bars that show how many texts a bin holds
MOST_POINTS = 200  # of a curve; more are not seen
FREE = 1e-9  # costs below are none
WIDE = 20  # a log axis where the largest value is so many times the smallest


def reliability(bins: Sequence[Mapping[str, float]]) -> Chart | None:
    """Confidence against the share that is right, with intervals; above it, how many texts each point stands for.

    Args:
        bins: low, high, rows, confidence, accuracy and low95, high95, as far as they are known.
    """
    known = [b for b in bins if {"confidence", "accuracy"} <= b.keys() and b.get("rows", 1) > 0]
    if not known:
        return None
    top, bottom = BAND + 22, BAND + 232
    x, y = Axis(0, 1, LEFT, RIGHT), Axis(0, 1, bottom, top)
    points = [
        Point(
            x.at(b["confidence"]),
            y.at(b["accuracy"]),
            _of_bin(b),
            y.at(b["low95"]) if "low95" in b else None,
            y.at(b["high95"]) if "high95" in b else None,
        )
        for b in known
    ]
    ticks = steps(0, 1, 5)
    return Chart(
        "reliability",
        "When it is so sure, how often is it right?",
        "; ".join(_of_bin(b) for b in known),
        "confidence",
        "right",
        [(x.at(v), percents(v)) for v in ticks],
        [(y.at(v), percents(v)) for v in ticks],
        top,
        bottom,
        lines=[("ideal", [(LEFT, bottom), (RIGHT, top)]), ("main", [(p.x, p.y) for p in points])],
        points=points,
        bars=_sizes(known, x, top - 6),
    )


def _of_bin(b: Mapping[str, float]) -> str:
    rows = f" ({words.count(int(b['rows']), 'text')})" if "rows" in b else ""
    right = Estimate(b["accuracy"], b.get("low95"), b.get("high95")).text
    return f"confidence {words.percent(b['confidence'])}: {right} right{rows}"


def _sizes(bins: Sequence[Mapping[str, float]], x: Axis, bottom: float) -> list[Bar]:
    sized = [b for b in bins if {"low", "high", "rows"} <= b.keys()]
    most = max((b["rows"] for b in sized), default=1)
    bars = []
    for b in sized:
        height = round(BAND * b["rows"] / most, 1)
        left, width = x.at(b["low"]), round(max(x.at(b["high"]) - x.at(b["low"]) - 1, 1.5), 1)
        name = words.number(b["rows"]) if width >= 7 * len(words.number(b["rows"])) else ""
        bars.append(Bar(left, round(bottom - height, 1), width, height, _of_bin(b), name))
    return bars


def risk(curve: Sequence[tuple[float, float]], coverage: float | None, target: float | None) -> Chart | None:
    """How many labels are wrong when only the surest share of texts is labelled; the chosen share is marked.

    Args:
        curve: (share of texts labelled, share of them wrong). target: the share of right labels that was asked for.
    """
    if len(curve) < 2:
        return None
    curve = sorted(curve)[:: -(-len(curve) // MOST_POINTS)]
    allowed = None if target is None else 1 - target
    most = round_share(max([error for _, error in curve] + [1.5 * (allowed or 0), 0.02]))
    x, y = Axis(0, 1, LEFT, RIGHT), Axis(0, most, 232, 20)
    lines = [("main", [(x.at(c), y.at(e)) for c, e in curve])]
    notes: list[tuple[float, float, str, str]] = []
    points: list[Point] = []
    says = f"With all texts labelled {words.percent(curve[-1][1])} are wrong."
    if allowed is not None:
        lines.insert(0, ("ideal", [(LEFT, y.at(allowed)), (RIGHT, y.at(allowed))]))
        notes.append((LEFT + 6, y.at(allowed) - 6, "start", f"allowed: {words.percent(allowed)} wrong"))
    if coverage is not None:
        error = _between(curve, coverage)
        here = f"chosen: {words.percent(coverage)} of the texts, {words.percent(error)} wrong"
        lines.insert(0, ("chosen", [(x.at(coverage), 232), (x.at(coverage), 20)]))
        points.append(Point(x.at(coverage), y.at(error), here))
        side = "end" if coverage > 0.5 else "start"
        notes.append((x.at(coverage) + (-7 if side == "end" else 7), 32, side, here))
        says = f"{here}. {says}".capitalize()
    return Chart(
        "risk",
        "What leaving out the unsure ones buys",
        says,
        "share of the texts that are labelled, surest first",
        "wrong",
        [(x.at(v), percents(v)) for v in steps(0, 1, 5)],
        [(y.at(v), percents(v)) for v in steps(0, most, 4)],
        20,
        232,
        lines,
        points,
        words=notes,
    )


def _between(curve: Sequence[tuple[float, float]], coverage: float) -> float:
    """The error at a share of the texts, on a straight line between the two nearest points."""
    before = [point for point in curve if point[0] <= coverage] or [curve[0]]
    after = [point for point in curve if point[0] >= coverage] or [curve[-1]]
    (c0, e0), (c1, e1) = before[-1], after[0]
    return e0 if c1 <= c0 else e0 + (e1 - e0) * (coverage - c0) / (c1 - c0)


def frontier(
    found: Sequence[tuple[str, str, float, Estimate]], title: str, label_x: str, label_y: str, said: Callable[[float], str]
) -> Chart | None:
    """What each annotator costs, in money or time, against how good it is; a line joins those that none beats in both.

    Args:
        found: (number, name, cost, quality) of each, values known. said: a cost in words.
    Returns: None for fewer than two.
    """
    if len(found) < 2:
        return None
    costs, shares = [cost for _, _, cost, _ in found], [v for *_, e in found for v in (e.value, e.low, e.high) if v is not None]
    x, ticks = cost_axis(costs, said)
    floor = max(0.0, min(0.9, int(min(shares) * 10 - 0.25) / 10))
    y = Axis(floor, 1, 232, 20)
    points = [
        Point(x.at(cost), y.at(e.value or 0), f"{number} {name}: {said(cost)}, {e.text}", *_ends(e, y), name=number)
        for number, name, cost, e in found
    ]
    edge = undominated((x.at(cost), y.at(e.value or 0)) for _, _, cost, e in found)
    return Chart(
        "frontier",
        title,
        "; ".join(p.note for p in points),
        label_x,
        label_y,
        ticks,
        [(y.at(v), percents(v)) for v in steps(floor, 1, 5)],
        20,
        232,
        [("edge", edge)] if len(edge) > 1 else [],
        points,
    )


def _ends(e: Estimate, y: Axis) -> tuple[float | None, float | None]:
    return (None, None) if e.low is None or e.high is None else (y.at(e.low), y.at(e.high))


def cost_axis(costs: Sequence[float], said: Callable[[float], str]) -> tuple[Axis, list[tuple[float, str]]]:
    """An axis from 0, or a log axis where costs differ much; on that one what is free stands at the left edge."""
    paid, most = [c for c in costs if c > FREE], max(*costs, FREE)
    if not paid or most / min(paid) < WIDE:
        x = Axis(0, most * 1.15, LEFT + 10, RIGHT - 20)
        return x, [(x.at(v), said(v)) for v in steps(0, most * 1.15, 4)]
    free = len(paid) < len(costs)
    x = Axis(min(paid) / (2 if free else 1.3), most * 1.5, LEFT + 10, RIGHT - 20, log=True)
    ticks = [(x.at(v), said(v)) for v in decades(min(paid) / 1.1, x.high)]
    return x, [(x.start, said(0))] * free + ticks


def undominated(places: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of pixels (cost, quality), those with no other at most as dear and at least as good, cheapest first."""
    edge: list[tuple[float, float]] = []
    for place in sorted(places):
        if not edge or place[1] < edge[-1][1]:
            edge.append(place)
    return edge
