"""The numbers of an audit: who is wrong, the queue with its reasons, judges, and a person's check."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.annotation.audit import noise
from llmlabel.annotation.audit.check import checked, draw_check, read_verdicts
from llmlabel.annotation.audit.judging import judge_probs, mixture_weights, pooled, tempered
from llmlabel.annotation.audit.queue import Evidence, queue, read_given
from llmlabel.errors import DataError
from llmlabel.records import Annotation, Example, Label, Status, Taxonomy
from llmlabel.students import logistic_regression
from llmlabel.students.train import out_of_sample

CENTRES = np.eye(4)[:3] * 3


def clusters(rows: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    truth = np.arange(rows) % 3
    return CENTRES[truth] + np.random.default_rng(seed).normal(size=(rows, 4)) * 0.6, truth


def with_errors(truth: np.ndarray, seed: int = 0, share: float = 0.1) -> np.ndarray:
    """Some rows of class 0 get label 1: no other pair is mixed up."""
    labels = truth.copy()
    wrong = np.random.default_rng(seed).permutation(np.flatnonzero(truth == 0))[: round(share * len(truth))]
    labels[wrong] = 1
    return labels


def by_centres(vectors: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A classifier so stiff that a row's own label hardly matters."""
    centres = np.stack([vectors[rows & (labels == k)].mean(axis=0) for k in range(3)])
    near = -((vectors[:, None] - centres[None]) ** 2).sum(axis=2)
    probs = np.exp(near - near.max(axis=1, keepdims=True))
    return np.asarray(probs / probs.sum(axis=1, keepdims=True))


def found_by(vectors: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shares = noise.neighbour_shares(*noise.neighbours(vectors), labels, 3)
    _, probs = noise.class_probs(lambda rows: by_centres(vectors, labels, rows), shares, labels)
    joint = noise.confident_joint(probs, labels)
    return noise.wrongness(probs, labels, noise.transition(joint)), joint, probs


def test_planted_errors_are_found_and_counted() -> None:
    vectors, truth = clusters()
    labels = with_errors(truth)
    score, joint, _ = found_by(vectors, labels)
    wrong = labels != truth
    assert wrong[np.argsort(-score)[: wrong.sum()]].mean() >= 0.9
    assert joint.sum() - np.trace(joint) == pytest.approx(wrong.sum(), abs=4)
    assert joint[1, 0] == joint[~np.eye(3, dtype=bool)].max(), "the errors are rows given 1 that are 0"
    (pair, *_) = noise.overlaps(joint, ["a", "b", "c"])
    assert (pair["a"], pair["b"]) == ("a", "b")


def test_clean_labels_raise_no_alarm() -> None:
    vectors, truth = clusters()
    score, joint, _ = found_by(vectors, truth)
    assert joint.sum() - np.trace(joint) <= 2
    assert (score > 0.5).mean() < 0.02


def test_a_neighbour_is_never_the_row_itself() -> None:
    vectors = np.repeat(np.eye(3), 2, axis=0)
    near, alike = noise.neighbours(vectors, 1)
    assert near[:, 0].tolist() == [1, 0, 3, 2, 5, 4]
    assert noise.neighbour_shares(near, alike, np.array([0, 1, 0, 1, 0, 1]), 2).argmax(1).tolist() == [1, 0, 1, 0, 1, 0]


def test_pairs_that_are_mixed_up_are_suspected_sooner() -> None:
    """Two rows alike but for their labels: the one whose label is often given in place of the other class is likelier wrong."""
    probs, given_labels = np.array([[0.3, 0.7, 0.0], [0.0, 0.7, 0.3]]), np.array([0, 2])
    mixed_up = noise.transition(np.array([[50.0, 20.0, 0.0], [0.0, 80.0, 0.0], [0.0, 0.0, 50.0]]))
    first, second = noise.wrongness(probs, given_labels, mixed_up)
    assert first > second


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 30))
def test_scores_are_probabilities_and_follow_their_rows(seed: int, classes: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(classes, 0.3), rows)
    labels = rng.integers(0, classes, rows)
    mixed_up = noise.transition(rng.integers(0, 20, (classes, classes)).astype(float))
    score = noise.wrongness(probs, labels, mixed_up)
    assert ((score >= 0) & (score <= 1)).all()
    assert np.allclose(mixed_up.sum(0), 1)
    order = rng.permutation(rows)
    assert np.allclose(noise.wrongness(probs[order], labels[order], mixed_up), score[order])


