"""Every way to annotate, on one contract; and what each of them is for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import pytest
from fake_client import FakeClient
from hypothesis import given
from hypothesis import strategies as st

from llmlabel.annotation import How, Shot, ask, settle
from llmlabel.annotation.annotators import annotator, classify, descent, few_shot, names, nearest, rank, shortlist
from llmlabel.annotation.calibration.order_bias import FEWEST_ROWS, code_prior, flip_rate, without_prior
from llmlabel.errors import ConfigError, RequestRejected
from llmlabel.llm.requests import AnyRequest, Completion, Features, Request, ScoreRequest
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Label, Status, Taxonomy

WORDS = "cards loans fees fraud".split()
TREE = Taxonomy(labels=[Label(id=w, name=w.title(), description=f"About {w}.") for w in WORDS])
CAN = Features(schema=True, logprobs=True, score=True)
DEEP = Taxonomy(
    labels=[Label(id=w, name=w.title(), description="") for w in ("money", "people")]
    + [Label(id=w, name=w.title(), parent="money") for w in WORDS]
    + [Label(id=w, name=w.title(), parent="people") for w in ("staff", "branches")]
)


def encode(texts: Sequence[str]) -> np.ndarray:
    """Vectors by the words a text holds."""
    known = [*WORDS, "staff", "branches", "other"]
    rows = np.array([[float(w in t.lower()) + 0.01 for w in known] for t in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def codes(request: Request) -> dict[str, str]:
    return {n.strip().lower(): c for c, n in re.findall(r"^([A-Z])\. ([^:\n]+)", request.messages[-1]["content"], re.MULTILINE)}


def text_of(request: AnyRequest) -> str:
    said = request.prompt if isinstance(request, ScoreRequest) else request.messages
    whole = said if isinstance(said, str) else said[-1]["content"]
    return whole.rsplit("Text:", 1)[1].split("Candidates:")[0].lower()


PARENT = dict.fromkeys(WORDS, "money") | {"staff": "people", "branches": "people"}


def sensible(request: AnyRequest) -> str | Completion:
    """Answers by the label's word in the text; "none of these" where there is none."""
    text = text_of(request)
    if "broken" in text:
        raise RequestRejected("too long")
    found = [w for w in (*WORDS, "staff", "branches") if w in text]
    if isinstance(request, ScoreRequest):
        return Completion(scores=[-1.0 if any(w in c.lower() for w in found) else -5.0 for c in request.completions])
    if "order candidates" in request.messages[0]["content"]:
        shown = re.findall(r"^([A-Z]):\n<data \w+>\n(.*)\n", request.messages[-1]["content"], re.MULTILINE)
        return " ".join(c for c, t in sorted(shown, key=lambda pair: not any(w in pair[1].lower() for w in found)))
    at = codes(request)
    if "in percent" in request.messages[-1]["content"]:
        return f"{at[found[0]] if found else at['none of these']} 90"
    named = [at[w] for w in dict.fromkeys([*found, *(PARENT[w] for w in found)]) if w in at] or [at["none of these"]]
    return Completion(text=" ".join(named), logprobs={c: math.log(0.9 if c == named[0] else 0.02) for c in at.values()})


GOLD = [Example(f"g{i}", f"{w} again", w) for i, w in enumerate(WORDS)]
TEXTS = ["my cards", "the fees are high", "loans please", "fraud!"]
ROWS = [Example(str(i), text) for i, text in enumerate(TEXTS)]


