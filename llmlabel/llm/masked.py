"""Requests without personal data: masked before they get a key, are stored or sent; answers get the data back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

from llmlabel.llm.requests import AnyRequest, Completion, EmbedRequest, Message, ScoreRequest
from llmlabel.masking import Masker, unmask


def mask_request(request: AnyRequest, masker: Masker) -> tuple[AnyRequest, dict[str, str]]:
    """The request to key, store and send, and what its placeholders stand for.

    All texts of one request share their placeholders; those of an `EmbedRequest` do not, since a text's vector must not
    depend on the texts it happens to be sent with, and nothing of it comes back.
    """
    if isinstance(request, EmbedRequest):
        return replace(request, texts=[masker.mask([text])[0][0] for text in request.texts]), {}
    if not isinstance(request, ScoreRequest):
        masked, mapping = masker.mask(_contents(request.messages))
        return replace(request, messages=_with_contents(request.messages, masked)), mapping
    prompt = [request.prompt] if isinstance(request.prompt, str) else _contents(request.prompt)
    masked, mapping = masker.mask([*prompt, *request.completions])
    head, tail = masked[: len(prompt)], masked[len(prompt) :]
    filled = head[0] if isinstance(request.prompt, str) else _with_contents(request.prompt, head)
    return replace(request, prompt=filled, completions=tail), mapping


def unmask_completion(completion: Completion, mapping: Mapping[str, str]) -> Completion:
    """The answer with the data back in its text and its refusal; scores, counts and vectors stay.

    In a text that is JSON, values are escaped as JSON strings are, so that it stays JSON.
    """
    if not mapping:
        return completion
    written = _inside_json if _is_json(completion.text) else str
    text, refusal = unmask(completion.text, mapping, written), unmask(completion.refusal, mapping)
    return replace(completion, text=text, refusal=refusal)


def _inside_json(value: str) -> str:
    return orjson.dumps(value).decode()[1:-1]


def _is_json(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict | list)
    except ValueError:
        return False


def _contents(messages: Sequence[Message]) -> list[str]:
    return [message["content"] for message in messages]


def _with_contents(messages: Sequence[Message], contents: Sequence[str]) -> list[dict[str, str]]:
    return [{**message, "content": content} for message, content in zip(messages, contents, strict=True)]
