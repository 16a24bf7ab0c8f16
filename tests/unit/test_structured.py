"""From a form to a schema to an answer, with one second try."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from fake_openai import FakeOpenAI, fill, prompt_of
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from llmlabel.errors import AnswerError, LlmlabelError
from llmlabel.llm import Client, Ledger
from llmlabel.llm.backends.scripted import ScriptedBackend
from llmlabel.llm.prices import Prices
from llmlabel.llm.requests import Completion, Features, Request
from llmlabel.llm.structured import Question, ask, ask_all, parse_answer, strict_schema
from llmlabel.records import Status


class Row(BaseModel):
    title: str = Field(description="its name")
    default: int = 3
    weight: float = Field(0.5, ge=0, le=1)


class Form(BaseModel):
    label: Literal["a", "b"]
    rows: list[Row] = []
    note: str | None = None
    nested: Row | None = None


class Choice(BaseModel):
    label: str


def question(text: str = "which?", **more: Any) -> Question[Choice]:
    return Question([{"role": "system", "content": "s"}, {"role": "user", "content": text}], Choice, **more)


class Script:
    """Answers from a list, in turn; remembers what it was asked."""

    def __init__(self, tmp_path: Path, *answers: str | Completion, schema: bool = False) -> None:
        self.answers, self.asked = list(answers), list[Request]()
        backend = ScriptedBackend(self.__call__, "script", Features(schema=schema, logprobs=False))
        self.client = Client(backend, Ledger(tmp_path), Prices().of(backend), concurrency=1)

    def __call__(self, request: Any) -> str | Completion:
        self.asked.append(request)
        return self.answers[len(self.asked) - 1]


class TestStrictSchema:
    def test_every_object_requires_all_and_allows_no_more(self) -> None:
        objects = list(_objects(strict_schema(Form)))
        assert len(objects) == 2
        for node in objects:
            assert node["additionalProperties"] is False
            assert node["required"] == list(node["properties"])

    def test_defaults_and_titles_are_left_out_but_fields_of_that_name_stay(self) -> None:
        schema = strict_schema(Form)
        row = schema["$defs"]["Row"]
        assert set(row["properties"]) == {"title", "default", "weight"}
        assert row["properties"]["title"]["description"] == "its name"
        assert not list(_keywords(schema) & {"default", "title"})

    @given(st.integers(0, 10**9))
    def test_what_satisfies_the_schema_is_read_back(self, number: int) -> None:
        schema = strict_schema(Form)
        raw = fill(schema, schema, number)
        parsed = parse_answer(Form, Completion(json.dumps(raw, ensure_ascii=False)))
        assert parsed.model_dump() == raw


class TestParse:
    @pytest.mark.parametrize(
        "text",
        [
            '{"label": "x"}',
            '```json\n{"label": "x"}\n```',
            'Sure! Here it is:\n{"label": "x"}\nAnything else?',
            '\ufeff  {"label": "x"}',
            '{"label": "x", "more": 1}',
        ],
    )
    def test_reads_what_models_write(self, text: str) -> None:
        assert parse_answer(Choice, Completion(text)) == Choice(label="x")

    @pytest.mark.parametrize(
        ("answer", "status"),
        [
            (Completion("no JSON here"), Status.PARSE_FAILED),
            (Completion(""), Status.PARSE_FAILED),
            (Completion("[1, 2]"), Status.PARSE_FAILED),
            (Completion('{"lab": "x"}'), Status.PARSE_FAILED),
            (Completion('{"label": 4}'), Status.PARSE_FAILED),
            (Completion('{"label": "\\ud800"}'), Status.PARSE_FAILED),
            (Completion("[" * 100_000), Status.PARSE_FAILED),
            (Completion('{"label":' * 50_000 + "}"), Status.PARSE_FAILED),
            (Completion('{"label": ' + "9" * 9999 + "}"), Status.PARSE_FAILED),
            (Completion('{"label": "unfinis', finish="length"), Status.TRUNCATED),
            (Completion("", refusal="no"), Status.REFUSED),
            (Completion('{"label": "x"}', finish="content_filter"), Status.REFUSED),
        ],
    )
    def test_says_what_is_wrong(self, answer: Completion, status: Status) -> None:
        with pytest.raises(AnswerError) as error:
            parse_answer(Choice, answer)
        assert error.value.status == status
        assert error.value.reason

    @given(st.text(st.characters(codec=None)), st.sampled_from(["stop", "length", "content_filter"]))
    def test_any_text_is_an_answer_or_an_answer_error(self, text: str, finish: str) -> None:
        result: Choice | AnswerError
        try:
            result = parse_answer(Choice, Completion(text, finish))
        except AnswerError as e:
            result = e
        assert isinstance(result, Choice) or Status(result.status).failed


class TestAsk:
    def test_a_good_answer_is_asked_for_once(self, tmp_path: Path) -> None:
        script = Script(tmp_path, '{"label": "x"}')
        assert ask(script.client, question(), "s").label == "x"
        assert len(script.asked) == 1

    def test_the_reason_is_sent_back_once(self, tmp_path: Path) -> None:
        script = Script(tmp_path, '{"labl": "x"}', '{"label": "y"}')
        assert ask(script.client, question(), "s").label == "y"
        first, second = (r.messages for r in script.asked)
        assert [m["role"] for m in second] == [m["role"] for m in first]
        assert second[0] == first[0]
        assert "could not be used" not in first[-1]["content"]
        assert "label: Field required" in second[-1]["content"]
        assert second[-1]["content"].startswith("which?")

    def test_after_the_second_try_it_is_a_status(self, tmp_path: Path) -> None:
        script = Script(tmp_path, "nonsense", "nonsense still", '{"label": "too late"}')
        [result] = ask_all(script.client, [question()], "s")
        assert isinstance(result, AnswerError)
        assert result.status == Status.PARSE_FAILED
        assert len(script.asked) == 2

    def test_a_check_may_refuse_with_its_own_reason_or_improve(self, tmp_path: Path) -> None:
        def check(found: Choice) -> Choice:
            if found.label == "z":
                raise AnswerError(Status.OFF_LIST, "there is no label z")
            return Choice(label=found.label.upper())

        script = Script(tmp_path, '{"label": "z"}', '{"label": "a"}')
        assert ask(script.client, question(check=check), "s").label == "A"
        assert "there is no label z" in script.asked[1].messages[-1]["content"]

    def test_only_the_failed_ones_are_asked_again_and_order_is_kept(self, tmp_path: Path) -> None:
        script = Script(tmp_path, '{"label": "0"}', "?", '{"label": "2"}', '{"label": "1"}')
        results = ask_all(script.client, [question(f"q{i}") for i in range(3)], "s")
        assert [r.label for r in results if isinstance(r, Choice)] == ["0", "1", "2"]
        assert len(script.asked) == 4

    def test_a_schema_is_sent_only_to_those_who_keep_it(self, tmp_path: Path) -> None:
        with_schema = Script(tmp_path / "a", '{"label": "x"}', schema=True)
        without = Script(tmp_path / "b", '{"label": "x"}')
        ask(with_schema.client, question(), "s")
        ask(without.client, question(), "s")
        assert with_schema.asked[0].schema == strict_schema(Choice)
        assert with_schema.asked[0].messages[-1]["content"] == "which?"
        assert without.asked[0].schema is None
        assert '"required": ["label"]' in without.asked[0].messages[-1]["content"]

    def test_a_request_that_failed_for_itself_alone_stays_in_its_place(self, tmp_path: Path) -> None:
        from llmlabel.config import CommonConfig
        from llmlabel.llm import connect

        with FakeOpenAI(lambda body: json.dumps({"label": prompt_of(body)[-2:]}), context=2000) as server:
            client = connect(f"fake-1@{server.url}", options=CommonConfig(data="x", out=tmp_path, cache=tmp_path))
            long, short = question("word " * 3000), question("q2")
            results = ask_all(client, [long, short], "s")
            client.close()
        assert isinstance(results[0], LlmlabelError)
        assert not isinstance(results[0], AnswerError)
        assert isinstance(results[1], Choice)


@pytest.mark.parametrize(("fault", "asked"), [("bad_json", 2), ("truncated", 2), ("refusal", 2), ("empty", 2)])
def test_unusable_answers_of_a_real_endpoint_are_repaired(
    fault: str, asked: int, fake_server: FakeOpenAI, tmp_path: Path
) -> None:
    from llmlabel.config import CommonConfig
    from llmlabel.llm import connect

    options = CommonConfig(data="x", out=tmp_path, cache=tmp_path)
    client = connect(f"fake-1@{fake_server.url}", options=options)
    fake_server.reset()
    fake_server.fail(fault)
    assert ask(client, question(), "s").label
    assert fake_server.stats.requests == asked
    client.close()


def _objects(node: Any) -> Any:
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield node
        for value in node.values():
            yield from _objects(value)
    elif isinstance(node, list):
        for value in node:
            yield from _objects(value)


def _keywords(node: Any) -> set[str]:
    """The schema words used; names of properties and definitions are not among them."""
    if isinstance(node, list):
        return set().union(*map(_keywords, node)) if node else set()
    if not isinstance(node, dict):
        return set()
    found = set(node)
    for key, value in node.items():
        named = key in ("properties", "$defs")
        found |= set().union(*map(_keywords, value.values())) if named and value else _keywords(value)
    return found
