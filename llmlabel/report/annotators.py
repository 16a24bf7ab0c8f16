"""Who labelled: how good and how dear each annotator is, and how far they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmlabel.report import words
from llmlabel.report.charts import Chart, Scale
from llmlabel.report.curves import frontier
from llmlabel.report.parts import Estimate, estimate, part, parts, sentence, texts, whole

MOST = 40  # annotators in a table
MOST_PAIRED = 12  # annotators in the table of pairs
KINDS = {
    "sequence": "likelihood of whole names",
    "code": "probability of the answer's first token",
    "vote": "share of repeated answers",
    "stated": "what it says of itself",
    "vector": "distance of vectors",
    "student": "a classifier's probability",
}


@dataclass
class Annotator:
    """One line of the table. `cost`: US dollars, `latency`: seconds of one answer."""

    number: str
    name: str
    way: str
    kind: str
    rows: int | None
    answered: float | None
    right: Estimate
    agreement: float | None
    weight: float | None
    constant: bool
    cost: float | None
    cost_per_1000: float | None
    latency: float | None


@dataclass
class Pair:
    """How often two annotators label alike; `shade`: 0 for the pair that does least, 1 for always."""

    agreement: float | None
    kappa: float | None
    shade: float


@dataclass
class Agreement:
    """All annotators beside all others. `rows`: (number, name, a cell for each; None on the diagonal or where unknown)."""

    said: list[str]
    warnings: list[str]
    rows: list[tuple[str, str, list[Pair | None]]]
    hidden: int


@dataclass
class Annotators:
    """All of it. `there`: which columns hold anything."""

    decided: str
    why: list[str]
    rows: list[Annotator]
    there: set[str]
    scale: Scale
    chart: Chart | None
    agreement: Agreement | None


def annotators(metrics: Mapping[str, Any]) -> Annotators | None:
    """None for a run that says nothing of its annotators."""
    rows = [_annotator(str(n), raw) for n, raw in enumerate(parts(metrics, "annotators")[:MOST], 1)]
    agreement = _agreement(part(metrics, "agreement"), [row.name for row in rows])
    if not rows and not agreement:
        return None
    decision = part(metrics, "decision")
    columns = ("rows", "answered", "agreement", "weight", "cost", "cost_per_1000", "latency")
    there = {key for key in columns if any(getattr(row, key) is not None for row in rows)}
    there |= {"right"} if any(row.right.value is not None for row in rows) else set()
    if "cost_per_1000" in there:
        there.discard("cost")
    return Annotators(
        words.field(decision, "method", 60), sentence(decision), rows, there, Scale(1.0, 2), _frontier(rows), agreement
    )


def _annotator(number: str, raw: Mapping[str, Any]) -> Annotator:
    known = words.figures(raw)
    kind = words.field(raw, "kind", 40)
    return Annotator(
        number,
        words.field(raw, "name", 120) or f"annotator {number}",
        words.field(raw, "way", 40),
        KINDS.get(kind, kind),
        whole(raw, "rows"),
        known.get("answered"),
        estimate(raw, "accuracy"),
        known.get("agreement"),
        known.get("weight"),
        raw.get("constant") is True,
        known.get("cost"),
        known.get("cost_per_1000"),
        known.get("latency"),
    )


def _frontier(rows: Sequence[Annotator]) -> Chart | None:
    """Cost, else the time an answer takes, against accuracy, else agreement with the consensus."""
    paid = any(row.cost_per_1000 for row in rows)
    judged = any(row.right.value is not None for row in rows)
    found = []
    for row in rows:
        price = row.cost_per_1000 if paid else row.latency
        quality = row.right if judged else Estimate(row.agreement)
        if price is not None and quality.value is not None:
            found.append((row.number, row.name, price, quality))
    label_x = "US dollars per 1,000 texts" if paid else "seconds per answer"
    label_y = "right" if judged else "agreement with the label chosen"
    title = f"What {'money' if paid else 'time'} buys"
    return frontier(found, title, label_x, label_y, words.money if paid else words.latency)


def _agreement(raw: Mapping[str, Any], names: Sequence[str]) -> Agreement | None:
    pairs = [(words.field(p, "a", 120), words.field(p, "b", 120), words.figures(p)) for p in parts(raw, "pairs")]
    order = list(dict.fromkeys([*names, *(name for a, b, _ in pairs for name in (a, b))]))
    known = {frozenset((a, b)): figures for a, b, figures in pairs if a != b}
    order = [name for name in order if any(name in pair for pair in known)] if known else []
    shown = order[:MOST_PAIRED]
    least = min((f["agreement"] for f in known.values() if "agreement" in f), default=0.0)
    numbers = {name: str(n) for n, name in enumerate(names, 1)}
    table = [(numbers.get(a, ""), a, [_pair(known.get(frozenset((a, b))), least) for b in shown]) for a in shown]
    said, warnings = _said(raw), texts(raw, "warnings", 20, 400)
    return Agreement(said, warnings, table, len(order) - len(shown)) if said or warnings or table else None


def _pair(figures: Mapping[str, float] | None, least: float) -> Pair | None:
    if figures is None:
        return None
    agreement = figures.get("agreement")
    shade = 0.0 if agreement is None or least >= 1 else (agreement - least) / (1 - least)
    return Pair(agreement, figures.get("kappa"), min(max(shade, 0.0), 1.0))


def _said(raw: Mapping[str, Any]) -> list[str]:
    alpha, effective = (words.figure(raw.get(key)) for key in ("alpha", "effective"))
    said = []
    if alpha is not None:
        said.append(f"Krippendorff's alpha is {alpha:.2f}: 1 when all always label alike, 0 when they do so as if by chance.")
    if effective is not None:
        said.append(f"Annotators err together: these are worth about {words.number(round(effective, 1))} that err independently.")
    return said
