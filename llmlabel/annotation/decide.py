"""From the answers of a panel to one label per text, how sure it is, and which of them may stand without a look by people.

Gold rows choose and calibrate, and they measure: each of them is predicted by models that were fitted without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from llmlabel.annotation import multi
from llmlabel.annotation.calibration import fitting as calibration
from llmlabel.annotation.consensus import together as consensus
from llmlabel.annotation.deferral.label_sets import LabelSets, Predicted
from llmlabel.annotation.deferral.threshold import Deferral, choose_threshold, curve
from llmlabel.annotation.panel import BoolArray, FloatArray, Gold, IntArray, Panel
from llmlabel.records import NONE_FITS, Annotation, Status

CURVE = 60  # points of the risk-coverage curve that are kept


@dataclass
class Decision:
    """What was decided of N texts.

    probs: (N, L). labels: (N,) class index, -1 where nobody answered; with several labels the likeliest taken. chosen: (N, L)
    the labels taken. confidence: (N,) of being right, NaN where nothing says. gold: (N,) class index, -1 unknown; (N, L) 1, 0,
    -1 with several labels. accepted: (N,) stands without a look by people.
    """

    panel: Panel
    multi: bool
    probs: FloatArray
    labels: IntArray
    chosen: BoolArray
    confidence: FloatArray
    gold: IntArray
    method: str
    why: str
    weights: Sequence[float] = ()
    scores: Mapping[str, Any] = field(default_factory=dict)
    calibrated: dict[str, Any] | None = None
    deferral: dict[str, Any] | None = None
    sets: tuple[LabelSets, Predicted] | None = None
    cascade: dict[str, Any] | None = None
    accepted: BoolArray = field(default_factory=lambda: np.zeros(0, dtype=bool))

    @cached_property
    def known(self) -> IntArray:
        """Rows with gold."""
        return np.flatnonzero(self.gold >= 0 if self.gold.ndim == 1 else (self.gold >= 0).all(axis=1))

    @cached_property
    def right(self) -> BoolArray:
        """(N,) same label as gold, or exactly the same labels; false where gold is unknown."""
        if not self.multi:
            return np.asarray((self.labels == self.gold) & (self.gold >= 0))
        return np.asarray((self.chosen == (self.gold == 1)).all(axis=1) & (self.gold >= 0).all(axis=1))

    @cached_property
    def rows(self) -> dict[str, Annotation]:
        """The final row of every text that was asked."""
        return {row: self._row(i, row) for i, row in enumerate(self.panel.ids)}

    def _row(self, i: int, row_id: str) -> Annotation:
        said = [column.rows[row_id] for column in self.panel.columns if row_id in column.rows]
        if self.labels[i] < 0:
            return said[0] if said else Annotation(row_id, None, Status.ERROR, reason="nobody labelled it")
        names = [self.panel.classes[k] for k in self._ordered(i) if self.panel.classes[k] != NONE_FITS]
        status = Status.OK if names else Status.NONE_FITS
        if not self.accepted[i] and self.deferral is not None:
            status = Status.LOW_CONFIDENCE
        sure = None if np.isnan(self.confidence[i]) else round(float(self.confidence[i]), 6)
        probs = {c: round(float(p), 6) for c, p in zip(self.panel.classes, self.probs[i], strict=True) if c != NONE_FITS}
        one = said[0] if len(self.panel.columns) == 1 else None
        return Annotation(
            row_id, names[0] if names else None, status, names, sure, probs, one.probs_kind if one else "consensus",
            annotator=self._who(i, one), prompt=one.prompt if one else "", prompt_hash=one.prompt_hash if one else "",
        )  # fmt: skip

    def _ordered(self, i: int) -> list[int]:
        taken = np.flatnonzero(self.chosen[i])
        return [int(k) for k in taken[np.argsort(-self.probs[i, taken], kind="stable")]]

    def _who(self, i: int, one: Annotation | None) -> str:
        if one is not None:
            return one.annotator or self.panel.columns[0].name
        return f"{self.method} of {int((self.panel.votes[i] >= 0).sum())}"


def decide(
    panel: Panel, gold: Gold, *, several: bool, method: str = "auto", target: float | None = None, delta: float = 0.1,
    epsilon: float = 0.1, seed: int = 0,
) -> Decision:  # fmt: skip
    """Bring a panel together, calibrate on gold, and defer where a target asks for it.

    Args:
        several: any number of labels per text. method: of consensus. target: precision the accepted labels shall have, or
            None. delta: chance that this fails. epsilon: chance that the true labels are not among the label sets.
    """
    if (panel.votes < 0).all():
        made = _nobody(panel, gold, several)
    else:
        made = _several(panel, gold, epsilon, seed) if several else _single(panel, gold, method, seed)
    made.accepted = made.labels >= 0
    if target is not None:
        _defer(made, target, delta)
    return made


def _nobody(panel: Panel, gold: Gold, several: bool) -> Decision:
    """No annotator gave a usable answer to any text: every row fails, and may be asked again."""
    shape = (len(panel.ids), len(panel.classes))
    known = gold.many(panel) if several else gold.one(panel)
    nothing, none = np.full(shape[0], np.nan), np.full(shape[0], -1, dtype=np.int64)
    why = "no annotator gave a usable answer to any text"
    return Decision(panel, several, np.zeros(shape), none, np.zeros(shape, dtype=bool), nothing, known, "none", why)


def _single(panel: Panel, gold: Gold, method: str, seed: int) -> Decision:
    known = gold.one(panel)
    fused = consensus.cross_fitted(panel.votes, panel.classes, gold=known, probs=panel.probs, method=method, seed=seed)
    labels = fused.labels
    probs, how = calibration.cross_fitted(fused.probs, known, features=_stated(panel, labels), seed=seed)
    told = fused.answered & (how.kind != "identity" if _bare(panel) else True)
    sure = np.where(told, probs.max(axis=1), np.nan)
    chosen = np.zeros_like(probs, dtype=bool)
    chosen[np.flatnonzero(labels >= 0), labels[labels >= 0]] = True
    scores = {name: {"log_loss": s.log_loss, "accuracy": s.accuracy} for name, s in fused.scores.items()}
    made = Decision(
        panel, False, probs, labels, chosen, sure, known, fused.method, fused.why, fused.weights.tolist(), scores
    )  # fmt: skip
    made.calibrated = _reliability(made, how.kind, how.why, np.where(told, fused.probs.max(axis=1), np.nan))
    return made


def _bare(panel: Panel) -> bool:
    """One annotator that gives a label and nothing else: certainty nobody stated."""
    return len(panel.columns) == 1 and panel.probs[0] is None


def _stated(panel: Panel, labels: IntArray) -> dict[str, FloatArray]:
    """Confidences that came with a bare label, where that label was taken: features of the calibration."""
    found = {}
    for a, column in enumerate(panel.columns):
        if column.kind:
            continue
        sure = [column.rows[row].confidence if row in column.rows else None for row in panel.ids]
        if any(value is not None for value in sure):
            values = np.array([np.nan if v is None else v for v in sure])
            found[f"stated {a}"] = np.where(panel.votes[:, a] == labels, values, np.nan)
    return found


def _reliability(made: Decision, kind: str, why: str, before: FloatArray) -> dict[str, Any]:
    """What the report shows of the calibration, on gold rows."""
    rows = made.known[~np.isnan(made.confidence[made.known])]
    found: dict[str, Any] = {"method": kind, "why": why, "rows": len(rows)}
    if not len(rows):
        return found
    right = made.right[rows]
    return found | {
        "ece_before": round(calibration.ece(before[rows], right), 6),
        "ece": round(calibration.ece(made.confidence[rows], right), 6),
        "bins": calibration.reliability(made.confidence[rows], right),
    }


def _several(panel: Panel, gold: Gold, epsilon: float, seed: int) -> Decision:
    known, real = gold.many(panel), slice(0, len(panel.classes) - 1)
    answered = np.asarray((panel.votes >= 0).any(axis=1))
    fused = multi.fuse(panel.said, panel.marginals, known, seed)
    chosen = fused.chosen & answered[:, None]
    labels = np.where(chosen, fused.probs, -1.0).argmax(axis=1)
    labels[~chosen.any(axis=1)] = len(panel.classes) - 1
    labels[~answered] = -1
    method = "pooled logistic regression" if fused.fitted else "shares"
    nothing = np.full(len(labels), np.nan)
    made = Decision(panel, True, fused.probs, labels, chosen, nothing, known, method, fused.why)
    if fused.fitted:
        rows = made.known
        sets = LabelSets.fit(fused.probs[rows, real], known[rows, real] == 1, epsilon)
        made.sets = (sets, sets.predict(fused.probs[:, real]))
        raw = np.where(chosen, fused.probs, 1 - fused.probs)[:, real].prod(axis=1)  # were labels independent
        sure = multi.confidence(raw, chosen.sum(axis=1), made.right, rows, seed)
        made.confidence = np.where(answered, sure, np.nan)
        made.calibrated = _reliability(made, "logistic", "of all labels being right, from the product of their own", raw)
    return made


def _defer(made: Decision, target: float, delta: float) -> None:
    known = made.known[made.labels[made.known] >= 0]
    sure = np.nan_to_num(made.confidence, nan=0.0)
    found: Deferral = choose_threshold(sure[known], made.right[known], alpha=1 - target, delta=delta)
    made.accepted = found.accepts(sure) & (made.labels >= 0)
    points = curve(sure[known], made.right[known])
    at = np.unique(np.linspace(0, max(len(points.coverage) - 1, 0), CURVE).astype(int))[: len(points.coverage)]
    line = [{"coverage": round(float(points.coverage[i]), 4), "error": round(float(points.error[i]), 4)} for i in at]
    made.deferral = found.to_json() | {"target": target, "coverage": float(made.accepted.mean()), "curve": line}
