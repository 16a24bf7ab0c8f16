"""How annotators were asked: whether the order of labels sways them, and who was asked after whom."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmlabel.report import words
from llmlabel.report.charts import Scale, scale
from llmlabel.report.parts import Estimate, estimate, part, parts, sentence, whole

MOST = 40  # lines of a table


@dataclass
class Swayed:
    """How often one annotator changes its label when labels are shown in another order. `codes`: (code, times as likely)."""

    name: str
    rows: int | None
    rate: Estimate
    codes: list[tuple[str, float]]


@dataclass
class Order:
    rows: list[Swayed]
    scale: Scale


def order_bias(metrics: Mapping[str, Any]) -> Order | None:
    """None when nothing was asked again."""
    rows = []
    for raw in parts(metrics, "order_bias")[:MOST]:
        rate = estimate(raw, "rate")
        name = words.field(raw, "name", 120)
        rows.append(Swayed(name, whole(raw, "rows"), rate, _codes(part(raw, "codes"))))
    return Order(rows, scale([v for row in rows for v in (row.rate.value, row.rate.high)])) if rows else None


def _codes(prior: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The codes that pull most, from nats to how many times as likely as the average code."""
    found = sorted(words.figures(prior).items(), key=lambda pair: -abs(pair[1]))[:4]
    return [(words.clean(code, 40), math.exp(min(max(nats, -20.0), 20.0))) for code, nats in found if abs(nats) >= 0.05]


@dataclass
class Stage:
    """One step of the cascade; `bar`: accepted as a share of all that came in."""

    name: str
    threshold: float | None
    asked: int | None
    accepted: int | None
    bar: float
    cost: float | None


@dataclass
class Cascade:
    """Who was asked in turn. `people`: texts that no annotator was sure of; `saving`: of the cost of asking the last for all."""

    stages: list[Stage]
    people: int | None
    people_bar: float
    saving: Estimate
    why: list[str]


def cascade(metrics: Mapping[str, Any]) -> Cascade | None:
    """None when there was none."""
    raw = part(metrics, "cascade")
    stages = parts(raw, "stages")[:MOST]
    if not stages:
        return None
    people = whole(raw, "people")
    accepted = [whole(stage, "accepted") or 0 for stage in stages]
    everything = max(whole(stages[0], "asked") or 0, sum(accepted) + (people or 0), 1)
    rows = [_stage(stage, n / everything) for stage, n in zip(stages, accepted, strict=True)]
    saving = estimate(raw, "saving", "saving_low", "saving_high")
    return Cascade(rows, people, (people or 0) / everything, saving, sentence(raw))


def _stage(raw: Mapping[str, Any], bar: float) -> Stage:
    threshold, cost = (words.figure(raw.get(key)) for key in ("threshold", "cost"))
    return Stage(words.field(raw, "name", 120), threshold, whole(raw, "asked"), whole(raw, "accepted"), bar, cost)
