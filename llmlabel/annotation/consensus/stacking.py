"""Consensus learned from gold rows: multinomial logistic regression over votes, shrunk to the plain shares of votes.

The score of label l is t * log(share of l) + sum over annotators of w[a] * p[a, l] + b[l]: one number per annotator and one
per class, so that twenty gold rows can say something and 151 classes do not need thousands. Penalties draw t to 1 and the rest to
0: without evidence it is the share of votes. After Wolpert 1992, Stacked generalization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmlabel.annotation.consensus.ballots import Ballots, FloatArray, Training, logs, softmax
from llmlabel.annotation.consensus.voting import Pool, majority
from llmlabel.errors import DataError

PENALTY = 3.0  # per squared weight, against nats summed over gold rows: a prior deviation of 0.4
TRUST = 1.0  # per squared deviation of t from 1


@dataclass(frozen=True)
class Stacked:
    """`trust` t, `own` (A,) w, or (A + 1,) with a classifier as the last, `bias` (L,) b; see the module."""

    base: Pool
    trust: float
    own: FloatArray
    bias: FloatArray

    @property
    def weights(self) -> FloatArray:
        """(A,) what a vote counts: its part of the share and its own weight."""
        annotators = len(self.base.weights)
        return np.maximum(self.trust / annotators + self.own[:annotators], 0.0)

    def predict(self, ballots: Ballots) -> FloatArray:
        """(N, L); the prior where nobody answered."""
        scores = self.trust * logs(self.base.predict(ballots)) + self.bias
        for weight, answer in zip(self.own, _answers(ballots), strict=True):
            scores += weight * answer
        probs = softmax(scores)
        if ballots.classifier is None:
            probs[~ballots.answered] = self.base.prior
        return probs


def _answers(ballots: Ballots) -> list[FloatArray]:
    """(N, L) of each annotator, and log-probabilities of the classifier."""
    machine = [] if ballots.classifier is None else [logs(np.maximum(ballots.classifier, 1e-4))]
    return [ballots.of(a) for a in range(ballots.annotators)] + machine


def stacked(rows: Training, seed: int = 0) -> Stacked:
    """Raises: DataError without gold rows."""
    from scipy.optimize import minimize

    known = rows.known
    if not len(known):
        raise DataError("the consensus method stacked learns from gold rows, and there are none: take another")
    base = majority(rows)
    ballots, gold, count = rows.ballots.take(known), rows.gold[known], rows.weight[known]
    shares, answers = logs(base.predict(ballots)), np.stack(_answers(ballots))
    truth = np.eye(ballots.size)[gold]
    sources = len(answers)

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        trust, own, bias = parameters[0], parameters[1 : sources + 1], parameters[sources + 1 :]
        probs = softmax(trust * shares + np.tensordot(own, answers, 1) + bias)
        slope = (probs - truth) * count[:, None]
        value = -count @ logs(probs[np.arange(len(gold)), gold])
        value += TRUST * (trust - 1) ** 2 + PENALTY * (own @ own + bias @ bias)
        gradient = np.concatenate([[(slope * shares).sum()], np.tensordot(answers, slope, 2), slope.sum(axis=0)])
        return float(value), gradient + 2 * np.concatenate([[TRUST * (trust - 1)], PENALTY * own, PENALTY * bias])

    start = np.zeros(1 + sources + ballots.size)
    start[0] = 1.0
    best = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return Stacked(base, float(best[0]), best[1 : sources + 1], best[sources + 1 :])
