"""Gradient-boosted trees on frozen vectors, kept in LightGBM's own text format.

Source: TnT-LLM's phase 2 (arXiv 2403.12173): 31 leaves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmlabel.errors import DataError
from llmlabel.students.weights import FloatArray

ROUNDS = 40
PARAMETERS: dict[str, Any] = {
    "objective": "multiclass", "num_leaves": 31, "max_depth": 5, "learning_rate": 0.15, "feature_fraction": 0.2,
    "min_data_in_leaf": 5, "verbosity": -1, "deterministic": True, "force_row_wise": True, "num_threads": 2,
}  # fmt: skip


class LightGBMStudent:
    name = "lightgbm"

    def __init__(self) -> None:
        self.booster: Any = None
        self.present: list[int] = []
        self.classes = 0

    def fit(self, vectors: FloatArray, targets: NDArray[np.int64], classes: int, seed: int) -> None:
        """Args: vectors: (N, D); targets: (N,) in 0..classes-1, not all of which need occur."""
        import lightgbm

        self.classes, self.present = classes, [int(c) for c in np.unique(targets)]
        if len(self.present) == 1:
            return
        compact = np.searchsorted(self.present, targets)
        data = lightgbm.Dataset(np.asarray(vectors, dtype=np.float32), label=compact)
        settings = PARAMETERS | {"num_class": len(self.present), "seed": seed}
        self.booster = lightgbm.train(settings, data, num_boost_round=ROUNDS)

    def predict_proba(self, vectors: FloatArray) -> FloatArray:
        """(N, D) -> (N, K), rows sum to 1."""
        proba = np.zeros((len(vectors), self.classes))
        proba[:, self.present] = 1.0 if self.booster is None else self.booster.predict(vectors)
        return proba

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        text = self.booster.model_to_string() if self.booster is not None else ""
        (folder / "trees.txt").write_text(text, encoding="utf-8")
        (folder / "weights.json").write_text(json.dumps({"classes": self.classes, "present": self.present}))

    @classmethod
    def load(cls, folder: Path) -> LightGBMStudent:
        import lightgbm

        student = cls()
        try:
            settings = json.loads((folder / "weights.json").read_text())
            text = (folder / "trees.txt").read_text(encoding="utf-8")
            student.classes, student.present = int(settings["classes"]), list(settings["present"])
            student.booster = lightgbm.Booster(model_str=text) if text else None
        except (OSError, ValueError, KeyError, lightgbm.basic.LightGBMError) as e:
            raise DataError(f"cannot read the classifier in {folder}: {e}") from e
        return student


Student = LightGBMStudent
