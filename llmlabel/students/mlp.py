"""A perceptron with one hidden layer on frozen vectors.

Source: TnT-LLM's phase 2 (arXiv 2403.12173): Adam, learning rate 1e-3, weight decay 1e-5.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmlabel.students.weights import FloatArray, load, save, softmax

HIDDEN = 128


class MLPStudent:
    name = "mlp"

    def __init__(self) -> None:
        self.layers: dict[str, FloatArray] = {}
        self.present: FloatArray = np.zeros(0)
        self.classes = 0

    def fit(self, vectors: FloatArray, targets: NDArray[np.int64], classes: int, seed: int) -> None:
        """Args: vectors: (N, D); targets: (N,) in 0..classes-1, not all of which need occur."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        self.classes, present = classes, np.unique(targets)
        self.present = present.astype(np.float32)
        if len(present) == 1:
            return
        model = MLPClassifier((HIDDEN,), alpha=1e-5, learning_rate_init=1e-3, max_iter=150, n_iter_no_change=5, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(vectors, targets)
        self.layers = {f"w{i}": w for i, w in enumerate(model.coefs_)} | {f"b{i}": b for i, b in enumerate(model.intercepts_)}

    def predict_proba(self, vectors: FloatArray) -> FloatArray:
        """(N, D) -> (N, K), rows sum to 1."""
        proba = np.zeros((len(vectors), self.classes))
        columns = self.present.astype(int)
        if not self.layers:
            proba[:, columns] = 1.0
            return proba
        hidden = np.maximum(vectors @ self.layers["w0"] + self.layers["b0"], 0.0)
        logits = hidden @ self.layers["w1"] + self.layers["b1"]
        if logits.shape[1] == 1:  # two classes: one logistic unit
            logits = np.hstack([np.zeros_like(logits), logits])
        proba[:, columns] = softmax(logits)
        return proba

    def save(self, folder: Path) -> None:
        save(folder, {**self.layers, "present": self.present}, {"classes": self.classes})

    @classmethod
    def load(cls, folder: Path) -> MLPStudent:
        arrays, settings = load(folder)
        student = cls()
        student.present, student.classes = arrays.pop("present"), int(settings["classes"])
        student.layers = arrays
        return student


Student = MLPStudent
