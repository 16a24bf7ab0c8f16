"""Three guesses with probabilities: what is read, what is refused, and the hybrid's formula by hand."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_client import FakeClient
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.annotation import How, settle
from llmlabel.annotation.annotators import hybrid, top_k
from llmlabel.errors import ConfigError
from llmlabel.llm.requests import Completion, Features, Request
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Label, Status, Taxonomy

WORDS = "cards loans fees fraud staff".split()
TREE = Taxonomy(labels=[Label(id=w, name=w.title()) for w in WORDS])
ROW = Example("0", "my cards")
REAL = json.loads((Path(__file__).parents[1] / "golden" / "top_k_answers.json").read_text(encoding="utf-8"))


def ask(way: object, said: Iterator[str] | str, tree: Taxonomy = TREE, **how: object) -> Annotation:
    """One row, answers in words: `{cards} 70` stands for the code of cards."""

    def answer(request: Request) -> str:
        at = {n.lower(): c for c, n in re.findall(r"^([A-Z])\. ([^:\n]+)", request.messages[-1]["content"], re.MULTILINE)}
        at["none"] = at["none of these"]
        return (said if isinstance(said, str) else next(said)).format(**{k.split()[0]: v for k, v in at.items()})

    client = FakeClient(answer, Features(schema=True))
    (row,) = way.annotate([ROW], tree, client, PromptLibrary(), How(use_case="why", **how))  # type: ignore[attr-defined, arg-type]
    return row


@pytest.mark.parametrize("real", REAL, ids=range(len(REAL)))
def test_real_answers_of_a_small_model(real: dict[str, object]) -> None:
    """Of Qwen2.5-Coder-1.5B, under several wordings of the prompt."""
    assert [list(g) for g in top_k.guesses(str(real["answer"]), str(real["finish"]))] == real["guesses"]


@pytest.mark.parametrize(
    ("said", "found"),
    [("B 70\nD 20\nC 10", {"B": 70, "D": 20, "C": 10}), ("B 70, D 20, C 10", {"B": 70, "D": 20, "C": 10}),
     ("1. **B** 70%\n2. (D) 20%", {"B": 70, "D": 20}), ("Answer: B 0.7, C 0.2", {"B": 70, "C": 20}),
     ("B. Web 2.0: 90%", {"B": 90}), ("B 33,3\nC 20", {"B": 33.3, "C": 20}), ("C 10\nB 70", {"B": 70, "C": 10}),
     ("B 1\nC 1", {"B": 1, "C": 1}), ("B 70\nB 10", {"B": 70}),
     ("", {}), ("70", {}), ("B", {}), ("B 700", {}), ("B 101", {}), ("B 0", {}), ("A score of 70", {}), ("Good 88%\nB 5", {})],
)  # fmt: skip
def test_what_is_read(said: str, found: dict[str, float]) -> None:
    assert dict(top_k.guesses(said)) == pytest.approx(found)


@given(
    st.permutations("ABCDEFG"), st.lists(st.integers(1, 100), min_size=1, max_size=3), st.sampled_from(["\n", ", ", " ", "%\n"])
)
def test_well_formed_answers_are_read_back(codes: list[str], shares: list[int], between: str) -> None:
    said = dict(zip(codes, shares, strict=False))
    assert dict(top_k.guesses(between.join(f"{code} {share}" for code, share in said.items()))) == said


@given(st.text(max_size=60), st.sampled_from(["stop", "length"]))
def test_any_text_is_read_or_refused(text: str, finish: str) -> None:
    found = top_k.guesses(text, finish)
    assert all(0 <= share <= 100 for _, share in found)
    assert found == sorted(found, key=lambda pair: -pair[1])


def test_half_a_number_at_the_token_limit_does_not_count() -> None:
    assert top_k.guesses("B 70\nD 2", "length") == [("B", 70.0)]
    assert top_k.guesses("B 7", "length") == []


class TestTopK:
    def test_shares_become_a_distribution(self) -> None:
        row = ask(top_k, "{fees} 60\n{cards} 20\n{none} 10")
        assert (row.label, row.status, row.probs_kind, row.confidence) == ("fees", Status.OK, "stated", 0.6)
        probs = {label: math.exp(p) for label, p in row.probs.items()}
        assert sum(probs.values()) == pytest.approx(1)
        assert probs["fees"] == pytest.approx(0.6) and probs["-"] == pytest.approx(0.1)
        assert probs["loans"] == probs["staff"] == pytest.approx(0.1 / 3)
        (done,) = settle([row], TREE, strength=0.0)
        assert done.label == "fees"

    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.integers(1, 100), min_size=1, max_size=3))
    def test_the_distribution_names_the_label_said(self, shares: list[int]) -> None:
        said = "\n".join(f"{{{word}}} {share}" for word, share in zip(WORDS, shares, strict=False))
        row = ask(top_k, said)
        assert row.label == WORDS[shares.index(max(shares))] == max(row.probs, key=lambda k: row.probs[k])
        assert sum(map(math.exp, row.probs.values())) == pytest.approx(1) and max(row.probs.values()) < 0
        assert 0 < (row.confidence or 0) <= 1

    @pytest.mark.parametrize(
        ("said", "status"),
        [("{none} 60\n{cards} 40", Status.NONE_FITS), ("Z 70\n{cards} 20", Status.OFF_LIST), ("no idea", Status.PARSE_FAILED)],
    )
    def test_other_ends(self, said: str, status: Status) -> None:
        row = ask(top_k, said)
        assert row.status is status and row.label is None and bool(row.reason) is status.failed

    def test_refused_and_truncated(self) -> None:
        for answer, status in [(Completion(refusal="no"), Status.REFUSED), (Completion("A. Ca", "length"), Status.TRUNCATED)]:
            client = FakeClient(lambda r, a=answer: a, Features())
            (row,) = top_k.annotate([ROW], TREE, client, PromptLibrary(), How())
            assert row.status is status and row.reason

    def test_one_label_of_a_question_only(self) -> None:
        many = Taxonomy(labels=[Label(id=f"l{i}", name=f"L{i}") for i in range(30)])
        for how in ({"multi": True}, {}):
            with pytest.raises(ConfigError, match="25 at most"):
                ask(top_k, "A 1", TREE if how else many, **how)


class TestHybrid:
    def test_the_formula_by_hand(self) -> None:
        """fees .7, cards .6, fees .5, unreadable: ((.7+.7)/2 + (1-.6) + (.7+.5)/2 + 0) / 4 = .425"""
        said = iter(["{fees} 70\n{cards} 30", "{cards} 60\n{fees} 40", "{fees} 50", "well"])
        row = ask(hybrid, said, samples=4)
        assert (row.label, row.status) == ("fees", Status.OK)
        assert row.confidence == pytest.approx(0.425)
        assert math.exp(row.probs["fees"]) == pytest.approx(0.425)
        assert sum(map(math.exp, row.probs.values())) == pytest.approx(1)

    def test_at_a_tie_the_first_seen(self) -> None:
        row = ask(hybrid, iter(["{loans} 40", "{cards} 90", "{fees} 90"]), samples=3)
        assert row.label == "loans" and row.confidence == pytest.approx((0.4 + 0.1 + 0.1) / 3)
        (done,) = settle([row], TREE, strength=0.0)
        assert done.label == "loans", "even where the formula gives less than an even share"

    def test_none_fits_can_win_and_nothing_readable_fails(self) -> None:
        row = ask(hybrid, iter(["{none} 60", "{cards} 90", "{none} 90"]))
        assert row.status is Status.NONE_FITS and row.label is None and not row.labels
        assert ask(hybrid, iter(["x", "y", "z"])).status is Status.PARSE_FAILED

    def test_three_answers_at_least_each_with_its_own_order_and_temperature(self) -> None:
        seen: list[Request] = []

        def answer(request: Request) -> str:
            seen.append(request)
            return "A 90"

        hybrid.annotate([ROW], TREE, FakeClient(answer, Features()), PromptLibrary(), How(samples=1))
        assert {r.temperature for r in seen} == {0.7} and [r.sample for r in seen] == [0, 1, 2]
        assert len({r.messages[-1]["content"] for r in seen}) == 3

    @given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.floats(0, 1)), min_size=1, max_size=6))
    def test_confidence_is_one(self, answers: list[tuple[str | None, float]]) -> None:
        best, sure = [a for a, _ in answers], [c for _, c in answers]
        if any(best):
            winner, told = hybrid.confidence(best, sure)
            assert 0 <= told <= 1 and best.count(winner) == max(best.count("a"), best.count("b"))