def test_students_do_not_learn_from_rows_they_are_told_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic_regression, "PENALTIES", (1.0,))
    vectors, truth = clusters(60)
    kept = np.arange(60) % 4 > 0
    spoilt = np.where(kept, truth, (truth + 1) % 3)
    assert out_of_sample(vectors, spoilt, 3, 0, "logistic_regression", kept).argmax(1).tolist() == truth.tolist()
    assert not out_of_sample(vectors[:4], truth[:4], 3, 0, "logistic_regression").any(), "no class has a row for every fold"


def test_a_class_is_learned_from_even_where_all_of_it_is_suspicious() -> None:
    labels = np.array([0] * 20 + [1] * 6)
    seen: list[np.ndarray] = []

    def learn(rows: np.ndarray) -> np.ndarray:
        seen.append(rows)
        return np.tile([0.99, 0.01], (26, 1))

    noise.class_probs(learn, np.tile([0.9, 0.1], (26, 1)), labels)
    assert seen[-1][labels == 1].all()


def examples(*rows: tuple[str, str | None]) -> list[Example]:
    return [Example(f"r{i}", text, label) for i, (text, label) in enumerate(rows)]


def test_labels_match_whatever_their_case_and_spaces() -> None:
    found = read_given(examples(("a", "Lost  Card"), ("b", "lost card "), ("c", None), ("d", "Other/Thing")), None)
    assert found.label[0] == found.label[1] == "lost-card"
    assert found.label[2] is None
    assert {label.name for label in found.taxonomy.labels} == {"Lost Card", "Other/Thing"}


def test_labels_off_the_list_are_told_apart_from_none() -> None:
    tree = Taxonomy(labels=[Label(id="x", name="Lost card"), Label(id="y", name="x")])
    found = read_given(examples(("a", "lost CARD"), ("b", "X"), ("c", "Stolen"), ("d", ""), ("e", "-")), tree)
    assert found.label == ["x", "x", None, None, "-"], "an id goes before a name"
    assert found.off_list == {"r2": "Stolen"}


@pytest.mark.parametrize("rows", [[("a", None), ("b", " ")], [("a", "x"), ("b", "y"), ("c", "x|y")]])
def test_columns_that_cannot_be_audited_are_refused(rows: list[tuple[str, str | None]]) -> None:
    with pytest.raises(DataError, match=r"--label-column|several labels"):
        read_given(examples(*rows), None)


def audited() -> tuple[list[Example], list[dict[str, object]]]:
    """Ten rows of two labels, the last one wrong by the evidence; a rare label; a text with two labels; one off the list."""
    rows = [(f"text {i}", "Cats" if i % 2 else "Dogs") for i in range(10)]
    rows += [("only one", "Rare"), ("TEXT  0", "cats"), ("strange", "Horses"), ("", "Cats"), ("no label", None)]
    tree = Taxonomy(labels=[Label(id=n.lower(), name=n) for n in ("Dogs", "Cats", "Rare")])
    full = examples(*rows)
    given_labels = read_given(full, tree)
    at, classes, few = given_labels.judged(full)
    assert (classes, few) == (["dogs", "cats"], {"rare": 1})
    labels = np.array([classes.index(str(given_labels.label[i])) for i in at])
    right = np.eye(2)[labels] * 0.8 + 0.1
    right[9] = right[9][::-1]
    wrong = np.array([0.9 if n == 9 else 0.1 for n in range(len(at))])
    near = np.tile(labels[9] ^ 1, (len(at), 10))
    said = {"r9": [Annotation("r9", "dogs", Status.OK, ["dogs"], 0.97, annotator="judge-1")]}
    return full, queue(full, given_labels, at, Evidence(classes, labels, right, right, wrong, near, np.eye(2), said))


def test_the_queue_has_every_labelled_row_worst_first_with_its_reason() -> None:
    _, rows = audited()
    by_id = {str(row["id"]): row for row in rows}
    assert [row["rank"] for row in rows] == list(range(1, 14))
    assert [row["id"] for row in rows][:2] == ["r12", "r9"]
    assert {row["id"] for row in rows if row["flagged"]} == {"r12", "r9", "r0", "r11"}
    assert by_id["r12"]["reason"] == "off list: `Horses` is not a label of the taxonomy"
    reason = str(by_id["r9"]["reason"])
    for part in (
        "0.90 to `Dogs`",
        "0.10 to the given `Cats`",
        "10 of its 10 nearest neighbours are `Dogs`",
        "judge-1 says `Dogs` (0.97)",
    ):
        assert part in reason
    assert by_id["r9"]["proposed"] == "Dogs"
    assert by_id["r1"]["proposed"] is None
    assert by_id["r0"]["score"] == 0.5 and "the same text is also labelled `Cats`" in str(by_id["r0"]["reason"])
    assert rows[-1]["id"] == "r10" and rows[-1]["score"] is None and "fewer than 5 rows" in str(rows[-1]["reason"])
    assert not {"r13", "r14"} & by_id.keys()


