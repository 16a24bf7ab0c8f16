"""From a panel's answers to labels, confidence, deferral and what is said about them."""

from __future__ import annotations

import numpy as np
import pytest
from llmlabel.flows.steps.annotation import cascade
from llmlabel.flows.steps.annotation.gaps import gaps

from llmlabel.annotation import multi
from llmlabel.annotation.decide import decide
from llmlabel.annotation.panel import Column, Gold, Panel, classes_of, read_given, read_gold
from llmlabel.annotation.truth import measured
from llmlabel.errors import DataError
from llmlabel.records import Annotation, Example, Label, Status, Taxonomy

TREE = Taxonomy(labels=[Label(id=i, name=i.title()) for i in ("cards", "loans", "fees")])
LEAVES = ["cards", "loans", "fees"]


def crowd(rows: int, accuracies: list[float], seed: int = 0, probs: bool = False) -> tuple[Panel, Gold, np.ndarray]:
    """Annotators of known accuracy over `rows` texts; a third of the texts has gold."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(3, size=rows)
    columns = []
    for a, accuracy in enumerate(accuracies):
        sure = np.clip(draw.normal(accuracy, 0.2, rows), 0.34, 0.99)
        right = draw.random(rows) < sure
        said = np.where(right, truth, (truth + draw.integers(1, 3, rows)) % 3)
        answers = {}
        for i in range(rows):
            told = dict.fromkeys(LEAVES, (1 - sure[i]) / 2) | {LEAVES[said[i]]: sure[i]} if probs else {}
            answers[str(i)] = Annotation(
                str(i), LEAVES[said[i]], Status.OK, [LEAVES[said[i]]], probs=told, probs_kind="code" if probs else ""
            )
        columns.append(Column(f"model {a}", "classify", answers))
    known = {str(i): (LEAVES[truth[i]],) for i in range(0, rows, 3)}
    return Panel([str(i) for i in range(rows)], classes_of(TREE), columns), Gold(known), truth


class TestReading:
    def test_gold_is_matched_by_id_or_name_and_strange_values_are_counted(self) -> None:
        rows = [" Cards ", "LOANS", "fees", "cards|fees", "-", "parking", None]
        gold = read_gold([Example(str(i), "x", g) for i, g in enumerate(rows)], TREE)
        assert gold.labels == {"0": ("cards",), "1": ("loans",), "2": ("fees",), "3": ("cards", "fees"), "4": ()}
        assert gold.strange == {"parking": 1}
        panel = Panel([str(i) for i in range(7)], classes_of(TREE), [])
        assert gold.one(panel).tolist() == [0, 1, 2, 0, 3, -1, -1]
        assert gold.many(panel)[3].tolist() == [1, 0, 1, 0] and gold.many(panel)[4].tolist() == [0, 0, 0, 1]

    def test_given_labels_become_columns(self) -> None:
        table = [
            {"id": 1, "label": "CARDS", "confidence": 0.7, "annotator": "a"}, {"id": 1, "label": "loans", "annotator": "b"},
            {"id": 2, "label": "what", "annotator": "a"}, {"id": 2, "label": None, "annotator": "b"},
            {"id": 9, "label": "fees", "annotator": "c"}, {"id": 2, "label": "-", "annotator": "c"},
        ]  # fmt: skip
        columns = {c.name: c for c in read_given(table, ["1", "2"], TREE, "f")}
        assert columns["a"].rows["1"].confidence == 0.7
        assert columns["a"].rows["2"].status is Status.OFF_LIST
        assert columns["c"].rows["2"].status is Status.NONE_FITS and "9" not in columns["c"].rows
        panel = Panel(["1", "2"], classes_of(TREE), list(columns.values()))
        assert panel.votes.tolist() == [[0, 1, -1], [-1, -1, 3]]

    @pytest.mark.parametrize(
        ("table", "said"),
        [([{"row": 1, "label": "x"}], "no column 'id'"), ([{"id": "z", "label": "cards"}], "none of its 1 rows")],
    )
    def test_unusable_files_are_named(self, table: list[dict[str, object]], said: str) -> None:
        with pytest.raises(DataError, match=said):
            read_given(table, ["1"], TREE, "given.csv")


class TestOneLabel:
    def test_stated_accuracy_is_near_the_truth_though_gold_chose_the_consensus(self) -> None:
        gaps_ = []
        for seed in range(3):
            panel, gold, truth = crowd(600, [0.8, 0.7, 0.6], seed)
            made = decide(panel, gold, several=False)
            stated = measured.quality(made)["accuracy"]
            others = np.array([i for i in range(600) if i % 3])
            gaps_.append(stated - float((made.labels[others] == truth[others]).mean()))
        assert abs(np.mean(gaps_)) < 0.03

    def test_the_promise_holds_on_rows_without_gold(self) -> None:
        panel, gold, truth = crowd(1500, [0.85, 0.8], 1, probs=True)
        made = decide(panel, gold, several=False, target=0.9)
        assert made.deferral is not None and made.deferral["threshold"] is not None
        others = np.array([i for i in range(1500) if i % 3 and made.accepted[i]])
        assert (made.labels[others] == truth[others]).mean() > 0.87
        assert {row.status for row in made.rows.values()} == {Status.OK, Status.LOW_CONFIDENCE}

    def test_one_annotator_without_distributions_or_gold_has_no_confidence(self) -> None:
        panel, _, _ = crowd(30, [0.9])
        made = decide(panel, Gold({}), several=False)
        assert np.isnan(made.confidence).all()
        row = made.rows["0"]
        assert row.confidence is None and row.status is Status.OK
        assert measured.quality(made) == {}

    def test_rows_nobody_answered_fail_with_the_reason(self) -> None:
        panel, gold, _ = crowd(60, [0.9, 0.8])
        for column in panel.columns:
            column.rows["7"] = Annotation("7", None, Status.REFUSED, reason="no")  # type: ignore[index]
        made = decide(panel, gold, several=False)
        assert made.rows["7"].status is Status.REFUSED and made.rows["7"].reason == "no"
        assert sum(row.status.failed for row in made.rows.values()) == 1

    @pytest.mark.parametrize("several", [False, True])
    def test_all_abstain(self, several: bool) -> None:
        rows = {str(i): Annotation(str(i), None, Status.PARSE_FAILED, reason="?") for i in range(9)}
        panel = Panel(list(rows), classes_of(TREE), [Column("a", "classify", rows), Column("b", "classify", rows)])
        made = decide(panel, Gold({"0": ("cards",)}), several=several, target=None if several else 0.9)
        assert {row.status for row in made.rows.values()} == {Status.PARSE_FAILED}
        assert measured.agreement(panel, made) is None
        assert measured.quality(made)["accuracy"] == 0.0

    def test_a_table_of_annotators(self) -> None:
        panel, gold, _ = crowd(300, [0.9, 0.6], probs=True)
        made = decide(panel, gold, several=False)
        first, second = measured.by_annotator(panel, made, {"model 0": {"cost": 0.3, "latency": 0.2}})
        assert first["accuracy"] > second["accuracy"]
        assert first["cost_per_1000"] == pytest.approx(1.0) and "cost" not in second
        agreement = measured.agreement(panel, made)
        assert agreement is not None and 0 < agreement["alpha"] < 1 and len(agreement["pairs"]) == 1


class TestSeveralLabels:
    @staticmethod
    def people(rows: int, seed: int) -> tuple[Panel, Gold, np.ndarray]:
        draw = np.random.default_rng(seed)
        truth = draw.random((rows, 3)) < [0.6, 0.3, 0.2]
        truth[~truth.any(axis=1), 0] = True
        answers = {}
        for i in range(rows):
            p = np.clip(np.where(truth[i], 0.7, 0.15) + draw.normal(0, 0.2, 3), 0.01, 0.99)
            named = [LEAVES[k] for k in np.argsort(-p) if p[k] > 0.5] or [LEAVES[int(p.argmax())]]
            told = dict(zip(LEAVES, p.tolist(), strict=True))
            answers[str(i)] = Annotation(str(i), named[0], Status.OK, named, probs=told, probs_kind="vote")
        known = {str(i): tuple(LEAVES[k] for k in np.flatnonzero(truth[i])) for i in range(0, rows, 2)}
        return Panel([str(i) for i in range(rows)], classes_of(TREE), [Column("m", "classify", answers)]), Gold(known), truth

    def test_marginals_are_calibrated_and_sets_hold_the_truth(self) -> None:
        panel, gold, truth = self.people(800, 0)
        made = decide(panel, gold, several=True, epsilon=0.1)
        others = np.arange(1, 800, 2)
        told = multi.scores(made.chosen[others, :3], truth[others])
        assert told["micro_f1"] > 0.8
        assert abs(made.probs[others, :3].mean() - truth[others].mean()) < 0.03
        assert made.sets is not None
        fitted, _ = made.sets
        inside = fitted.p_value(made.probs[others, :3], truth[others]) > 0.1
        assert 0.85 < inside.mean() < 0.95
        assert abs(measured.quality(made)["micro_f1"] - told["micro_f1"]) < 0.05

    def test_without_gold_it_takes_what_was_named_and_says_so(self) -> None:
        panel, _, _ = self.people(50, 1)
        made = decide(panel, Gold({}), several=True)
        assert all(set(row.labels) == set(panel.columns[0].rows[i].labels) for i, row in made.rows.items())
        assert "no gold" in made.why and made.sets is None


class TestCascade:
    @pytest.mark.slow
    def test_the_cheap_one_decides_what_it_can_and_the_promise_holds(self) -> None:
        panel, gold, truth = crowd(1200, [0.75, 0.97], 3, probs=True)
        examples = [Example(i, f"text {i}") for i in panel.ids]
        asked: list[tuple[int, str, int]] = []

        def ask(n: int, part: str, rows: list[Example]) -> Column:
            asked.append((n, part, len(rows)))
            column = panel.columns[n]
            return Column(column.name, "classify", {e.id: column.rows[e.id] for e in rows})

        columns, routed = cascade.run(2, ask, lambda c: 0.1 if "0" in c.name else 1.0, examples, panel.classes, gold, 0.9, 0.1, 0)
        assert asked[:2] == [(0, "gold", 400), (1, "gold", 400)]
        assert asked[2] == (0, "rest", 800) and 0 < asked[3][2] < 800
        made = decide(Panel(panel.ids, panel.classes, columns), gold, several=False)
        cascade.settle(made, routed)
        others = np.array([i for i in range(1200) if i % 3 and made.accepted[i]])
        assert len(others) > 500
        assert (made.labels[others] == truth[others]).mean() > 0.87
        assert made.cascade is not None and made.cascade["saving"] > 0
        assert np.allclose(made.probs.sum(axis=1), 1)


def test_gaps_group_what_no_label_fits_and_propose_labels() -> None:
    texts = {f"r{i}": Example(f"r{i}", f"lost umbrella number {i}") for i in range(20)}
    texts |= {f"c{i}": Example(f"c{i}", f"card payment {i}") for i in range(40)}
    rows = [Annotation(i, None, Status.NONE_FITS) if i[0] == "r" else Annotation(i, "cards", Status.OK, ["cards"]) for i in texts]

    def encode(some: list[str]) -> np.ndarray:
        draw = np.random.default_rng(0)
        found = np.array([[1.0, 0.0] if "umbrella" in t else [0.0, 1.0] for t in some]) + draw.normal(0, 0.01, (len(some), 2))
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    found, proposed = gaps(rows, texts, TREE, encode, 0)
    assert found["none_fits"] == 20 and found["low"] < 1 / 3 < found["high"]
    assert len(proposed) == 1 and "umbrella" in proposed[0].name.lower()
    assert found["proposals"][0]["rows"] >= 10
    assert gaps([], {}, TREE, encode, 0) == ({}, [])
