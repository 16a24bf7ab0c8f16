"""One contract for every student, and the choice between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llmlabel.errors import ConfigError, DataError
from llmlabel.students.apply import decide
from llmlabel.students.train import NONE_FITS, Classifier, student_class, student_names, train


def blobs(classes: int, rows: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, 16)) * 3
    targets = np.arange(rows * classes) % classes
    return (centres[targets] + rng.normal(size=(len(targets), 16))).astype(np.float32), targets


@pytest.mark.parametrize("name", student_names())
@pytest.mark.parametrize("classes", [1, 2, 4])
def test_every_student_learns_saves_and_comes_back(name: str, classes: int, tmp_path: Path) -> None:
    vectors, targets = blobs(classes)
    student = student_class(name)()
    student.fit(vectors, targets, classes + 1, seed=0)  # one class has no rows
    proba = student.predict_proba(vectors)
    assert proba.shape == (len(vectors), classes + 1)
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-5)
    assert np.mean(proba.argmax(1) == targets) > 0.95
    assert proba[:, classes].max() < 0.05
    student.save(tmp_path / name)
    again = student_class(name).load(tmp_path / name)
    np.testing.assert_allclose(again.predict_proba(vectors), proba, atol=1e-5)
    assert not [p for p in (tmp_path / name).iterdir() if p.suffix in (".pkl", ".pickle", ".joblib", ".pt")]


def test_training_scores_against_the_teacher_with_an_interval(tmp_path: Path) -> None:
    vectors, targets = blobs(3)
    noisy = targets.copy()
    noisy[:12] = (noisy[:12] + 1) % 3  # a tenth of the teacher's labels is wrong
    labels = [("a", "b", NONE_FITS)[t] for t in noisy]
    classifier = train(vectors, labels, seed=0, student="logistic_regression")
    scores = classifier.scores
    assert 0.8 < scores["accuracy"] < 0.95
    assert scores["accuracy_low"] < scores["accuracy"] < scores["accuracy_high"]
    classifier.save(tmp_path)
    again = Classifier.load(tmp_path)
    assert again.labels == classifier.labels == ["", "a", "b"]
    assert decide(again, np.array([0.9, 0.1, 0.0]))[1] == "none_fits"


def test_few_or_single_class_rows_still_give_a_classifier() -> None:
    vectors, _ = blobs(1)
    assert train(vectors, ["a"] * len(vectors), seed=0).student.predict_proba(vectors[:2]).tolist() == [[1.0], [1.0]]
    few = train(vectors[:4], ["a", "b", "a", "b"], seed=0)
    assert "accuracy" not in few.scores
    with pytest.raises(DataError, match="nothing to train"):
        train(vectors[:0], [], seed=0)
    with pytest.raises(ConfigError, match="logistic_regression"):
        train(vectors, ["a"] * len(vectors), seed=0, student="oracle")


def test_a_damaged_classifier_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no usable classifier"):
        Classifier.load(tmp_path)
