"""Label distributions by kind: `sequence`, `code` and `vote`, each against numbers worked out by hand."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable

import pytest
from fake_client import FakeClient

from llmlabel.annotation import How, ask, settle, unseen_mass
from llmlabel.annotation.annotators import vote
from llmlabel.annotation.label import kind_of
from llmlabel.errors import ConfigError, RequestRejected
from llmlabel.llm.requests import AnyRequest, Completion, Features, Request, ScoreRequest
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Label, Taxonomy

TREE = Taxonomy(labels=[Label(id=i, name=i.title(), description=f"About {i}.") for i in ("cards", "loans", "fees")])
WORDS = Features(schema=True, logprobs=False)
LOGPROBS = Features(schema=True, logprobs=True)
SCORES = Features(schema=True, logprobs=True, score=True)
ONLY_SCORES = Features(schema=False, logprobs=True, score=True, writes=False)


def codes(request: AnyRequest) -> dict[str, str]:
    """Which letter stands for which label's name."""
    assert isinstance(request, Request)
    return {n.strip(): c for c, n in re.findall(r"^([A-Z])\. ([^:\n]+)", request.messages[-1]["content"], re.MULTILINE)}


def label(client: FakeClient, texts: tuple[str, ...] = ("a text",), **more: object) -> list[Annotation]:
    examples = [Example(str(i), t) for i, t in enumerate(texts)]
    return ask(examples, TREE, client, PromptLibrary(), How(use_case="why", **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("features", "wanted", "samples", "found"),
    [
        (ONLY_SCORES, "auto", 1, "sequence"),
        (SCORES, "auto", 5, "code"),
        (LOGPROBS, "auto", 5, "code"),
        (WORDS, "auto", 1, "code"),
        (WORDS, "auto", 2, "vote"),
        (SCORES, "sequence", 1, "sequence"),
        (SCORES, "vote", 3, "vote"),
    ],
)
def test_auto_takes_what_the_model_can_give(features: Features, wanted: str, samples: int, found: str) -> None:
    assert kind_of(FakeClient(lambda r: "A", features), wanted, samples) == found  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("features", "wanted", "samples", "said"),
    [
        (WORDS, "sequence", 1, "cannot score"),
        (WORDS, "code", 1, "no log-probabilities"),
        (LOGPROBS, "vote", 1, "samples"),
    ],
)
def test_what_the_model_cannot_give_is_refused(features: Features, wanted: str, samples: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        label(FakeClient(lambda r: "A", features), probs=wanted, samples=samples)


class TestVote:
    @staticmethod
    def said(names: list[str], asked: list[Request]) -> Callable[[AnyRequest], str]:
        """Answers by the number of the draw."""

        def answer(request: AnyRequest) -> str:
            assert isinstance(request, Request)
            asked.append(request)
            name = names[request.sample]
            return codes(request).get(name, name)

        return answer

    def test_shares_are_counts(self) -> None:
        names = [["Loans"], ["Loans", "Fees"], ["Cards"], ["Loans"], ["None of these"]]
        client = FakeClient(lambda r: " ".join(codes(r)[n] for n in names[r.sample]), WORDS)
        (row,) = label(client, samples=5)
        assert (row.label, row.probs_kind) == ("loans", "vote")
        counts = {"cards": 1, "loans": 3, "fees": 0, "-": 1}
        assert {k: math.exp(v) for k, v in row.probs.items()} == pytest.approx({k: (n + 1 / 4) / 6 for k, n in counts.items()})
        assert sum(map(math.exp, row.probs.values())) == pytest.approx(1)
        (final,) = settle([row], TREE, strength=0.0)
        assert final.confidence == pytest.approx((3 + 1 / 4) / 6)
        assert final.probs_kind == "vote"

    def test_every_draw_is_another_question_at_one_temperature(self) -> None:
        asked: list[Request] = []
        label(FakeClient(self.said(["Loans"] * 12, asked), WORDS), samples=12)
        assert sorted(r.sample for r in asked) == list(range(12))
        assert {r.temperature for r in asked} == {vote.TEMPERATURE}
        assert {r.top_logprobs for r in asked} == {0}
        assert len({tuple(codes(r)) for r in asked}) > 3, "each draw has an order of its own"

    def test_unusable_answers_do_not_count(self) -> None:
        client = FakeClient(self.said(["Loans", "I cannot say", "Loans"], []), WORDS)
        (row,) = label(client, samples=3)
        assert math.exp(row.probs["loans"]) == pytest.approx((2 + 1 / 4) / 3)

    def test_no_usable_answer_is_a_failure(self) -> None:
        (row,) = label(FakeClient(lambda r: "I cannot say", WORDS), samples=3)
        assert (row.status, row.probs) == ("parse_failed", {})

    def test_further_labels_are_those_half_of_the_answers_name(self) -> None:
        both = [("Loans", "Fees"), ("Loans", "Fees"), ("Loans", "Cards"), ("Loans",)]
        client = FakeClient(lambda r: " ".join(codes(r)[n] for n in both[r.sample]), WORDS)
        (row,) = label(client, samples=4)
        assert row.labels == ["loans", "fees"]

    def test_progress_counts_texts(self) -> None:
        done: list[int] = []
        texts = tuple(f"text {i}" for i in range(7))
        label(FakeClient(lambda r: "A", WORDS), texts, samples=4, on_done=done.append)
        assert done == [1] * 7

    def test_shares_find_the_models_own_distribution(self) -> None:
        """A model that says Loans with probability .7 under every letter."""

        def answer(request: AnyRequest) -> str:
            assert isinstance(request, Request)
            names = ["Loans"] * 70 + ["Fees"] * 30
            return codes(request)[names[request.sample * 37 % 100]]

        (row,) = label(FakeClient(answer, WORDS), samples=100)
        assert math.exp(row.probs["loans"]) == pytest.approx(0.7, abs=0.02)


class TestSequence:
    WORTH = {"cards": -1.5, "loans": -0.5, "fees": -4.0, "none of these": -3.0}  # noqa: RUF012

    def scored(self, asked: list[ScoreRequest]) -> Callable[[AnyRequest], Completion]:
        def answer(request: AnyRequest) -> Completion:
            assert isinstance(request, ScoreRequest)
            asked.append(request)
            return Completion(scores=[self.WORTH[c.strip(' "').lower()] for c in request.completions])

        return answer

    def test_a_model_that_only_scores_is_asked_in_plain_text(self) -> None:
        asked: list[ScoreRequest] = []
        (row,) = label(FakeClient(self.scored(asked), ONLY_SCORES))
        assert isinstance(asked[0].prompt, str)
        assert asked[0].completions == [" Cards", " Loans", " Fees"]
        assert (row.label, row.probs_kind) == ("loans", "sequence")
        assert row.probs == {"cards": -1.5, "loans": -0.5, "fees": -4.0}

    def test_a_model_that_writes_is_asked_in_words_for_quoted_names(self) -> None:
        asked: list[ScoreRequest] = []
        (row,) = label(FakeClient(self.scored(asked), SCORES), probs="sequence")
        assert [m["role"] for m in asked[0].prompt] == ["system", "user"]  # type: ignore[union-attr,index]
        assert asked[0].completions == ['"Cards"', '"Loans"', '"Fees"', '"None of these"']
        assert row.prompt == "annotate/classify_name@2.0.0"
        (final,) = settle([row], TREE, strength=0.0)
        whole = sum(map(math.exp, self.WORTH.values()))
        assert final.probs["cards"] == pytest.approx(math.exp(-1.5) / whole, abs=1e-6)
        assert final.confidence == pytest.approx(math.exp(-0.5) / whole, abs=1e-6)

    def test_none_fits(self) -> None:
        client = FakeClient(lambda r: Completion(scores=[-9, -9, -9, -1]), SCORES)
        (row,) = label(client, probs="sequence")
        assert (row.status, row.label, row.labels) == ("none_fits", None, [])
        assert settle([row], TREE, strength=0.0)[0].status == "none_fits"

    def test_a_shortlist_is_what_is_shown_and_scored(self) -> None:
        asked: list[ScoreRequest] = []
        (row,) = label(FakeClient(self.scored(asked), SCORES), probs="sequence", shown={"0": ["fees", "cards"]})
        assert asked[0].completions == ['"Fees"', '"Cards"', '"None of these"']
        assert set(row.probs) == {"fees", "cards", "-"}

    def test_a_text_that_cannot_be_scored_fails_alone(self) -> None:
        def answer(request: AnyRequest) -> Completion:
            assert isinstance(request, ScoreRequest)
            if "long" in request.prompt:
                raise RequestRejected("too long")
            return Completion(scores=[-1, -2, -3])

        rows = label(FakeClient(answer, ONLY_SCORES), ("fine", "long", " "))
        assert [row.status for row in rows] == ["ok", "error", "error"]
        assert [row.reason for row in rows] == ["", "too long", "the text is empty"]


class TestUnseenMass:
    def test_what_no_code_has(self) -> None:
        tops = iter([{"Loans": 0.5, "Cards": 0.3}, {"Fees": 0.9, "Loans": 0.1}])

        def answer(request: AnyRequest) -> Completion:
            at, probs = codes(request), next(tops)
            return Completion(next(iter(at.values())), logprobs={at[n]: math.log(p) for n, p in probs.items()} | {"The": -9.0})

        rows = label(FakeClient(answer, LOGPROBS), ("one", "two"))
        assert Counter(row.probs_kind for row in rows) == {"code": 2}
        assert unseen_mass(rows) == pytest.approx((0.2 + 0.0) / 2, abs=1e-6)

    def test_nothing_to_say_of_other_kinds(self) -> None:
        assert unseen_mass([Annotation("1", "a", "ok", probs={"a": -0.7}, probs_kind="vote")]) is None  # type: ignore[arg-type]