@pytest.mark.parametrize("name", names())
class TestEveryWay:
    def rows(self, name: str, examples: Sequence[Example], **how: object) -> list[Annotation]:
        full = How(**{"use_case": "why", "encode": encode, "gold": GOLD, "samples": 2, **how})  # type: ignore[arg-type]
        return annotator(name).annotate(examples, TREE, FakeClient(sensible, CAN), PromptLibrary(), full)

    def test_one_annotation_per_text_in_order_with_a_distribution(self, name: str) -> None:
        rows = self.rows(name, ROWS)
        assert [row.id for row in rows] == ["0", "1", "2", "3"]
        assert [row.label for row in rows] == ["cards", "fees", "loans", "fraud"]
        for row in settle(rows, TREE, strength=0.0):
            assert row.probs_kind
            assert row.confidence == pytest.approx(max(row.probs.values()), abs=1e-5)
            assert sum(row.probs.values()) <= 1.0001

    def test_a_request_that_fails_is_that_row_only(self, name: str) -> None:
        if name == "nearest":
            pytest.skip("asks nobody")
        rows = self.rows(name, [ROWS[0], Example("x", "broken"), ROWS[1]])
        assert [row.status.failed for row in rows] == [False, True, False]
        assert rows[1].reason and rows[1].label is None

    def test_the_same_question_gets_the_same_answer(self, name: str) -> None:
        assert self.rows(name, ROWS) == self.rows(name, ROWS)

    def test_progress_counts_every_text_once_a_question_at_least(self, name: str) -> None:
        seen: list[int] = []
        self.rows(name, ROWS, on_done=seen.append)
        assert sum(seen) >= len(ROWS)

    def test_prompts_it_may_use_are_there(self, name: str) -> None:
        assert set(annotator(name).PROMPTS.values()) <= set(PromptLibrary().ids())

    def test_nothing_to_label_is_no_error(self, name: str) -> None:
        assert self.rows(name, []) == []


def test_an_unknown_way_answers_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="classify.*descent.*nearest"):
        annotator("guess")


class TestMulti:
    def test_all_labels_that_are_named(self) -> None:
        rows = ask([Example("0", "fees on cards")], TREE, FakeClient(sensible, CAN), PromptLibrary(), How(multi=True))
        assert set(rows[0].labels) == {"fees", "cards"}
        assert "classify_multi" in rows[0].prompt

    def test_votes_of_every_label_are_counted_alone(self) -> None:
        said = iter(["cards fees", "cards", "cards fees loans"])

        def answer(request: Request) -> str:
            at = codes(request)
            return " ".join(at[w] for w in next(said).split())

        how = How(multi=True, samples=3, probs="vote")
        (row,) = ask([Example("0", "x")], TREE, FakeClient(answer, Features(schema=True)), PromptLibrary(), how)
        assert row.labels == ["cards", "fees"]
        (done,) = settle([row], TREE, multi=True)
        assert done.probs["cards"] == pytest.approx(3.5 / 4)
        assert done.probs["loans"] == pytest.approx(1.5 / 4)


class TestStated:
    @pytest.mark.parametrize(
        ("said", "status", "sure"),
        [("A 70", Status.OK, 0.7), ("A. 100%", Status.OK, 0.99), ("A, confidence: 55", Status.OK, 0.55),
         ("(A) 0", Status.OK, 0.21),
         ("70", Status.PARSE_FAILED, None), ("A 700", Status.PARSE_FAILED, None), ("Z 70", Status.OFF_LIST, None),
         ("I am not sure", Status.PARSE_FAILED, None)],
    )  # fmt: skip
    def test_a_letter_and_a_number(self, said: str, status: Status, sure: float | None) -> None:
        client = FakeClient(lambda r: said, Features(schema=True))
        (row,) = annotator("stated").annotate(ROWS[:1], TREE, client, PromptLibrary(), How())
        assert row.status is status
        if sure:
            (done,) = settle([row], TREE, strength=0.0)
            assert done.confidence == pytest.approx(sure, abs=1e-4) and done.label == row.label


