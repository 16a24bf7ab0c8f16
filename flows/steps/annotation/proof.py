"""metrics.json of annotate: what was decided, by whom, and what gold says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmlabel.annotation.decide import Decision
from llmlabel.annotation.panel import Column, FloatArray, Gold
from llmlabel.annotation.truth import measured
from llmlabel.llm import Models
from llmlabel.records import NONE_FITS
from llmlabel.review import Correction
from llmlabel.runs import RunFolder
from llmlabel.students.train import Classifier

REVIEW = "nothing is promised without gold; `llmlabel review export RUN` draws rows for people to label"


def spent(column: Column, models: Models, folder: RunFolder) -> dict[str, Any]:
    """Model, US dollars this run paid for an annotator (None: no price known), and its median latency in seconds.

    Requests cut off by a kill, which are only maybe billed, count in the run's cost but not here: what an annotator's answers
    cost does not depend on how often the run was stopped.
    """
    client = models.opened.get(column.spec)
    if client is None:
        return {"model": "", "cost": None, "latency": None}
    lines = [ln for ln in models.ledger.by_step(folder.id) if ln["step"] == column.step and ln["outcome"] != "maybe billed"]
    cost = sum(line["cost"] for line in lines) if client.price.known else None
    return {"model": client.backend.model, "cost": cost, "latency": client.usage.latency(0.5)}


def metrics(
    made: Decision, gold: Gold, used: Mapping[str, Mapping[str, Any]],
    classifier: Classifier | None, people: Mapping[str, Correction], votes: Mapping[str, Mapping[str, str | None]],
    everything: tuple[FloatArray, Sequence[str]] | None,
) -> dict[str, Any]:  # fmt: skip
    """All parts but order bias and gaps.

    Args:
        everything: probabilities by one labeller on all rows with their ids, where the classifier labelled some; else None.
        votes: by person, what they said of rows that were drawn at random.
    """
    panel, scores = made.panel, {"llmlabel": measured.quality(made)}
    if len(panel.columns) > 1 and not made.multi and len(made.known):
        scores["majority"] = measured.majority(panel, made)
    if classifier is not None and classifier.scores:
        scores["student"] = classifier.scores
    changed = sum(i in made.rows and list(c.labels) != made.rows[i].labels for i, c in people.items())
    return {
        "scores": {name: found for name, found in scores.items() if found},
        "decision": {"method": made.method, "why": made.why, "compared": dict(made.scores)},
        "gold": {"rows": len(gold.labels), "off_list": sum(gold.strange.values()),
                 "from_reviews": sum(c.drawn == "random" for c in people.values()), "note": "" if gold.labels else REVIEW},
        "annotators": measured.by_annotator(panel, made, used),
        "agreement": measured.agreement(panel, made),
        "calibration": made.calibrated,
        "deferral": made.deferral,
        "cascade": made.cascade,
        "shares": _whole(made, gold, everything),
        "alt_test": measured.replaceable(panel, made.labels, votes),
        "label_sets": _sets(made),
        "reviews": {"imported": len(people), "changed": changed, "confirmed": len(people) - changed} if people else None,
    }  # fmt: skip


def _whole(made: Decision, gold: Gold, everything: tuple[FloatArray, Sequence[str]] | None) -> dict[str, Any] | None:
    if everything is None:
        there = made.labels >= 0
        predicted = made.chosen.astype(float) if made.multi else np.where(there[:, None], made.probs, 0.0)
        return measured.whole(made.panel.classes, predicted, made.gold)
    predicted, ids = everything
    place = {i: n for n, i in enumerate(ids)}
    truth = np.full(len(ids), -1, dtype=np.int64)
    for i, labels in gold.labels.items():
        if i in place:
            truth[place[i]] = made.panel.place[labels[0] if labels else NONE_FITS]
    return measured.whole(made.panel.classes, predicted, truth)


def _sets(made: Decision) -> dict[str, Any] | None:
    if made.sets is None:
        return None
    fitted, found = made.sets
    rows = made.known
    truth = made.gold[rows][:, :-1] == 1
    inside = fitted.p_value(made.probs[rows][:, :-1], truth) > fitted.epsilon
    return {
        "epsilon": fitted.epsilon, "rows": len(rows), "coverage": round(float(inside.mean()), 4),
        "single": round(float(found.single.mean()), 4), "mean_size": round(float(found.union.sum(axis=1).mean()), 4),
        "capped": int(found.capped.sum()), "why": fitted.why,
    }  # fmt: skip
