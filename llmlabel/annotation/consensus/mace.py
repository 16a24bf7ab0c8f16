"""MACE: an annotator knows the label, or answers as it likes whatever the text.

Between one coin and a full confusion matrix: per annotator the share of texts it knows, and the labels it says otherwise.
Source: Hovy et al. 2013, Learning Whom to Trust with MACE, https://aclanthology.org/N13-1132.
"""

from __future__ import annotations

import numpy as np

from llmlabel.annotation.consensus.ballots import FloatArray, Training
from llmlabel.annotation.consensus.dawid_skene import Confused, expectation_maximisation

KNOWS = 0.7  # share of texts an annotator is taken to know at the start
SMOOTHING = 0.5


def mace(rows: Training, seed: int = 0) -> Confused:
    return expectation_maximisation(rows, _Competence(rows.ballots.annotators, rows.ballots.size))


class _Competence:
    """The M-step; it holds what every annotator knew (A,) and said otherwise (A, L) at the step before."""

    def __init__(self, annotators: int, size: int) -> None:
        self.knows = np.full(annotators, KNOWS)
        self.otherwise = np.full((annotators, size), 1 / size)

    def __call__(self, counts: FloatArray) -> FloatArray:
        """(A, L true, L said) expected counts -> probabilities. Of the right answers a part was known, the rest luck."""
        luck = (1 - self.knows)[:, None] * self.otherwise
        known = np.einsum("att->at", counts) * self.knows[:, None] / (self.knows[:, None] + luck)
        seen = counts.sum(axis=(1, 2))
        self.knows = (known.sum(axis=1) + SMOOTHING) / (seen + 2 * SMOOTHING)
        rest = counts.sum(axis=1) - known + SMOOTHING
        self.otherwise = rest / rest.sum(axis=1, keepdims=True)
        return np.asarray(
            self.knows[:, None, None] * np.eye(counts.shape[1]) + ((1 - self.knows)[:, None] * self.otherwise)[:, None, :]
        )
