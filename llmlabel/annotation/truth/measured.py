"""What can be said of a run's labels: metrics.json. Every figure about quality comes from gold rows nothing was fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from llmlabel.annotation import multi
from llmlabel.annotation.calibration.fitting import ece
from llmlabel.annotation.consensus.agreement import alpha, cohen_kappa, raw_agreement, table
from llmlabel.annotation.consensus.dependence import effective_number, shared_errors
from llmlabel.annotation.decide import Decision
from llmlabel.annotation.panel import FloatArray, IntArray, Panel
from llmlabel.annotation.truth import alt_test as alternative
from llmlabel.annotation.truth import coverage, shares
from llmlabel.records import NONE_FITS

MOST_PAIRS = 200


def quality(decision: Decision) -> dict[str, Any]:
    """Accuracy with its interval, F1 and calibration error over gold rows; empty without gold."""
    gold, rows = decision.gold, decision.known
    if not len(rows):
        return {}
    right = decision.right[rows]
    told = shares.accuracy(right)
    assert told is not None
    found: dict[str, Any] = {"accuracy": told.value, "accuracy_low": told.low, "accuracy_high": told.high, "rows": told.rows}
    if decision.multi:
        truth = gold[rows] == 1
        found |= multi.scores(decision.chosen[rows], truth)
    else:
        found["macro_f1"] = macro_f1(decision.labels[rows], gold[rows])
    sure = decision.confidence[rows]
    if not np.isnan(sure).all():
        there = ~np.isnan(sure)
        found["ece"] = ece(sure[there], right[there])
    return {name: round(float(v), 6) if name != "rows" else int(v) for name, v in found.items()}


def majority(panel: Panel, decision: Decision) -> dict[str, Any]:
    """The plain majority on the same gold rows; ties go to the class that stands first."""
    rows, size = decision.known, len(panel.classes)
    counts = np.stack([np.bincount(row[row >= 0], minlength=size) for row in panel.votes[rows]])
    labels = np.where(counts.any(axis=1), counts.argmax(axis=1), -1)
    told = shares.accuracy(labels == decision.gold[rows])
    assert told is not None
    figures = {"accuracy": told.value, "accuracy_low": told.low, "accuracy_high": told.high}
    found = {name: round(value, 6) for name, value in figures.items()}
    return found | {"macro_f1": round(macro_f1(labels, decision.gold[rows]), 6), "rows": told.rows}


def macro_f1(labels: IntArray, gold: IntArray) -> float:
    """Mean F1 over the classes that occur in gold; no answer (-1) is wrong."""
    from sklearn.metrics import f1_score

    return float(f1_score(gold, labels, labels=np.unique(gold), average="macro", zero_division=0))


def by_annotator(panel: Panel, decision: Decision, used: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per annotator: who, how it was asked, how often it answered, how often it was right or of the majority's mind.

    Args:
        used: by annotator's name: cost (US dollars), latency (median seconds) and model.
    """
    names, gold = [c.name for c in panel.columns], None if decision.multi else decision.gold
    told = table(panel.votes, len(panel.classes), gold=gold, consensus=decision.labels, names=names)
    found = []
    for a, (column, about) in enumerate(zip(panel.columns, told, strict=True)):
        asked, money = sum(row in column.rows for row in panel.ids), used.get(column.name, {})
        row: dict[str, Any] = {
            "name": column.name, "way": column.way, "kind": column.kind, "rows": asked,
            "answered": float((panel.votes[:, a] >= 0).sum()) / max(asked, 1),
            "accuracy": about.accuracy, "low": about.low, "high": about.high, "agreement": about.with_consensus,
            "weight": decision.weights[a] if a < len(decision.weights) else None, "constant": about.constant,
            **(_same_sets(panel, a, decision) if decision.multi else {}), **money,
        }  # fmt: skip
        if money.get("cost") is not None:
            row["cost_per_1000"] = 1000 * money["cost"] / max(asked, 1)
        found.append({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})
    return found


