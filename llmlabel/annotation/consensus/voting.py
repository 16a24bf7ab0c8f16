"""Consensus by shares of votes: every annotator counts the same, or as much as it is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmlabel.annotation.consensus.ballots import Ballots, FloatArray, Training
from llmlabel.annotation.consensus.dependence import redundancies

PSEUDO_ROWS = 10.0  # an annotator's accuracy is shrunk to the mean of all as if that had been seen on so many rows
MOST_ACCURATE = 0.99


@dataclass(frozen=True)
class Pool:
    """Weighted mean of the annotators' answers. Where one of them is a bare label, a pseudo-vote spread as `prior` is added:
    no small number of votes makes a label certain, and ties go to the more frequent class.

    Args:
        weights: (A,), mean 1. prior: (L,) shares of the classes.
    """

    weights: FloatArray
    prior: FloatArray

    def predict(self, ballots: Ballots) -> FloatArray:
        """(N, L); the prior where nobody answered."""
        total, mass = np.zeros((len(ballots), ballots.size)), np.zeros(len(ballots))
        bare = ~ballots.answered
        for a, weight in enumerate(self.weights):
            there = ballots.votes[:, a] >= 0
            total += weight * ballots.of(a)
            mass += weight * there
            bare |= there & ~ballots.told(a)
        bare |= mass <= 0
        return np.asarray((total + bare[:, None] * self.prior) / (mass + bare)[:, None])


@dataclass(frozen=True)
class Alone:
    """One annotator: its distribution, or its vote, as it is."""

    weights: FloatArray
    prior: FloatArray

    def predict(self, ballots: Ballots) -> FloatArray:
        return np.where(ballots.answered[:, None], ballots.of(0), self.prior)


def alone(rows: Training, seed: int = 0) -> Alone:
    return Alone(np.ones(1), rows.prior())


def majority(rows: Training, seed: int = 0) -> Pool:
    """Every annotator counts the same; of distributions the mean is taken (2410.18889)."""
    return Pool(np.ones(rows.ballots.annotators), rows.prior())


def weighted(rows: Training, seed: int = 0) -> Pool:
    """An annotator counts by the log-odds of its accuracy against chance; copies of one another share their weight.

    Accuracy is measured on the gold rows; without gold it is the agreement with the other annotators, copies left out.
    Both are shrunk to the mean of all.
    """
    size, votes = rows.ballots.size, rows.ballots.votes
    redundancy = redundancies(votes, size, rows.weight)
    right = _on_gold(rows) if len(rows.known) else _with_others(rows, 1 - redundancy)
    accuracy = np.clip(right, 1 / size + 1e-3, MOST_ACCURATE)
    weights = np.log(accuracy * (size - 1) / (1 - accuracy)) / (1 + redundancy.sum(axis=1))
    return Pool(weights / weights.mean(), rows.prior())


def _on_gold(rows: Training) -> FloatArray:
    known = rows.known
    votes, weight = rows.ballots.votes[known], rows.weight[known]
    return _shrunk(weight @ (votes == rows.gold[known, None]), weight @ (votes >= 0))


def _shrunk(right: FloatArray, seen: FloatArray) -> FloatArray:
    """(A,) accuracies, drawn to that of all annotators together."""
    mean = (right.sum() + 1) / (seen.sum() + 2)
    return np.asarray((right + PSEUDO_ROWS * mean) / (seen + PSEUDO_ROWS))


def _with_others(rows: Training, distance: FloatArray) -> FloatArray:
    """(A,) mean share of the others that say the same, each counted by its distance (A, A)."""
    from scipy.sparse import csr_array

    votes = rows.ballots.votes
    others = distance - np.diag(np.diag(distance))
    asked = csr_array((votes >= 0).astype(float)) @ others
    same = np.zeros_like(asked)
    for label in range(rows.ballots.size):
        here = votes == label
        same[here] = (csr_array(here.astype(float)) @ others)[here]
    there = (votes >= 0) & (asked > 0)
    return _shrunk(rows.weight @ np.where(there, same / np.maximum(asked, 1e-12), 0.0), rows.weight @ there)
