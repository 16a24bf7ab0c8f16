"""Reading a labeller's answers: codes, their distribution, and every way an answer can be unusable."""

from __future__ import annotations

import math

import pytest
from fake_client import FakeClient

from llmlabel.annotation import How
from llmlabel.annotation.annotators import classify
from llmlabel.errors import ConfigError
from llmlabel.llm.requests import Completion, Features, Request
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Label, Taxonomy

TREE = Taxonomy(labels=[Label(id=i, name=i.title(), description=f"About {i}.") for i in ("cards", "loans", "fees")])
PROMPT = PromptLibrary().get(classify.PROMPTS["one"])


def codes(request: Request) -> dict[str, str]:
    import re

    return {n.strip(): c for c, n in re.findall(r"^([A-Z])\. ([^:\n]+)", request.messages[-1]["content"], re.MULTILINE)}


def label(answer: object, texts: tuple[str, ...] = ("a text",), **more: object) -> list[Annotation]:
    client = FakeClient(answer, Features(schema=True, logprobs=True))  # type: ignore[arg-type]
    examples = [Example(str(i), t) for i, t in enumerate(texts)]
    return classify.annotate(examples, TREE, client, PromptLibrary(), How(use_case="why", **more))  # type: ignore[arg-type]


def test_the_code_is_read_back_to_its_label_whatever_the_order() -> None:
    texts = tuple(f"text {i}" for i in range(20))
    rows = label(lambda r: f"{codes(r)['Loans']} {codes(r)['Fees']}", texts)
    assert {row.label for row in rows} == {"loans"}
    assert {tuple(row.labels) for row in rows} == {("loans", "fees")}
    assert {row.prompt for row in rows} == {PROMPT.id}


def test_labels_stand_in_another_order_for_every_text() -> None:
    seen: set[str] = set()
    label(lambda r: seen.add(codes(r)["Loans"]) or "A", tuple(f"text {i}" for i in range(30)))
    assert seen == {"A", "B", "C"}


def test_the_distribution_is_over_labels_and_variants_of_a_code_add_up() -> None:
    def answer(request: Request) -> Completion:
        at = codes(request)
        tops = {at["Loans"]: math.log(0.5), f" {at['Loans']}": math.log(0.2), at["Cards"]: math.log(0.2), "zzz": math.log(0.1)}
        return Completion(text=at["Loans"], logprobs=tops)

    (row,) = label(answer)
    assert row.probs_kind == "code"
    assert math.exp(row.probs["loans"]) == pytest.approx(0.7)
    assert set(row.probs) == {"loans", "cards"}


@pytest.mark.parametrize("form", ["{}", " {} ", "{}.", "{}: Loans", "Answer: {}", "answer {}", "**{}**", "({})"])
def test_a_code_is_read_however_it_is_written(form: str) -> None:
    (row,) = label(lambda r: form.format(codes(r)["Loans"]))
    assert row.label == "loans"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (lambda r: codes(r)["None of these"], "none_fits"),
        (lambda r: "I think it is about loans", "parse_failed"),
        (lambda r: "Z", "off_list"),
        (lambda r: "42!", "parse_failed"),
        (lambda r: Completion(refusal="I cannot"), "refused"),
        (lambda r: Completion(text="", finish="length"), "truncated"),
    ],
)
def test_every_unusable_answer_has_its_status(answer: object, status: str) -> None:
    (row,) = label(answer)
    assert (row.status, row.label) == (status, None)
    assert row.reason or status == "none_fits"


def test_an_answer_off_the_list_is_asked_for_once_more() -> None:
    asked: list[Request] = []

    def answer(request: Request) -> str:
        asked.append(request)
        return "sorry?" if len(asked) == 1 else codes(request)["Fees"]

    (row,) = label(answer)
    assert row.label == "fees"
    assert len(asked) == 2
    assert "Answer with codes" in asked[1].messages[-1]["content"]


def test_too_many_labels_need_a_shortlist() -> None:
    many = Taxonomy(labels=[Label(id=f"l{i}", name=f"Name {i}") for i in range(40)])
    client = FakeClient(lambda r: "A", Features(schema=True, logprobs=False))
    with pytest.raises(ConfigError, match="shortlist"):
        classify.annotate([Example("0", "x")], many, client, PromptLibrary(), How())
    (row,) = classify.annotate([Example("0", "x")], many, client, PromptLibrary(), How(shown={"0": ["l7"]}))
    assert row.label == "l7"
