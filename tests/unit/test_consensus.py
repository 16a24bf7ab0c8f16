"""Bringing annotators together: known cases, bad input, and what must hold for any votes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from llmlabel.annotation.consensus import together as consensus
from llmlabel.annotation.consensus.ballots import distinct
from llmlabel.annotation.consensus.together import METHODS, cross_fitted, fit, fuse
from llmlabel.errors import ConfigError, DataError

CLASSES = ["a", "b", "c"]
PLAIN = [m for m in METHODS if m != "crowdlab"]


def crowd(skills: list[float], rows: int = 400, seed: int = 0) -> tuple[Any, Any]:
    """(N, A) votes of annotators who err evenly and independently, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, rows)
    wrong = (truth[:, None] + rng.integers(1, 3, (rows, len(skills)))) % 3
    return np.where(rng.random((rows, len(skills))) < skills, truth[:, None], wrong), truth


def some(truth: Any, rows: int) -> Any:
    return np.where(np.arange(len(truth)) < rows, truth, -1)


def accuracy(found: consensus.Consensus, truth: Any) -> float:
    return float(np.mean(found.labels == truth))


@pytest.mark.parametrize("method", PLAIN)
def test_every_method_beats_its_annotators_when_they_are_independent(method: str) -> None:
    votes, truth = crowd([0.75, 0.7, 0.7, 0.65, 0.7])
    assert accuracy(fuse(votes, CLASSES, gold=some(truth, 60), method=method), truth) > 0.83


@pytest.mark.parametrize("method", [m for m in PLAIN if m != "majority"])
def test_every_method_but_majority_sees_through_guessers(method: str) -> None:
    votes, truth = crowd([0.9, 0.85, 0.34, 0.34, 0.34])
    gold = some(truth, 60)
    assert (
        accuracy(fuse(votes, CLASSES, gold=gold, method=method), truth)
        > accuracy(fuse(votes, CLASSES, method="majority"), truth) + 0.1
    )


def test_one_annotator_stands_as_it_is() -> None:
    votes, probs = np.array([[0], [2], [-1]]), np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [np.nan] * 3])
    bare, told = fuse(votes, CLASSES), fuse(votes, CLASSES, probs=[probs], gold=np.array([1, 2, 0]))
    np.testing.assert_array_equal(bare.probs[:2], np.eye(3)[[0, 2]])
    np.testing.assert_allclose(told.probs[:2], probs[:2])
    assert told.method == "single" and told.labels.tolist() == [0, 2, -1]


def test_rows_without_an_answer_get_the_prior_and_are_flagged() -> None:
    votes, truth = crowd([0.9] * 3, 100)
    votes[7] = -1
    for method in PLAIN:
        found = fuse(votes, CLASSES, gold=some(truth, 100), method=method)
        assert not found.answered[7] and found.answered.sum() == 99 and found.labels[7] == -1
        np.testing.assert_allclose(found.probs[7], (np.bincount(truth) + 1 / 3) / 101, atol=0.05)


def test_copies_share_their_weight() -> None:
    votes, truth = crowd([0.85, 0.85, 0.6, 0.6, 0.6], 1500)
    rng = np.random.default_rng(1)
    for copy in (3, 4):
        votes[:, copy] = np.where(rng.random(len(votes)) < 0.95, votes[:, 2], votes[:, copy])
    blind = fuse(votes, CLASSES)
    assert blind.method == "weighted" and "independent" in blind.why
    assert accuracy(blind, truth) > accuracy(fuse(votes, CLASSES, method="dawid_skene"), truth) + 0.05
    assert accuracy(fuse(votes, CLASSES, gold=some(truth, 100)), truth) > 0.83


def test_gold_turns_a_misled_crowd() -> None:
    """Everybody takes c for b: only gold rows can tell."""
    votes, truth = crowd([0.9] * 4, 600)
    votes[truth == 2] = np.where(votes[truth == 2] == 2, 1, votes[truth == 2])
    votes[:, 3] = np.where(truth == 2, 2, votes[:, 3])
    assert accuracy(fuse(votes, CLASSES), truth) < 0.75
    assert accuracy(cross_fitted(votes, CLASSES, gold=some(truth, 150)), truth) > 0.95


def test_cross_fitted_rows_have_not_seen_their_own_gold() -> None:
    """Votes are noise, so that only a look at its own gold label could make a row right."""
    rng = np.random.default_rng(0)
    votes, gold = rng.integers(0, 3, (60, 40)), rng.integers(0, 3, 60)
    assert np.mean(fuse(votes, CLASSES, gold=gold, method="stacked").labels == gold) > 0.6
    assert np.mean(cross_fitted(votes, CLASSES, gold=gold, method="stacked").labels == gold) < 0.5


def test_a_fitted_consensus_is_applied_to_new_rows() -> None:
    votes, truth = crowd([0.8] * 4)
    fusion = fit(votes, CLASSES, gold=some(truth, 100))
    np.testing.assert_allclose(fusion.predict(votes[:50]), fuse(votes, CLASSES, gold=some(truth, 100)).probs[:50])
    with pytest.raises(DataError, match="fitted on 4 annotators"):
        fusion.predict(votes[:, :3])