def _same_sets(panel: Panel, a: int, decision: Decision) -> dict[str, float | None]:
    """Of several labels: how often an annotator names exactly the true ones."""
    answered = decision.known[panel.votes[decision.known, a] >= 0]
    told = shares.accuracy((panel.said[answered, a, :-1] == (decision.gold[answered][:, :-1] == 1)).all(axis=1))
    return {"accuracy": told.value, "low": told.low, "high": told.high} if told else {}


def agreement(panel: Panel, decision: Decision) -> dict[str, Any] | None:
    """How far annotators agree, how many opinions they are worth, and warnings; None for one annotator, or without answers."""
    names, votes, size = [c.name for c in panel.columns], panel.votes, len(panel.classes)
    if len(names) < 2 or (votes < 0).all():
        return None
    gold = None if decision.multi else decision.gold
    same, kappa = raw_agreement(votes, size), cohen_kappa(votes, size)
    pairs = [
        {"a": names[i], "b": names[j], "agreement": round(float(same[i, j]), 4), "kappa": _number(kappa[i, j])}
        for i, j in combinations(range(len(names)), 2) if not np.isnan(same[i, j])
    ]  # fmt: skip
    return {
        "alpha": _number(alpha(votes, size)), "pairs": pairs[:MOST_PAIRS],
        "effective": _number(effective_number(votes, size, gold)),
        "warnings": [found.sentence for found in shared_errors(votes, size, gold, names)],
    }  # fmt: skip


def whole(classes: Sequence[str], predicted: FloatArray, gold: IntArray) -> dict[str, Any] | None:
    """The share of every label in the whole data with its interval; None without gold.

    Args:
        predicted: (N, L) by one and the same labeller on all rows, gold rows unseen by it. gold: (N,), or (N, L).
    """
    known = gold >= 0 if gold.ndim == 1 else (gold >= 0).all(axis=1)
    if not known.any():
        return None
    rows = shares.label_shares(classes, predicted, gold)
    note = f"from {len(gold):,} labelled texts and {int(known.sum()):,} gold rows, which must be a random draw of them (PPI++)"
    return {"note": note, "rows": [{k: _number(v) for k, v in asdict(row).items()} for row in rows]}


def replaceable(panel: Panel, labels: IntArray, people: Mapping[str, Mapping[str, str | None]]) -> dict[str, Any] | None:
    """The alt-test: may the labels stand in for one of the people? None where fewer than two have labelled.

    Args:
        people: by person, row id -> label id, None for none fits.
    """
    if len(people) < 2:
        return None
    votes = np.full((len(panel.ids), len(people)), -1, dtype=np.int64)
    for j, said in enumerate(people.values()):
        votes[:, j] = [panel.place.get(said[i] or NONE_FITS, -1) if i in said else -1 for i in panel.ids]
    found = alternative.alt_test(labels, votes, names=list(people))
    return asdict(found) | {"passed": {"passes": True, "fails": False}.get(found.verdict)}


def missing(labels: Sequence[str | None], groups: Mapping[int, int]) -> dict[str, Any]:
    """What the taxonomy misses: the share that no label fits, and how likely the next text brings something not seen yet.

    Args:
        labels: by text, a label id or None for none fits. groups: place of a text that no label fits -> number of its group;
            without one it stands alone.
    """
    rest = [i for i, label in enumerate(labels) if label is None]
    told = coverage.none_fits(np.array([label is not None for label in labels]))
    open_ended = [label or (f"group {groups[i]}" if i in groups else f"alone {i}") for i, label in enumerate(labels)]
    unseen = coverage.missing_mass(open_ended)
    return {
        "rows": len(labels), "none_fits": len(rest), "share": _number(told.value if told else None),
        "low": _number(told.low if told else None), "high": _number(told.high if told else None),
        "missing_mass": _number(unseen.share), "missing_low": _number(unseen.low), "missing_high": _number(unseen.high),
        "unseen_labels": _number(unseen.unseen_labels),
    }  # fmt: skip


def _number(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return None if not np.isfinite(value) else round(float(value), 6)
    return value