class TestDescent:
    def test_walks_to_the_leaf_and_multiplies_along_the_path(self) -> None:
        asked: list[set[str]] = []

        def answer(request: Request) -> str | Completion:
            asked.append(set(codes(request)))
            return sensible(request)

        (row,) = descent.annotate([Example("0", "two fees")], DEEP, FakeClient(answer, CAN), PromptLibrary(), How())
        assert row.label == "fees"
        assert asked == [{"money", "people", "none of these"}, {*WORDS, "none of these"}]
        assert math.exp(row.probs["staff"]) == pytest.approx(math.exp(row.probs["branches"]))
        (done,) = settle([row], DEEP, strength=0.0)
        assert done.label == "fees" and max(done.probs, key=lambda k: done.probs[k]) == "fees"

    def test_where_no_child_fits_the_row_says_under_which_parent(self) -> None:
        def answer(request: Request) -> str:
            at = codes(request)
            return at["money"] if "money" in at else at["none of these"]

        (row,) = descent.annotate([Example("0", "x")], DEEP, FakeClient(answer, Features(schema=True)), PromptLibrary(), How())
        assert row.status is Status.NONE_FITS and "money" in row.reason

    def test_one_branch_only(self) -> None:
        with pytest.raises(ConfigError, match="multi-label"):
            descent.annotate(ROWS, DEEP, FakeClient(sensible, CAN), PromptLibrary(), How(multi=True))


class TestShortlist:
    MANY = Taxonomy(labels=[*TREE.labels, *(Label(id=f"l{i}", name=f"Label {i}") for i in range(100))])

    def test_the_nearest_labels_are_shown_and_the_right_one_is_among_them(self) -> None:
        found = shortlist.likeliest(ROWS, self.MANY, How(encode=encode), 5)
        assert [row[0] for row in found.values()] == ["cards", "fees", "loans", "fraud"]
        rows = shortlist.annotate(ROWS, self.MANY, FakeClient(sensible, CAN), PromptLibrary(), How(encode=encode))
        assert [row.label for row in rows] == ["cards", "fees", "loans", "fraud"]

    def test_a_gold_example_brings_its_label_in_but_never_its_own(self) -> None:
        gold = [Example("0", "my cards", "l7")]
        how = How(encode=encode, gold=gold)
        assert shortlist.likeliest([Example("other", "my cards")], self.MANY, how, 3)["other"][0] in ("l7", "cards")
        assert "l7" not in shortlist.likeliest([Example("0", "my cards")], self.MANY, how, 1)["0"]


class TestFewShot:
    def test_the_nearest_gold_rows_stand_before_the_question_nearest_last(self) -> None:
        seen: list[str] = []

        def answer(request: Request) -> str | Completion:
            seen.append(request.messages[-1]["content"])
            return sensible(request)

        how = How(encode=encode, gold=GOLD, few_shot=2)
        few_shot.annotate([ROWS[1]], TREE, FakeClient(answer, CAN), PromptLibrary(), how)
        assert seen[0].index("fees again") < seen[0].index("the fees are high")
        assert seen[0].count("Answer: ") == 2

    def test_never_the_row_itself_nor_its_text(self) -> None:
        how = How(encode=encode, gold=[*GOLD, Example("0", "twin", "fees"), Example("t", "my cards", "fees")], few_shot=10)
        (shots,) = few_shot.nearest_shots([ROWS[0]], how).values()
        assert {"twin", "my cards"}.isdisjoint(shot.text for shot in shots)

    def test_without_gold_it_says_where_gold_comes_from(self) -> None:
        with pytest.raises(ConfigError, match="gold-column"):
            few_shot.nearest_shots(ROWS, How(encode=encode))

    def test_shots_whose_label_is_not_shown_are_left_out(self) -> None:
        how = How(shots={"0": [Shot("a", ["cards"]), Shot("b", ["fees"]), Shot("c", [])]})
        assert [text for text, _ in how.solved("0", [TREE["cards"]])] == ["a", "c"]


