"""Ask annotators in order, each only for what those before it left unsure; gold rows by all of them, to plan by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llmlabel.annotation.calibration import fitting as calibration
from llmlabel.annotation.decide import Decision
from llmlabel.annotation.deferral.cascade import Plan, Stage, plan, route
from llmlabel.annotation.panel import Column, FloatArray, Gold, IntArray, Panel
from llmlabel.events import emit
from llmlabel.records import Example
from llmlabel.runs import Run

Ask = Callable[[int, str, Sequence[Example]], Column]  # number of the annotator, name of the step, rows
TARGET = 0.9  # of the accepted labels that shall be right, where nothing else is asked for


@dataclass(frozen=True)
class Routed:
    """Who decided what: `plan` over gold rows, `stage` by row id (-1: left to people), what each stage was asked, and what its
    questions cost by row."""

    plan: Plan
    confidences: Sequence[Mapping[str, float]]
    asked: Sequence[int]
    costs: Sequence[float]


@dataclass(frozen=True)
class _Gauge:
    """One annotator, calibrated on gold rows: their cross-fitted confidences, and the map for others."""

    column: Column
    sure: FloatArray
    labels: IntArray
    map: calibration.Calibration


def run(
    count: int, ask: Ask, cost: Callable[[Column], float], rows: Sequence[Example], classes: Sequence[str], gold: Gold,
    target: float | None, delta: float, seed: int,
) -> tuple[list[Column], Routed]:  # fmt: skip
    """Answers of all stages, and how rows were routed.

    Args:
        cost: of asking an annotator about one row, in any unit, known once the gold rows are asked.
    """
    known = [e for e in rows if e.id in gold.labels]
    left = [e for e in rows if e.id not in gold.labels]
    ids = [e.id for e in known]
    gauges = [_gauge(ask(n, "gold", known), ids, classes, gold, seed) for n in range(count)]
    costs = _costs([cost(gauge.column) for gauge in gauges])
    planned = _plan(gauges, ids, classes, gold, costs, target or TARGET, delta, seed)
    emit("note", text=f"cascade: {planned.why}")
    columns, confidences, asked = [], [], []
    for n, gauge in enumerate(gauges):
        column = ask(n, "rest", left) if left else Column(gauge.column.name, gauge.column.way, {}, gauge.column.spec)
        sure = _apply(gauge, column, [e.id for e in left], classes)
        told = [*zip(ids, gauge.sure.tolist(), strict=True), *zip((e.id for e in left), sure.tolist(), strict=True)]
        confidences.append(dict(told))
        columns.append(replace(column, rows={**gauge.column.rows, **column.rows}))
        asked.append(len(left))
        decided = route([sure], [planned.thresholds[n]]) >= 0
        left = [e for e, done in zip(left, decided.tolist(), strict=True) if not done]
        emit("note", text=f"cascade: {column.name} decided {int(decided.sum())} of {len(decided)} rows, {len(left)} are left")
    return columns, Routed(planned, confidences, asked, costs)


def _gauge(column: Column, ids: Sequence[str], classes: Sequence[str], gold: Gold, seed: int) -> _Gauge:
    panel = Panel(ids, classes, [column])
    probs, labels = _distribution(panel)
    truth = gold.one(panel)
    calibrated, fitted = calibration.cross_fitted(probs, np.where(labels >= 0, truth, -1), seed=seed)
    return _Gauge(column, np.where(labels >= 0, calibrated.max(axis=1), 0.0), labels, fitted)


def _distribution(panel: Panel) -> tuple[FloatArray, IntArray]:
    """(N, L) of a panel of one; a bare label is a certain one, no answer an even one."""
    labels, told = panel.votes[:, 0], panel.probs[0]
    probs = np.full((len(panel.ids), len(panel.classes)), 1.0 / len(panel.classes))
    there = np.flatnonzero(labels >= 0)
    probs[there] = 0.0
    probs[there, labels[there]] = 1.0
    if told is not None:
        full = there[~np.isnan(told[there]).any(axis=1)]
        probs[full] = told[full]
    return probs, labels


def _apply(gauge: _Gauge, column: Column, ids: Sequence[str], classes: Sequence[str]) -> FloatArray:
    if not ids:
        return np.zeros(0)
    probs, labels = _distribution(Panel(ids, classes, [column]))
    return np.where(labels >= 0, gauge.map.apply(probs).max(axis=1), 0.0)


def _plan(
    gauges: Sequence[_Gauge], ids: Sequence[str], classes: Sequence[str], gold: Gold, costs: Sequence[float], target: float,
    delta: float, seed: int,
) -> Plan:  # fmt: skip
    truth = gold.one(Panel(ids, classes, [gauges[0].column]))
    stages = [Stage(g.column.name, g.sure, g.labels == truth, cost) for g, cost in zip(gauges, costs, strict=True)]
    return plan(stages, alpha=1 - target, delta=delta, seed=seed)


def _costs(given: Sequence[float]) -> list[float]:
    """Unknown costs at the last stage leave nothing to compare by: then each question counts the same."""
    return list(given) if given[-1] > 0 else [1.0] * len(given)


def stages_of(run: Run | None) -> list[dict[str, Any]]:
    """What an earlier run's metrics.json says of its stages; empty where it was no cascade."""
    try:
        return list(((run.metrics if run else {}).get("cascade") or {}).get("stages") or [])
    except FileNotFoundError:
        return []


