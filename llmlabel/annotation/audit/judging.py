"""Judges beside the classifier: one mixture of what all of them find likely.

Source: the ensemble of arXiv 2410.18889 takes the plain mean over judges; here weights are learned on a random sample of rows, so
that a judge who knows nothing of these labels does no harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from llmlabel.annotation.audit.noise import BoolArray, FloatArray, IntArray, safe
from llmlabel.records import NONE_FITS, Annotation, Status

ROUNDS = 200  # of expectation maximisation; two or three weights settle long before


def judge_probs(
    answers: Mapping[str, Annotation], ids: Sequence[str], classes: Sequence[str], given: IntArray, sample: BoolArray
) -> FloatArray:
    """(n, K) what a judge finds likely, NaN rows where it was not asked or gave no usable answer.

    Where it named a label without probabilities, that has the share of the sample in which the judge agrees with the given label.

    Args:
        given: (n,) class index. sample: (n,) rows drawn at random.
    """
    place = {label: k for k, label in enumerate(classes)}
    known = [answers.get(i) for i in ids]
    usable = [row if row is not None and not row.status.failed else None for row in known]
    votes = np.array([-1 if row is None else place.get(row.label or NONE_FITS, -1) for row in usable])
    looked = sample & (votes >= 0)
    agree = (float((votes[looked] == given[looked]).sum()) + 1) / (float(looked.sum()) + 2)
    found = np.full((len(ids), len(classes)), np.nan)
    for n, row in enumerate(usable):
        if row is None:
            continue
        if row.probs:
            found[n] = [row.probs.get(label, 0.0) for label in classes]
            if NONE_FITS in place:
                found[n, place[NONE_FITS]] = max(0.0, 1.0 - sum(p for k, p in row.probs.items() if k != NONE_FITS))
        elif votes[n] >= 0:
            found[n] = (1 - agree) / max(len(classes) - 1, 1)
            found[n, votes[n]] = agree
        elif row.status is Status.NONE_FITS:
            found[n] = 0.0
    return found


def tempered(probs: FloatArray, given: IntArray, sample: BoolArray) -> FloatArray:
    """The distributions to the power under which the given labels of the sample are likeliest, neither too sure nor too little.

    Args:
        probs: (n, K), NaN rows where there is no answer. sample: (n,) rows drawn at random.
    """
    from scipy.optimize import minimize_scalar

    rows = np.flatnonzero(sample & ~np.isnan(probs).any(axis=1))
    if not len(rows):
        return probs
    logps, label = np.log(safe(np.nan_to_num(probs))), given[rows]

    def powered(power: float) -> FloatArray:
        raised = np.exp(power * logps)
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))

    def loss(power: float) -> float:
        return -float(np.log(safe(powered(power)[rows])[np.arange(len(rows)), label]).mean())

    best = minimize_scalar(loss, bounds=(0.1, 10.0), method="bounded").x
    return np.where(np.isnan(probs), np.nan, powered(float(best)))


def pooled(probs: FloatArray, judges: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
    """(n, K) the mixture of the classifier's probabilities with those judges who gave an answer.

    A judge's mass on labels outside of the K, or on none, counts for none of them.
    """
    mixed = weights[0] * probs
    for weight, judge in zip(weights[1:], judges, strict=True):
        mixed = mixed + weight * np.nan_to_num(judge)
    return safe(mixed / mixed.sum(axis=1, keepdims=True))


def mixture_weights(members: Sequence[FloatArray], given: IntArray) -> FloatArray:
    """(M,) weights of a mixture of M distributions under which the given labels are likeliest.

    A member that says nothing about the labels gets next to no weight; two that say the same share theirs.

    Args:
        members: M times (n, L), for the same randomly drawn rows. given: (n,), most of them right.
    """
    said = np.stack([safe(m)[np.arange(len(given)), given] for m in members])
    weights = np.full(len(members), 1.0 / len(members))
    for _ in range(ROUNDS if len(given) else 0):
        shares = weights[:, None] * said
        weights = (shares / shares.sum(axis=0)).mean(axis=1)
    return weights
