"""One line of a batch file: a request with its key, or what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from llmlabel.errors import BackendError, TransientError
from llmlabel.llm.backends.openai import OpenAIBackend
from llmlabel.llm.http import parsed
from llmlabel.llm.requests import Completion, LostAnswer, Request

ENDPOINT: Final = "/v1/chat/completions"


class Result(NamedTuple):
    """`learned`: the endpoint refused a parameter that can be left out the next time."""

    key: bytes
    outcome: Completion | BackendError
    learned: bool = False


def write(backend: OpenAIBackend, key: bytes, request: Request) -> bytes:
    """A line of the file that goes out."""
    line = {"custom_id": key.hex(), "method": "POST", "url": ENDPOINT, "body": backend.body(request)}
    return orjson.dumps(line) + b"\n"


def read(backend: OpenAIBackend, completion: Callable[[Any], Completion], line: bytes) -> Result | None:
    """A line of the file that came back; None where it is nobody's.

    Args:
        completion: the body of a chat completion -> what it says; raises LostAnswer.
    """
    try:
        raw = parsed(line)
        key = bytes.fromhex(raw["custom_id"])
    except (ValueError, KeyError, TypeError):
        return None
    response = raw.get("response")
    said = _said(raw.get("error")) or _said(response)
    status = int(response.get("status_code") or 0) if isinstance(response, dict) else 0
    if status == 200:
        try:
            return Result(key, completion(response.get("body")))
        except LostAnswer as e:
            return Result(key, e)
    if not status:
        cause = str(said.get("code") or "failed").removeprefix("batch_")
        return Result(key, TransientError(f"no answer in the batch job ({cause}): {said.get('message', '')}", cause=cause))
    learned = backend.learn(status, said, {str(said.get("param")): None})
    return Result(key, backend.refusal(status, {}, said), learned)


def _said(raw: Any) -> Mapping[str, Any]:
    """The error object, wherever it is: `error`, `error.error`, `response.body.error`."""
    for name in ("body", "error"):
        if isinstance(raw, dict) and isinstance(raw.get(name), dict):
            raw = raw[name]
    return raw if isinstance(raw, dict) and "status_code" not in raw else {}