def settle(made: Decision, routed: Routed) -> None:
    """Put each row's label and confidence to those of the stage that decided it, else of the last one; in place."""
    panel = made.panel
    sure = np.array([[by_row.get(i, np.nan) for i in panel.ids] for by_row in routed.confidences])
    stage = route(np.nan_to_num(sure, nan=-1.0), routed.plan.thresholds)
    last = np.array([max((k for k in range(len(sure)) if panel.votes[n, k] >= 0), default=-1) for n in range(len(panel.ids))])
    who = np.where(stage >= 0, stage, last)
    rows = np.arange(len(panel.ids))
    made.labels = np.where(who >= 0, panel.votes[rows, who], -1)
    made.confidence = np.where(who >= 0, sure[who, rows], np.nan)
    made.accepted = stage >= 0
    made.chosen = np.zeros_like(made.chosen)
    made.chosen[rows[made.labels >= 0], made.labels[made.labels >= 0]] = True
    for n in rows[made.labels >= 0]:
        made.probs[n] = _one_row(panel, n, int(who[n]), float(made.confidence[n]), int(made.labels[n]))
    made.method, made.why, made.weights = "cascade", routed.plan.why, ()
    made.deferral = {"target": 1 - routed.plan.alpha, "delta": routed.plan.delta, "threshold": routed.plan.thresholds[0],
                     "coverage": 1 - routed.plan.people, "errors": routed.plan.errors, "rows": routed.plan.rows,
                     "why": routed.plan.why, "curve": []}  # fmt: skip
    made.cascade = _told(routed, stage)


def _one_row(panel: Panel, n: int, who: int, sure: float, label: int) -> FloatArray:
    """The deciding stage's distribution, with its calibrated confidence on top."""
    told = panel.probs[who]
    probs = np.full(len(panel.classes), 1.0) if told is None or np.isnan(told[n]).any() else told[n].copy()
    probs[label] = 0.0
    rest = probs.sum()
    probs = probs / rest * (1 - sure) if rest > 0 else np.full(len(probs), (1 - sure) / max(len(probs) - 1, 1))
    probs[label] = sure
    return np.asarray(probs)


def _told(routed: Routed, stage: IntArray) -> dict[str, Any]:
    made = routed.plan
    stages = [
        {
            "name": name,
            "threshold": made.thresholds[k],
            "asked": routed.asked[k] + made.rows,
            "accepted": int((stage == k).sum()),
            "cost_each": routed.costs[k],
        }
        for k, name in enumerate(made.stages)
    ]
    low, high = made.saving_interval
    return {
        "stages": stages, "people": int((stage < 0).sum()), "saving": made.saving, "saving_low": low, "saving_high": high,
        "accuracy": made.accuracy, "strong_accuracy": made.strong_accuracy, "gain": made.gain_interval, "why": made.why,
    }  # fmt: skip
