"""Five questions about the rows that came since, one verdict in plain words, and what to do.

The verdict errs seldom: the five p-values are adjusted together (Holm), so that without drift at most `alarms` of the rounds say
`act`, and three times as many `watch` or more. What is certain but small is to be watched only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmlabel import stats
from llmlabel.annotation.drift import labels, texts
from llmlabel.annotation.drift.sample import NONE, Side, drawn, split
from llmlabel.annotation.drift.words import reason, todo

Encode = Callable[[list[str]], NDArray[np.floating]]
Verdict = Literal["steady", "watch", "act"]
ALARMS = 0.05  # rounds without drift that say `act`, at most
WATCH = 3  # times as many may say `watch` or `act`
FEWEST = 30  # new rows, or reference rows, below which nothing is said
LOOKED = 6000  # rows of the reference, at most, whose texts are compared
MOST_NEW = 3000
SHOWN = 10  # farthest new rows that are named
ENOUGH = {"labels": 0.02, "none_fits": 0.02, "texts": 0.02, "student": 0.04, "confidence": 0.04}  # differences that matter
APART = 0.6  # AUC from which on texts differ in a way that matters


@dataclass
class Drift:
    """`why`: sentences; `todo`: by question. `found`: what was compared, with `p` by question. `rows`: ids to look at, the
    strangest first."""

    verdict: Verdict
    why: list[str]
    todo: dict[str, str]
    found: dict[str, Any]
    rows: list[str]


def check(
    classes: Sequence[str], reference: Side, new: Side, encode: Encode, *, names: Mapping[str, str] | None = None,
    alarms: float = ALARMS, seed: int = 0,
) -> Drift:  # fmt: skip
    """Compare the rows that came since with the reference's.

    Args:
        classes: label ids by class; class 0 is `-`, none fits. names: what labels are called in sentences.
        encode: texts -> (N, D) rows of unit length; called once, with the texts of both sides that are looked at.
        alarms: the share of rounds without drift that may say `act`.
    """
    found: dict[str, Any] = {
        "rows_before": len(reference),
        "rows_now": len(new),
        "enough": min(len(reference), len(new)) >= FEWEST,
    }
    if not found["enough"]:
        few = f"{len(new):,} new rows and {len(reference):,} of the reference: too few to compare, {FEWEST} of each are needed"
        return Drift("steady", [few], {}, found, [])
    pool, held = split(drawn(reference, LOOKED, seed), seed)
    some = drawn(new, MOST_NEW, seed)
    vectors = encode([*pool.texts, *held.texts, *some.texts])
    a, b, c = np.split(vectors, [len(pool), len(pool) + len(held)])
    found["texts"], distance = texts.far(a, b, c)
    found["apart"] = texts.told_apart(np.vstack([a, b]), c, seed)
    said = texts.predicted(a, np.where(pool.asked, pool.labels, -1), b, c)
    found["student"] = texts.disagreement((held, some), said) if said else {}
    by_classifier = bool(said) and not (reference.asked.all() and new.asked.all())
    before, now = said if by_classifier else (reference.labels, new.labels)
    found["labels"] = labels.changes(classes, before, now)
    found["by"] = "what one classifier says of both" if by_classifier else "the labels themselves"
    found["none_fits"] = labels.grown(*(side.labels[side.asked & (side.labels >= 0)] == NONE for side in (reference, new)))
    found["confidence"] = _confidence(reference, new)
    found["p"] = _adjusted(found)
    far = [i for i in np.argsort(-distance, kind="stable")[:SHOWN] if distance[i] > found["texts"]["edge"]]
    return _judged(found, names or {}, alarms, [some.ids[i] for i in far])


def _judged(found: dict[str, Any], names: Mapping[str, str], alarms: float, rows: list[str]) -> Drift:
    p = found["p"]
    acting = [name for name in p if p[name] <= alarms and _matters(name, found)]
    watching = [name for name in p if name not in acting and p[name] <= WATCH * alarms]
    verdict: Verdict = "act" if acting else "watch" if watching else "steady"
    found |= {"acting": acting, "watching": watching}
    why = [reason(name, found, names, p[name] <= alarms) for name in [*acting, *watching]]
    steady = f"{found['rows_now']:,} new rows look like the {found['rows_before']:,} of the reference"
    return Drift(verdict, why or [steady], todo(acting, watching), found, rows)


def _confidence(reference: Side, new: Side) -> dict[str, Any]:
    """Rows marked low_confidence, or, where none is, rows less sure than most of the reference's."""
    if reference.unsure.any() or new.unsure.any():
        return {**labels.grown(reference.unsure, new.unsure), "marked": True}
    return labels.less_sure(reference.confidence, new.confidence)


def _adjusted(found: dict[str, Any]) -> dict[str, float]:
    by_label = [row["p"] for row in found["labels"] if row["p"] is not None]
    raw = {"labels": min(by_label, default=1.0), "none_fits": found["none_fits"].get("p", 1.0)}
    raw["texts"] = min(1.0, 2 * min(found["texts"]["p"], found["apart"].get("p", 1.0)))
    raw |= {name: found[name].get("p", 1.0) for name in ("student", "confidence")}
    return dict(zip(raw, stats.holm(list(raw.values())).tolist(), strict=True))


def _matters(name: str, found: dict[str, Any]) -> bool:
    if name == "labels":
        return any(abs(row["difference"]) >= ENOUGH[name] for row in found["labels"] if row["p"] is not None and row["p"] <= 0.05)
    if name == "texts" and found["apart"].get("auc", 0.5) >= APART:
        return True
    return bool(found[name].get("difference", 0.0) >= ENOUGH[name])
