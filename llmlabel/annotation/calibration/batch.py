"""From log-probabilities to label distributions one can compare across texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from llmlabel.records import Annotation

FloatArray = NDArray[np.floating]


def batch_calibrate(logps: FloatArray, strength: float = 1.0) -> FloatArray:
    """Take out what a model thinks of a label whatever the text: subtract each label's mean over the batch.

    Args:
        logps: (N, L) natural log-probabilities. strength: 0 leaves them as they are, 1 subtracts the whole mean.
    Returns: (N, L) log-probabilities, rows normalised.
    Source: after Zhou et al. 2023, Batch Calibration (arXiv 2309.17249), with the mean taken over log-probabilities.
    """
    shifted = logps - strength * logps.mean(axis=0, keepdims=True) if len(logps) > 1 else logps
    return log_normalise(shifted)


def log_normalise(logps: FloatArray) -> FloatArray:
    """Rows so that their exponentials sum to 1."""
    top = logps.max(axis=1, keepdims=True)
    return np.asarray(logps - top - np.log(np.exp(logps - top).sum(axis=1, keepdims=True)))


def pool(logps: FloatArray, evidence: FloatArray, weight: float) -> FloatArray:
    """Log-linear pool of two distributions over the same labels: (1 - weight) * logps + weight * evidence, normalised."""
    return log_normalise((1 - weight) * logps + weight * evidence)


def matrix(distributions: Sequence[Mapping[str, float]], labels: Sequence[str]) -> FloatArray:
    """Log-probabilities by label id as an (N, L) array; a label that was not among the alternatives the endpoint
    returned gets one nat less than the least likely of those that were."""
    rows = np.full((len(distributions), len(labels)), np.nan)
    for i, distribution in enumerate(distributions):
        for k, label in enumerate(labels):
            rows[i, k] = distribution.get(label, np.nan)
        lowest = np.nanmin(rows[i]) if np.isfinite(rows[i]).any() else 0.0
        rows[i, ~np.isfinite(rows[i])] = lowest - 1.0
    return log_normalise(rows)


def unseen_mass(rows: Sequence[Annotation]) -> float | None:
    """How much of the first token's probability, 0 to 1, stood on no label's code: the mean over raw answers of kind `code`.

    It is on other words, or on codes beyond the alternatives the endpoint returned; what those labels have is a guess in
    `matrix`, and at most this. None where there are no such answers. To be asked before `settle`, which normalises.
    """
    seen = [float(np.exp(list(row.probs.values())).sum()) for row in rows if row.probs_kind == "code" and row.probs]
    return round(max(0.0, 1.0 - float(np.mean(seen))), 6) if seen else None
