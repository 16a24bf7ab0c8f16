"""CROWDLAB: annotators and a classifier of the texts, weighted by how far each agrees with the rest (cleanlab).

Source: Goh, Tkachenko and Mueller 2022, arXiv 2210.06812.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmlabel.annotation.consensus.ballots import Ballots, FloatArray, Training
from llmlabel.errors import DataError


@dataclass(frozen=True)
class Crowd:
    """`weights` (A,) and `machine`: what annotators and classifier count; `agree`: share of answers that are the consensus."""

    weights: FloatArray
    machine: float
    agree: float

    def predict(self, ballots: Ballots) -> FloatArray:
        """(N, L); the classifier's distribution where nobody answered."""
        if ballots.classifier is None:
            raise DataError("the consensus method crowdlab needs the classifier's probabilities also when it is applied")
        total, mass = ballots.classifier * self.machine, np.full(len(ballots), self.machine)
        rest = (1 - self.agree) / (ballots.size - 1)
        for a, weight in enumerate(self.weights):
            said = np.flatnonzero(ballots.votes[:, a] >= 0)
            total[said] += weight * rest
            total[said, ballots.votes[said, a]] += weight * (self.agree - rest)
            mass[said] += weight
        return np.asarray(total / mass[:, None])


def crowdlab(rows: Training, seed: int = 0) -> Crowd:
    """Fitted without gold, as published. Raises: DataError without a classifier, or where no row has two answers."""
    from cleanlab.multiannotator import get_label_quality_multiannotator

    ballots = rows.ballots.take(rows.ballots.answered)
    if ballots.classifier is None:
        raise DataError("the consensus method crowdlab needs a classifier's probabilities: give them, or take another method")
    heard = (ballots.votes >= 0).any(axis=0)
    votes: Any = np.where(ballots.votes >= 0, ballots.votes, np.nan)[:, heard]
    state = np.random.get_state()
    np.random.seed(seed)  # cleanlab breaks ties with the global generator
    try:
        found = get_label_quality_multiannotator(
            votes,
            ballots.classifier,
            return_detailed_quality=False,
            return_annotator_stats=False,
            return_weights=True,
            verbose=False,
        )  # fmt: skip
    except ValueError as error:
        raise DataError(f"crowdlab cannot use these votes: {error}") from error
    finally:
        np.random.set_state(state)
    quality = found["label_quality"]
    agree = float(quality["annotator_agreement"][quality["num_annotations"] != 1].mean())
    weights = np.zeros(ballots.annotators)
    weights[heard] = found["annotator_weight"]
    return Crowd(weights, float(found["model_weight"]), agree)
