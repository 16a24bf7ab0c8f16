"""Train the small classifier on the teacher's labels, chosen by cross-validation; save it and bring it back."""

from __future__ import annotations

import json
import pkgutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from llmlabel import students
from llmlabel.errors import ConfigError, DataError
from llmlabel.stats import wilson
from llmlabel.students.weights import FloatArray

NONE_FITS = ""  # the class of texts that no label fits
FOLDS = 5
FEWEST_ROWS = 20  # below, cross-validation says nothing
TOO_FEW = 3  # rows of a class, for it to be learnt from
NOT_STUDENTS = ("train", "apply", "weights")
SIMPLEST_FIRST = ("logistic_regression", "mlp", "lightgbm")


class Student(Protocol):
    name: str

    def fit(self, vectors: FloatArray, targets: NDArray[np.int64], classes: int, seed: int) -> None: ...

    def predict_proba(self, vectors: FloatArray) -> FloatArray: ...

    def save(self, folder: Path) -> None: ...


@dataclass
class Classifier:
    """A student with its label ids (`NONE_FITS` among them where the teacher used it) and how good it is.

    Args:
        threshold: below this confidence the student was wrong more often than right.
        scores: accuracy (against the teacher, cross-validated) with its 95% interval, macro_f1, rows, candidates.
    """

    student: Student
    labels: list[str]
    threshold: float = 0.0
    scores: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        self.student.save(folder)
        said = {"student": self.student.name, "labels": self.labels, "threshold": self.threshold, "scores": self.scores}
        (folder / "classifier.json").write_text(json.dumps(said, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Classifier:
        """Raises: DataError when there is no classifier, or a damaged one."""
        try:
            said = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
            kind = student_class(said["student"])
            return cls(kind.load(folder), said["labels"], said["threshold"], said["scores"])
        except (OSError, ValueError, KeyError) as e:
            raise DataError(f"there is no usable classifier in {folder}: {e}") from e


def student_names() -> list[str]:
    """The files in this folder that hold a student."""
    return sorted(m.name for m in pkgutil.iter_modules(students.__path__) if m.name not in NOT_STUDENTS)


def student_class(name: str) -> Any:
    if name not in student_names() and "." not in name:
        raise ConfigError(f"no student {name!r}; there are: {', '.join(student_names())}")
    return import_module(name if "." in name else f"llmlabel.students.{name}").Student


def train(vectors: FloatArray, targets: Sequence[str], *, seed: int, student: str = "auto") -> Classifier:
    """Fit the student on the teacher's labels.

    Args:
        vectors: (N, D). targets: N label ids, `NONE_FITS` where no label fits. student: a name, or auto: the one with
            the best cross-validated accuracy, the simplest within a standard error of it.
    Raises: DataError when there is no row to learn from.
    """
    if not len(targets):
        raise DataError("no text has a usable label, so there is nothing to train a classifier on")
    with threadpool_limits(1):  # many small fits: threads would cost more than they bring
        return _train(vectors, targets, seed, student)


def _train(vectors: FloatArray, targets: Sequence[str], seed: int, student: str) -> Classifier:
    labels = sorted(set(targets))
    index = {label: k for k, label in enumerate(labels)}
    codes = np.array([index[t] for t in targets], dtype=np.int64)
    names = list(SIMPLEST_FIRST) if student == "auto" else [student]
    counts = np.bincount(codes)
    chosen, scores, threshold = names[0], {}, 0.0
    if len(codes) >= FEWEST_ROWS and len(labels) > 1 and counts.max() >= TOO_FEW:
        tried = {name: out_of_sample(vectors, codes, len(labels), seed, name) for name in names}
        chosen = _simplest_of_the_best(tried, codes)
        scores = _scores(tried, chosen, codes)
        threshold = _threshold(tried[chosen], codes)
    final = student_class(chosen)()
    final.fit(vectors, codes, len(labels), seed)
    return Classifier(final, labels, threshold, {"name": chosen, "rows": len(codes), **scores})


def out_of_sample(
    vectors: FloatArray, targets: NDArray[np.int64], classes: int, seed: int, student: str, learn: NDArray[np.bool_] | None = None
) -> FloatArray:
    """Probabilities by students that have not seen the row, (N, K); zeros where no class has a row for every fold.

    Args:
        vectors: (N, D). targets: (N,) in 0..K-1. student: a name. learn: (N,) rows that may be learned from; None: all.
    """
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    proba = np.zeros((len(targets), classes))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        splits = list(folds.split(vectors, targets)) if np.bincount(targets).max() >= FOLDS else []
    for rows, test in splits:
        rows = rows if learn is None else rows[learn[rows]]
        model = student_class(student)()
        with threadpool_limits(1):
            model.fit(vectors[rows], targets[rows], classes, seed)
            proba[test] = model.predict_proba(vectors[test])
    return proba


def _simplest_of_the_best(tried: dict[str, FloatArray], codes: NDArray[np.int64]) -> str:
    accuracy = {name: float(np.mean(p.argmax(1) == codes)) for name, p in tried.items()}
    best = max(accuracy.values())
    error = np.sqrt(best * (1 - best) / len(codes))
    return next(name for name in tried if accuracy[name] >= best - error)


def _scores(tried: dict[str, FloatArray], chosen: str, codes: NDArray[np.int64]) -> dict[str, Any]:
    from sklearn.metrics import f1_score

    guessed = tried[chosen].argmax(1)
    right = int(np.sum(guessed == codes))
    low, high = wilson(right, len(codes))
    return {
        "accuracy": right / len(codes), "accuracy_low": low, "accuracy_high": high,
        "macro_f1": float(f1_score(codes, guessed, average="macro", zero_division=0)),
        "candidates": {name: float(np.mean(p.argmax(1) == codes)) for name, p in tried.items()},
    }  # fmt: skip


def _threshold(proba: FloatArray, codes: NDArray[np.int64]) -> float:
    """The largest confidence such that rows up to it are, taken together, wrong more often than right."""
    confidence, right = proba.max(1), proba.argmax(1) == codes
    order = np.argsort(confidence)
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    bad = np.flatnonzero(share < 0.5)
    return float(confidence[order][bad[-1]]) if len(bad) else 0.0