def answer(row: str, label: str | None, status: Status = Status.OK, **probs: float) -> Annotation:
    return Annotation(row, label, status, probs=probs)


def test_what_judges_say_becomes_distributions() -> None:
    ids, labels = ["a", "b", "c", "d", "e"], np.array([0, 1, 0, 1, 0])
    answers = {
        "a": answer("a", "x", x=0.9, y=0.1), "b": answer("b", "y"), "c": answer("c", "y"),
        "d": answer("d", None, Status.ERROR),
    }  # fmt: skip
    found = judge_probs(answers, ids, ["x", "y"], labels, np.array([True, True, False, False, False]))
    assert np.allclose(found[:3], [[0.9, 0.1], [0.25, 0.75], [0.25, 0.75]]), "2 of 2 agree: (2 + 1) / (2 + 2)"
    assert np.isnan(found[3:]).all()


def test_a_judge_that_knows_nothing_gets_no_weight_and_moves_nothing() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 100)
    good, blind = np.eye(3)[labels] * 0.7 + 0.1, np.full((100, 3), 1 / 3)
    weights = mixture_weights([good, blind], labels)
    assert weights.sum() == pytest.approx(1)
    assert weights[1] < 0.01
    absent = np.full((100, 3), np.nan)
    assert np.allclose(pooled(good, [absent], [0.5, 0.5]), good, atol=1e-3)
    assert mixture_weights([good, good], labels).tolist() == pytest.approx([0.5, 0.5])


def test_a_timid_judge_is_made_as_sure_as_it_is_right() -> None:
    labels, sample = np.arange(100) % 4, np.ones(100, dtype=bool)
    timid = np.full((100, 4), 0.22)
    said = np.where(np.arange(100) < 80, labels, (labels + 1) % 4)  # right 80 times in 100
    timid[np.arange(100), said] = 0.34
    sure = tempered(timid, labels, sample)
    assert sure.max(1) == pytest.approx(np.full(100, 0.8), abs=0.01)
    timid[0] = np.nan
    assert np.isnan(tempered(timid, labels, sample)[0]).all()


def test_the_check_is_a_blind_random_half_of_each_kind() -> None:
    rows = [{"id": str(i), "flagged": i < 20, "score": 0.5} for i in range(200)] + [{"id": "x", "flagged": False, "score": None}]
    drawn = draw_check(rows, 20, 0)
    kinds = list(drawn["flagged"].values())
    assert (sum(kinds), len(kinds), drawn["sizes"]) == (10, 20, [20, 180])
    assert kinds != sorted(kinds, reverse=True), "the order does not tell"
    assert drawn == draw_check(rows, 20, 0) != draw_check(rows, 20, 1)


def test_verdicts_give_precision_and_recall() -> None:
    drawn = {"flagged": {**{f"f{i}": True for i in range(10)}, **{f"o{i}": False for i in range(10)}}, "sizes": [100, 900]}
    verdicts: dict[str, bool | None] = {**{f"f{i}": i < 8 for i in range(10)}, **{f"o{i}": i == 0 for i in range(10)}}
    found = checked(verdicts, drawn, 0)
    assert found["precision"] == 0.8
    assert (round(found["precision_low"], 3), round(found["precision_high"], 3)) == (0.490, 0.943)
    assert found["recall"] == pytest.approx(80 / 170)
    assert found["recall_low"] < found["recall"] < found["recall_high"]
    assert checked({**verdicts, "f9": None}, drawn, 0)["flagged_checked"] == 9
    with pytest.raises(DataError, match=r"not in this run's check\.csv"):
        checked({"zz": True}, drawn, 0)


def test_verdicts_are_read_as_people_write_them() -> None:
    rows = [
        {"id": i, "given": "Cats", "other": "Dogs", "verdict": said}
        for i, said in {"a": " Right", "b": "dogs", "c": "CATS", "d": None, "e": "unclear"}.items()
    ]
    assert read_verdicts(rows, "check.csv") == {"a": False, "b": True, "c": False, "e": None}
    with pytest.raises(DataError, match=r"check\.csv, line 2: verdict 'maybe'"):
        read_verdicts([{"id": "a", "given": "Cats", "other": "", "verdict": "maybe"}], "check.csv")
    with pytest.raises(DataError, match="no row has a verdict yet"):
        read_verdicts(rows[3:4], "check.csv")
