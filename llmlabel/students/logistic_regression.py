"""Multinomial logistic regression on frozen vectors.

Source: TnT-LLM's phase 2 (arXiv 2403.12173), which finds it as good as larger students; its grid of penalties.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmlabel.students.weights import FloatArray, load, save, softmax

PENALTIES = (0.01, 0.1, 1.0, 10.0)
SEARCHED = 3000  # rows the penalty is chosen on


def _spread(targets: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """At most about `most` rows, of every class its share and three at least."""
    if len(targets) <= most:
        return np.arange(len(targets))
    draw = np.random.default_rng(seed)
    rows = [draw.permutation(np.flatnonzero(targets == k)) for k in np.unique(targets)]
    return np.sort(np.concatenate([own[: max(3, round(most * len(own) / len(targets)))] for own in rows]))


class LogisticRegressionStudent:
    """L2-penalised; the penalty is chosen by cross-validated log-likelihood where there are enough rows."""

    name = "logistic_regression"

    def __init__(self) -> None:
        self.coef: FloatArray = np.zeros((0, 0))
        self.intercept: FloatArray = np.zeros(0)

    def fit(self, vectors: FloatArray, targets: NDArray[np.int64], classes: int, seed: int) -> None:
        """Args: vectors: (N, D); targets: (N,) in 0..classes-1, not all of which need occur."""
        self.coef, self.intercept = np.zeros((classes, vectors.shape[1])), np.full(classes, -30.0)
        present = np.unique(targets)
        if len(present) == 1:
            self.intercept[present] = 0.0
            return
        fitted = self._fitted(vectors, targets, seed)
        two = fitted.coef_.shape[0] == 1  # sklearn keeps one row for two classes
        rows = np.vstack([-fitted.coef_, fitted.coef_]) / 2 if two else fitted.coef_
        bias = np.concatenate([-fitted.intercept_, fitted.intercept_]) / 2 if two else fitted.intercept_
        self.coef[present], self.intercept[present] = rows, bias

    def _fitted(self, vectors: FloatArray, targets: NDArray[np.int64], seed: int) -> Any:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, StratifiedKFold

        fewest = int(np.bincount(targets)[np.unique(targets)].min())
        if fewest < 3:
            return LogisticRegression(C=1.0, max_iter=300).fit(vectors, targets)
        few = _spread(targets, SEARCHED, seed)
        grid = {"C": [1 / p for p in PENALTIES]}
        folds = StratifiedKFold(3, shuffle=True, random_state=seed)
        search = GridSearchCV(LogisticRegression(max_iter=300), grid, scoring="neg_log_loss", cv=folds, refit=False)
        search.fit(vectors[few], targets[few])
        return LogisticRegression(max_iter=300, **search.best_params_).fit(vectors, targets)

    def predict_proba(self, vectors: FloatArray) -> FloatArray:
        """(N, D) -> (N, K), rows sum to 1."""
        return softmax(vectors @ self.coef.T + self.intercept)

    def save(self, folder: Path) -> None:
        save(folder, {"coef": self.coef, "intercept": self.intercept}, {})

    @classmethod
    def load(cls, folder: Path) -> LogisticRegressionStudent:
        arrays, _ = load(folder)
        student = cls()
        student.coef, student.intercept = arrays["coef"], arrays["intercept"]
        return student


Student = LogisticRegressionStudent
