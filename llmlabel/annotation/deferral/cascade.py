"""Cheap models first: who decides which row, what it costs, and what is promised about the rows that are decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from llmlabel.annotation.deferral.threshold import GRID, BoolArray, FloatArray, IntArray, at_least, checked, explain, walk
from llmlabel.errors import ConfigError, DataError

SAMPLES = 2000  # bootstrap samples


@dataclass(frozen=True)
class Stage:
    """One model of a cascade, with its answers on the same rows as every other stage.

    confidence: (N,) in [0, 1], comparable across stages (calibrated, or of one kind), from a model not fitted on these rows.
    right: (N,) bool, or None without gold. cost: of one row, in the unit of the other stages; what is paid whenever it is asked.
    """

    name: str
    confidence: ArrayLike
    right: ArrayLike | None
    cost: float


@dataclass(frozen=True)
class Plan:
    """Thresholds of a cascade and what it did on the rows it was planned on.

    thresholds: one per stage; None accepts no row. shares: of rows decided at each stage; people: of rows left over.
    cost, strong_cost: per row, of the cascade and of asking only the last stage. saving: 1 - cost / strong_cost, and its 95%
    bootstrap interval over rows, thresholds fixed. accuracy, strong_accuracy: had every row been decided, those left over by
    the last stage; gain is their difference, with its interval. These are None without gold.
    promised: whether P(error rate among all decided rows > alpha) <= delta; `why` says it in a sentence.
    """

    stages: tuple[str, ...]
    thresholds: tuple[float | None, ...]
    alpha: float
    delta: float
    rows: int
    promised: bool
    why: str
    shares: tuple[float, ...]
    people: float
    cost: float
    strong_cost: float
    saving: float
    saving_interval: tuple[float, float]
    errors: int | None = None
    bound: float | None = None
    accuracy: float | None = None
    strong_accuracy: float | None = None
    gain_interval: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def plan(stages: Sequence[Stage], *, alpha: float, delta: float = 0.1, fewest: int = 30, seed: int = 0) -> Plan:
    """One threshold for all stages, so low as the promise about all decided rows together allows.

    A row is decided by the first stage that reaches the threshold. The walk is that of `deferral.choose_threshold`, over the
    errors of whoever decides, so nothing has to be split between stages: on a list of thresholds fixed in advance the test
    is exact whatever rule decides at each of them. (Splitting delta over stages with a threshold each is valid too, and
    accepted far fewer rows where that was measured.)
    Without gold nothing is promised: the threshold is 1 - alpha, which is as good as the calibration of the confidences.

    Args:
        stages: in the order they are asked. alpha: the error rate allowed among decided rows. delta, fewest: see there.
    Raises: ConfigError for no stages, a cost below 0, or alpha and delta out of range; DataError for arrays that do not fit.
    """
    confidences, wrong = _read(stages, alpha, delta)
    rows = confidences.shape[1]
    threshold, errors, bound = None, None, None
    if wrong is None:
        thresholds: tuple[float | None, ...] = (1 - alpha,) * len(stages)
        why = f"no gold, so nothing is promised: rows are decided at a stated confidence of {1 - alpha:.4g} or more"
    else:
        decided = np.stack([route(confidences, [threshold] * len(stages)) for threshold in GRID])
        failed = _wrong(wrong, decided)
        step = walk((decided >= 0).sum(axis=1), failed.sum(axis=1), alpha=alpha, delta=delta, fewest=fewest)
        threshold, errors, bound = (step.threshold, step.errors, step.bound) if step else (None, 0, 1.0)
        thresholds = (threshold,) * len(stages)
        why = explain(step, alpha, delta, rows, fewest)
    return Plan(
        stages=tuple(stage.name for stage in stages),
        thresholds=thresholds,
        alpha=alpha,
        delta=delta,
        rows=rows,
        promised=threshold is not None,
        why=why,
        errors=errors,
        bound=bound,
        **_books(route(confidences, thresholds), wrong, [stage.cost for stage in stages], seed),
    )


def route(confidences: Sequence[ArrayLike] | FloatArray, thresholds: Sequence[float | None]) -> IntArray:
    """(N,) the stage that decides each row, -1 for people.

    Args:
        confidences: (S, N), or the first few stages only; NaN where a stage was not asked. thresholds: one per stage.
    """
    stage = np.full(len(np.asarray(confidences[0])), -1, dtype=np.int64)
    for k, (confidence, threshold) in enumerate(zip(confidences, thresholds, strict=False)):
        stage[(stage < 0) & at_least(np.asarray(confidence, dtype=np.float64), threshold)] = k
    return stage


def _read(stages: Sequence[Stage], alpha: float, delta: float) -> tuple[FloatArray, BoolArray | None]:
    """(S, N) confidences, and (S, N) wrong answers where there is gold."""
    if not stages or any(stage.cost < 0 for stage in stages) or stages[-1].cost == 0:
        raise ConfigError("a cascade has at least one stage, no cost below 0, and a last stage that costs something")
    golden = [stage.right is not None for stage in stages]
    if any(golden) != all(golden):
        raise DataError("some stages have gold and others none; give `right` for all of them or for none")
    confidences, wrong = [], []
    for stage in stages:
        known = np.zeros(np.shape(stage.confidence)) if stage.right is None else stage.right
        scores, failed = checked(stage.confidence, known, alpha, delta)
        confidences.append(scores)
        wrong.append(failed)
    if len({len(scores) for scores in confidences}) > 1 or not len(confidences[0]):
        raise DataError("every stage needs a confidence for the same rows, and there must be some")
    return np.stack(confidences), np.stack(wrong) if all(golden) else None


def _wrong(wrong: BoolArray, decided: IntArray) -> BoolArray:
    """(..., N) bool: the stage that decides the row is wrong; rows left to people are not."""
    return np.asarray(wrong[decided, np.arange(wrong.shape[1])] & (decided >= 0))


def _books(decided: IntArray, wrong: BoolArray | None, costs: Sequence[float], seed: int) -> dict[str, Any]:
    """Shares, cost and saving of a routing; with gold, accuracy too."""
    total = np.cumsum(costs)[decided]  # -1: every stage was asked
    saved = 1 - total / costs[-1]
    books = {
        "shares": tuple(float((decided == k).mean()) for k in range(len(costs))),
        "people": float((decided < 0).mean()),
        "cost": float(total.mean()),
        "strong_cost": float(costs[-1]),
        "saving": float(saved.mean()),
        "saving_interval": _interval(saved, seed),
    }
    if wrong is None:
        return books
    mixed = np.where(decided >= 0, _wrong(wrong, decided), wrong[-1])
    accuracies = {"accuracy": float(1 - mixed.mean()), "strong_accuracy": float(1 - wrong[-1].mean())}
    return books | accuracies | {"gain_interval": _interval(wrong[-1].astype(np.float64) - mixed, seed)}


def _interval(values: FloatArray, seed: int) -> tuple[float, float]:
    """95% percentile bootstrap interval of a mean; few values are distinct, so their counts are drawn."""
    distinct, counts = np.unique(values, return_counts=True)
    means = np.random.default_rng(seed).multinomial(len(values), counts / len(values), SAMPLES) @ distinct / len(values)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