class TestNearest:
    def test_its_own_gold_is_not_used(self) -> None:
        gold = [Example("0", "my cards", "fraud")]
        (row,) = nearest.annotate([ROWS[0]], TREE, None, None, How(encode=encode, gold=gold))
        assert row.label == "cards"
        (other,) = nearest.annotate([Example("new", "my cards")], TREE, None, None, How(encode=encode, gold=gold))
        assert other.label == "fraud"


class TestRank:
    def test_the_second_draw_shows_the_reverse_order(self) -> None:
        seen: list[list[str]] = []

        def answer(request: Request) -> str:
            seen.append(re.findall(r"<data \w+>\n(.*)\n</data", request.messages[-1]["content"])[1:])
            return "A B C"

        contest = rank.Contest("0", "text", ["one", "two", "three"])
        (ranking,) = rank.order([contest], "Order.", FakeClient(answer, CAN), PromptLibrary(), How())
        assert seen[0] == seen[1][::-1]
        assert ranking.agreement == pytest.approx(0.0), "a model that looks at places only contradicts itself"
        assert ranking.points == pytest.approx([0.5, 0.5, 0.5])

    @given(st.permutations(range(5)))
    def test_a_model_with_an_opinion_is_read_back(self, wanted: list[int]) -> None:
        def answer(request: Request) -> str:
            shown = re.findall(r"^([A-Z]):\n<data \w+>\n(\d)\n", request.messages[-1]["content"], re.MULTILINE)
            return " ".join(c for c, i in sorted(shown, key=lambda pair: wanted.index(int(pair[1]))))

        contest = rank.Contest("0", "text", [str(i) for i in range(5)])
        (ranking,) = rank.order([contest], "Order.", FakeClient(answer, CAN), PromptLibrary(), How())
        assert ranking.order == wanted and ranking.agreement == pytest.approx(1.0)


class TestOrderBias:
    def test_flip_rate_counts_usable_pairs(self) -> None:
        def row(label: str | None, status: Status = Status.OK) -> Annotation:
            return Annotation("0", label, status)

        first = [row("a"), row("b"), row("a"), row(None, Status.ERROR)]
        again = [row("a"), row("a"), row("a"), row("a")]
        found = flip_rate(first, again)
        assert (found["rows"], found["flipped"]) == (3, 1)
        assert found["low"] < 1 / 3 < found["high"]
        assert flip_rate([row(None, Status.ERROR)], [row("a")]) == {"rows": 0}

    def test_a_letter_a_model_likes_is_found_and_taken_out(self) -> None:
        """A model adds 2 nats to code A whatever stands there, and otherwise knows the label."""
        examples = [Example(str(i), WORDS[i % 4]) for i in range(2 * FEWEST_ROWS)]

        def answer(request: Request) -> Completion:
            at = codes(request)
            right = at[text_of(request).split("\n")[2].strip()]
            scores = {c: (1.0 if c == right else 0.0) + (2.0 if c == "A" else 0.0) for c in at.values()}
            total = math.log(sum(map(math.exp, scores.values())))
            return Completion(text=max(scores, key=lambda c: scores[c]), logprobs={c: s - total for c, s in scores.items()})

        rows = classify.annotate(examples, TREE, FakeClient(answer, CAN), PromptLibrary(), How())
        wrong = sum(row.label != e.text for row, e in zip(rows, examples, strict=True))
        assert wrong > len(rows) / 2
        at = [{label.id: c for c, label in classify.in_order(e.id, TREE.leaves, How()).items()} for e in examples]
        prior = code_prior(rows, at)
        assert prior["A"] - prior["B"] == pytest.approx(2.0, abs=0.3)
        without_prior(rows, at, prior)
        mended = settle(rows, TREE, strength=0.0)
        assert all(row.label == e.text for row, e in zip(mended, examples, strict=True))

    def test_too_few_rows_say_nothing(self) -> None:
        assert code_prior([Annotation("0", "a", Status.OK, probs={"a": -0.1}, probs_kind="code")], [{"a": "A"}]) == {}
