"""Scores against numbers worked out by hand or by another route."""

from __future__ import annotations

import numpy as np
import pytest

from llmlabel.annotation.calibration.batch import batch_calibrate, matrix, pool
from llmlabel.annotation.label import Evidence, settle
from llmlabel.records import Annotation, Label, Status, Taxonomy
from llmlabel.stats import wilson
from llmlabel.taxonomy.diff import diff, problems
from llmlabel.taxonomy.scores import against_gold


def test_a_perfect_partition_under_other_names() -> None:
    scores = against_gold(["x", "x", "y", "y"], ["a", "a", "b", "b"])
    assert (scores["nmi"], scores["ari"], scores["accuracy"], scores["exact"]) == (1.0, 1.0, 1.0, None)


def test_unlabelled_rows_are_a_group_and_are_wrong() -> None:
    scores = against_gold(["x", None, "y", None], ["a", "a", "b", "b"])
    assert scores["accuracy"] == 0.5
    assert scores["k_found"] == 2


def test_accuracy_matches_labels_one_to_one() -> None:
    found = ["x"] * 3 + ["y"] + ["y"] * 2 + ["z"] * 2
    gold = ["a"] * 4 + ["b"] * 4
    assert against_gold(found, gold)["accuracy"] == (3 + 2) / 8


def test_exact_counts_only_gold_labels_the_taxonomy_knows() -> None:
    scores = against_gold(["cards", "cards", None], ["Cards ", "loans", "cards"], {"cards": "Cards"})
    assert scores["exact"] == 0.5


def test_batch_calibration_removes_a_labels_bias() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(300) % 3
    logps = rng.normal(size=(300, 3)) + 3 * np.eye(3)[truth] + np.array([6.0, 0.0, 0.0])
    assert np.mean(logps.argmax(1) == truth) < 0.5
    assert np.mean(batch_calibrate(logps).argmax(1) == truth) > 0.9
    np.testing.assert_allclose(np.exp(batch_calibrate(logps)).sum(1), 1)


def test_unseen_alternatives_are_below_the_least_likely_seen() -> None:
    rows = matrix([{"a": -0.1, "b": -3.0}], ["a", "b", "c"])
    assert rows[0, 2] == pytest.approx(rows[0, 1] - 1.0)


def test_pool_is_between_its_parts() -> None:
    a, b = np.log([[0.9, 0.1]]), np.log([[0.2, 0.8]])
    np.testing.assert_allclose(pool(a, b, 0.0), a)
    np.testing.assert_allclose(pool(a, b, 1.0), b)


TREE = Taxonomy(labels=[Label(id="a", name="Apples"), Label(id="b", name="Bears")])


def test_settle_keeps_failures_and_none_fits_and_pools_with_vectors() -> None:
    rows = [
        Annotation("1", "a", Status.OK, ["a"], probs={"a": -0.01, "b": -5.0, "-": -6.0}, probs_kind="code"),
        Annotation("2", "b", Status.OK, ["b", "a"], probs={"a": -5.0, "b": -0.01, "-": -6.0}, probs_kind="code"),
        Annotation("3", None, Status.NONE_FITS, probs={"a": -5.0, "b": -5.0, "-": -0.01}, probs_kind="code"),
        Annotation("4", None, Status.REFUSED, reason="no"),
    ]
    done = settle(rows, TREE)
    assert [row.label for row in done] == ["a", "b", None, None]
    assert [row.status for row in done] == ["ok", "ok", "none_fits", "refused"]
    assert done[1].labels == ["b", "a"]
    assert all(0 < (row.confidence or 0) <= 1 for row in done[:3])
    against = np.log(np.array([[0.001, 0.999]] * 4))
    assert settle(rows, TREE, Evidence(against, 0.9))[0].label == "b"


def test_answers_without_probabilities_stand_as_they_are() -> None:
    rows = [Annotation("1", "a", Status.OK, ["a"])]
    assert settle(rows, TREE) == rows


def test_diff_is_by_id() -> None:
    new = Taxonomy(labels=[Label(id="b", name="Bears", description="Big."), Label(id="c", name="Cats")])
    change = diff(TREE, new)
    assert ([x.id for x in change.removed], [x.id for x in change.added]) == (["a"], ["c"])
    assert change.lines()[-1] == "~ b  description:  -> Big."
    assert not diff(TREE, TREE)


def test_problems_name_the_label() -> None:
    bad = Taxonomy(labels=[Label(id="a", name="Other"), Label(id="b", name="Bear"), Label(id="c", name="Bears", parent="a")])
    found = "\n".join(problems(bad))
    assert "vague" in found and "single child" in found and "no description" in found


def test_wilson_against_published_values() -> None:
    low, high = wilson(8, 10)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
