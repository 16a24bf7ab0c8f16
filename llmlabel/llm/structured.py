"""From a pydantic model to a schema to a checked answer, with a bounded number of second tries."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from llmlabel.errors import AnswerError, LlmlabelError
from llmlabel.llm.client import Client
from llmlabel.llm.requests import Completion, Message, Request
from llmlabel.records import Status, plain_errors

T = TypeVar("T", bound=BaseModel)
SECOND_TRIES = 1


@dataclass(frozen=True)
class Question(Generic[T]):
    """A filled prompt and the form its answer must have.

    `check` may return an improved answer, or raise AnswerError with a reason that is sent back to the model once.
    """

    messages: Sequence[Message]
    form: type[T]
    max_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 1.0
    sample: int = 0
    check: Callable[[T], T] | None = None


def ask_all(
    client: Client, questions: Sequence[Question[T]], step: str, on_done: Callable[[int], None] | None = None
) -> list[T | LlmlabelError]:
    """Answers in the order of the questions; an unusable one is an AnswerError with status and reason.

    A question whose answer could not be used is asked once more, from a fresh context, with the reason at its end.
    """
    results: list[T | LlmlabelError] = []
    for question, answer in zip(questions, client.map([_request(q, client) for q in questions], step, on_done), strict=True):
        results.append(_read(question, answer))
    for _ in range(SECOND_TRIES):
        again = [i for i, r in enumerate(results) if isinstance(r, AnswerError)]
        reasons = {i: r.reason for i in again if isinstance(r := results[i], AnswerError)}
        retried = [with_reason(questions[i], reasons[i]) for i in again]
        for i, question, answer in zip(again, retried, client.map([_request(q, client) for q in retried], step), strict=True):
            results[i] = _read(question, answer)
    return results


def ask(client: Client, question: Question[T], step: str) -> T:
    """One answer. Raises: AnswerError, or what stopped the request."""
    result = ask_all(client, [question], step)[0]
    if isinstance(result, LlmlabelError):
        raise result
    return result


def _request(question: Question[Any], client: Client) -> Request:
    schema = strict_schema(question.form) if client.backend.features.schema else None
    messages = list(question.messages)
    if schema is None:
        messages = _in_last(
            messages,
            f"\n\nAnswer with one JSON object that fits this schema, and nothing else:\n{_outline(question.form)}",
        )
    return Request(messages, question.max_tokens, question.temperature, question.top_p, schema=schema, sample=question.sample)


def with_reason(question: Question[T], reason: str) -> Question[T]:
    """The same question in a fresh context, with what was wrong with an earlier answer at its end."""
    note = f"\n\nAn earlier answer to this could not be used: {reason[:600]}\nAnswer again, and avoid that."
    return replace(question, messages=_in_last(list(question.messages), note))


def _in_last(messages: list[Message], addition: str) -> list[Message]:
    last = messages[-1]
    return [*messages[:-1], {"role": last["role"], "content": last["content"] + addition}]


def _read(question: Question[T], answer: Completion | LlmlabelError) -> T | LlmlabelError:
    if isinstance(answer, LlmlabelError):
        return answer
    try:
        parsed = parse_answer(question.form, answer)
        return question.check(parsed) if question.check else parsed
    except AnswerError as e:
        return e


def parse_answer(form: type[T], answer: Completion) -> T:
    """Read a completion as `form`; fences and text around the JSON object are tolerated.

    Raises: AnswerError with status refused, truncated or parse_failed.
    """
    if answer.refusal or answer.finish == "content_filter":
        raise AnswerError(Status.REFUSED, answer.refusal or "the provider's content filter stopped the answer")
    text = re.sub(r"^```\w*\s*|\s*```$", "", answer.text.strip())
    start, end = text.find("{"), text.rfind("}")
    try:
        raw = json.loads(text[start : end + 1] if start >= 0 else text)
        json.dumps(raw, ensure_ascii=False).encode()  # half a surrogate pair could not be written to any file
    except (ValueError, RecursionError) as e:
        if answer.finish == "length":
            raise AnswerError(Status.TRUNCATED, "the answer was longer than allowed; be shorter") from e
        raise AnswerError(Status.PARSE_FAILED, "the answer was not one JSON object") from e
    try:
        return form.model_validate(raw)
    except ValidationError as e:
        raise AnswerError(Status.PARSE_FAILED, f"the JSON did not fit:\n{plain_errors(e)}") from e


def strict_schema(form: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model, in the strict form providers ask for: every property required, none besides."""
    return _schema_of(form)


@cache
def _schema_of(form: Any) -> dict[str, Any]:
    return dict(_strict(form.model_json_schema()))


def _strict(node: Any, *, names: bool = False) -> Any:
    """`names`: the keys of this mapping are names of properties or definitions, not words of the schema language."""
    if isinstance(node, list):
        return [_strict(n) for n in node]
    if not isinstance(node, Mapping):
        return node
    if names:
        return {k: _strict(v) for k, v in node.items()}
    words = {k: v for k, v in node.items() if k not in ("default", "title")}
    plain = {k: _strict(v, names=k in ("properties", "$defs")) for k, v in words.items()}
    if plain.get("type") == "object":
        plain |= {"additionalProperties": False, "required": list(plain.get("properties", {}))}
    return plain


def _outline(form: type[BaseModel]) -> str:
    return json.dumps(strict_schema(form), ensure_ascii=False)