def test_crowdlab_uses_the_classifier() -> None:
    votes, truth = crowd([0.6, 0.6])
    machine = np.full((len(truth), 3), 0.05) + 0.85 * np.eye(3)[truth]
    found = fuse(votes, CLASSES, classifier=machine, method="crowdlab")
    assert accuracy(found, truth) > accuracy(fuse(votes, CLASSES), truth) + 0.1
    assert "crowdlab" in fuse(votes, CLASSES, classifier=machine, gold=some(truth, 60)).scores
    with pytest.raises(DataError, match="needs a classifier"):
        fuse(votes, CLASSES, method="crowdlab")


def test_crowdlab_is_applied_as_cleanlab_would() -> None:
    from cleanlab.multiannotator import get_label_quality_multiannotator

    votes, truth = crowd([0.7, 0.8, 0.6], 80)
    machine = np.full((80, 3), 0.1) + 0.7 * np.eye(3)[truth]
    theirs = get_label_quality_multiannotator(votes.astype(float), machine, verbose=False)["label_quality"]
    ours = fuse(votes, CLASSES, classifier=machine, method="crowdlab")
    assert ours.labels.tolist() == theirs["consensus_label"].tolist()


def test_distributions_count_by_their_certainty() -> None:
    unsure, sure = np.tile([0.4, 0.35, 0.25], (5, 1)), np.tile([0.02, 0.96, 0.02], (5, 1))
    found = fuse(np.tile([0, 0, 1], (5, 1)), CLASSES, probs=[unsure, unsure, sure], method="majority")
    np.testing.assert_allclose(found.probs[0], (2 * unsure[0] + sure[0]) / 3)
    assert found.labels.tolist() == [1] * 5


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_little_gold_is_said_and_changes_nothing(rows: int) -> None:
    votes, truth = crowd([0.8] * 3, 100)
    found = cross_fitted(votes, CLASSES, gold=some(truth, rows))
    assert found.method == "weighted" and ("no gold rows" if not rows else f"{rows} gold rows are fewer") in found.why
    np.testing.assert_array_equal(found.probs, fuse(votes, CLASSES).probs)


def test_hard_cases_do_not_break_any_method() -> None:
    """A constant annotator, one who never answers, exact copies, and a class nobody has seen."""
    votes, truth = crowd([0.8] * 5, 80)
    truth = np.minimum(truth, 1)
    votes[:, 0], votes[:, 1], votes[:, 3] = 0, -1, votes[:, 2]
    for method in ("auto", *PLAIN):
        found = fuse(votes, CLASSES, gold=some(truth, 40), method=method)
        np.testing.assert_allclose(found.probs.sum(axis=1), 1)
        assert np.isfinite(found.probs).all() and found.weights.shape == (5,)


@pytest.mark.parametrize(
    ("votes", "words"),
    [
        ([[0, 3]], "vote 3 of annotator 1 in row 0"),
        ([[0, -2]], "vote -2"),
        ([[-1, -1]], "no annotator gave"),
        ([0, 1], "\\(N, A\\)"),
    ],
)
def test_bad_votes(votes: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        fuse(np.array(votes), CLASSES)


def test_bad_arguments() -> None:
    votes = np.array([[0, 1]])
    with pytest.raises(ConfigError, match="no consensus method 'best'; there are: auto, majority"):
        fuse(votes, CLASSES, method="best")
    with pytest.raises(DataError, match="gold holds 3"):
        fuse(votes, CLASSES, gold=np.array([3]))
    with pytest.raises(DataError, match="two classes"):
        fuse(votes, ["a"])
    with pytest.raises(DataError, match="sum to 1"):
        fuse(votes, CLASSES, probs=[np.ones((1, 3)), None])
    with pytest.raises(DataError, match="stacked learns from gold"):
        fuse(votes, CLASSES, method="stacked")


@given(
    arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(1, 5)), elements=st.integers(-1, 2)),
    st.sampled_from(["majority", "weighted", "dawid_skene", "mace"]),
)
@settings(deadline=None, max_examples=40)
def test_any_votes_give_distributions_and_row_order_does_not_matter(votes: Any, method: str) -> None:
    if (votes < 0).all():
        return
    found = fuse(votes, CLASSES, method=method)
    np.testing.assert_allclose(found.probs.sum(axis=1), 1)
    np.testing.assert_allclose(fuse(votes[::-1], CLASSES, method=method).probs[::-1], found.probs, atol=1e-6)


@given(arrays(np.int64, st.tuples(st.integers(1, 30), st.integers(1, 40)), elements=st.integers(-1, 30)))
@settings(deadline=None, max_examples=40)
def test_distinct_rows_are_those_of_numpy(votes: Any) -> None:
    first, inverse, counts = distinct(votes, 31)
    np.testing.assert_array_equal(votes[first][inverse], votes)
    assert len(first) == len(np.unique(votes, axis=0)) and counts.sum() == len(votes)
