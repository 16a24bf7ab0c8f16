"""How training went: loss, order, likelihood and distance over its steps, one small chart for each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from llmlabel.records import batched
from llmlabel.report import words
from llmlabel.report.charts import LEFT, RIGHT, Axis, Chart, Point, percents, steps

TOP, BOTTOM = 26.0, 190.0
MOST = 60  # points of a line; more are means of neighbours
CURVES = {  # key in log.jsonl: title, label of the axis, whether lists it learns from are shown beside held-out ones
    "loss": ("Loss", "loss", True),
    "pair_accuracy": ("Pairs in order, by the loss", "pairs", True),
    "best_logp": ("How likely the best answers are", "nats", False),
    "log_ratio": ("How far from the reference", "nats", False),
}
Series = list[tuple[float, float]]
Lines = Sequence[Mapping[str, Any]]


def curves(trainings: Sequence[tuple[str, Lines]], of: str = "lists") -> list[Chart]:
    """Charts of one training, or of several one after the other, each with a name and the lines of its log.

    Steps of later trainings are counted on; between two trainings a line breaks. Charts of fewer than two steps are left out.
    `of`: what they learn from, lists or rows.
    """
    return [chart for key in CURVES if (chart := _curve(key, trainings, of)) is not None]


def _curve(key: str, trainings: Sequence[tuple[str, Lines]], of: str) -> Chart | None:
    title, label, both = CURVES[key]
    learnt, looked, starts, offset = [], [], [], 0.0
    for name, lines in trainings:
        last = max((n for line in lines if (n := words.figure(line.get("step"))) is not None), default=0.0)
        learnt.append(_thin(_series(lines, key, offset)))
        looked.append(_series(lines, f"eval_{key}", offset))
        starts.append((offset, name))
        offset += last
    if any(looked) and not both:
        learnt = [[] for _ in learnt]
    values = [v for series in (*learnt, *looked) for _, v in series]
    if offset < 2 or max((len(s) for s in (*learnt, *looked)), default=0) < 2:
        return None
    x, y = Axis(0, offset, LEFT + 8, RIGHT - 8), _vertical(values, key == "pair_accuracy")
    return Chart(
        f"curve-{key.replace('_', '-')}",
        title + ("" if both or not any(looked) else f", held-out {of}"),
        _in_words(learnt, looked, key, of),
        "step",
        label,
        [(x.at(v), words.number(v)) for v in steps(0, offset, 5) if v == int(v)],
        [(y.at(v), _value(key, v)) for v in steps(y.low, y.high, 4)],
        TOP,
        BOTTOM,
        lines=[*_parts(starts, x), *_drawn("raw", learnt, x, y), *_drawn("main", looked, x, y)],
        points=[Point(x.at(n), y.at(v), f"step {n:.0f}, held-out {of}: {_value(key, v)}") for one in looked for n, v in one],
        words=_names(starts, x),
    )


def _series(lines: Lines, key: str, offset: float) -> Series:
    pairs = [(words.figure(line.get("step")), words.figure(line.get(key))) for line in lines]
    return [(n + offset, v) for n, v in pairs if n is not None and v is not None]


def _thin(series: Series) -> Series:
    """At most `MOST` points: means of as many neighbours as it takes."""
    groups = list(batched(series, max(1, -(-len(series) // MOST))))
    return [(sum(n for n, _ in g) / len(g), sum(v for _, v in g) / len(g)) for g in groups]


def _vertical(values: Sequence[float], share: bool) -> Axis:
    """Shares from 0 to 1; other values from a round number below the least to one above the largest."""
    if share:
        return Axis(0, 1, BOTTOM, TOP)
    low, high = min(values), max(values)
    if high - low < 1e-6 * max(abs(low), abs(high), 0.01):
        low, high = low - max(abs(low) / 10, 0.05), high + max(abs(high) / 10, 0.05)
    marks = steps(low, high, 4)
    size = marks[1] - marks[0] if len(marks) > 1 else high - low
    return Axis(math.floor(low / size) * size, math.ceil(high / size) * size, BOTTOM, TOP)


def _value(key: str, value: float) -> str:
    if key == "pair_accuracy":
        return percents(round(value, 3))
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _drawn(kind: str, series: Sequence[Series], x: Axis, y: Axis) -> list[tuple[str, list[tuple[float, float]]]]:
    return [(kind, [(x.at(n), y.at(v)) for n, v in one]) for one in series if len(one) > 1]


def _parts(starts: Sequence[tuple[float, str]], x: Axis) -> list[tuple[str, list[tuple[float, float]]]]:
    """An upright line where another training begins."""
    return [("chosen", [(x.at(at), TOP), (x.at(at), BOTTOM)]) for at, _ in starts[1:]]


def _names(starts: Sequence[tuple[float, str]], x: Axis) -> list[tuple[float, float, str, str]]:
    return [(x.at(at) + 4, TOP - 9, "start", name) for at, name in starts] if len(starts) > 1 else []


def _in_words(learnt: Sequence[Series], looked: Sequence[Series], key: str, of: str) -> str:
    """From where to where each line goes."""
    said = []
    for what, series in ((f"{of} it learns from", learnt), (f"held-out {of}", looked)):
        ends = [(one[0], one[-1]) for one in series if len(one) > 1]
        said += [f"{what}: {_value(key, a)} at step {n:.0f}, {_value(key, b)} at step {m:.0f}" for (n, a), (m, b) in ends]
    return "; ".join(said)
