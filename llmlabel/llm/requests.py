"""What goes to a model and what comes back: plain values, and the protocol every backend file answers to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import isfinite
from typing import Any, Protocol

import orjson

from llmlabel.errors import TransientError

Message = Mapping[str, str]
TEMPLATE_TOKENS = 128  # chat templates add marks, dates and a system prompt of their own


class LostAnswer(TransientError):
    """The request was sent and no answer came back: it may have been billed, and counts as if it was."""


def plain_text(text: str) -> str:
    """Half a surrogate pair cannot be sent, stored or written; it becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class Request:
    """One chat completion.

    `schema` is a JSON schema the answer must satisfy, `top_logprobs` asks for the alternatives of the first token,
    `sample` tells repeated draws of the same request apart.
    """

    messages: Sequence[Message]
    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    schema: Mapping[str, Any] | None = None
    top_logprobs: int = 0
    sample: int = 0


@dataclass(frozen=True)
class ScoreRequest:
    """How likely is each completion after the prompt?

    `prompt`: plain text as it stands; or chat messages, which the model's own chat template makes a prompt that an answer
    follows. Prompt and completions are cut into tokens apart from each other.
    """

    prompt: str | Sequence[Message]
    completions: Sequence[str]


@dataclass(frozen=True)
class EmbedRequest:
    """Vectors of some texts."""

    texts: Sequence[str]


AnyRequest = Request | ScoreRequest | EmbedRequest


@dataclass(frozen=True)
class Completion:
    """A model's answer. `logprobs`: alternatives of the first token with their natural log-probabilities."""

    text: str = ""
    finish: str = "stop"
    refusal: str = ""
    logprobs: Mapping[str, float] = field(default_factory=dict)
    scores: Sequence[float] = ()
    token_counts: Sequence[int] = ()
    vectors: Sequence[Sequence[float]] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0  # of the prompt, which the provider had computed before and may sell cheaper

    def __post_init__(self) -> None:
        """Tuples and plain text, so that a stored answer equals a fresh one."""
        object.__setattr__(self, "text", plain_text(self.text))
        object.__setattr__(self, "refusal", plain_text(self.refusal))
        object.__setattr__(self, "scores", tuple(self.scores))
        object.__setattr__(self, "token_counts", tuple(self.token_counts))
        object.__setattr__(self, "vectors", tuple(map(tuple, self.vectors)))

    def to_json(self) -> str:
        """What is not empty, as JSON."""
        filled = {name: value for name, value in vars(self).items() if value}
        numbers = chain(self.scores, self.logprobs.values(), *self.vectors)
        try:
            return orjson.dumps(filled).decode() if all(map(isfinite, numbers)) else json.dumps(filled)
        except TypeError:  # a token that is half a surrogate pair
            return json.dumps(filled)

    @classmethod
    def from_json(cls, text: str | bytes) -> Completion:
        try:
            return cls(**orjson.loads(text))
        except ValueError:  # an infinite number, half a surrogate pair
            return cls(**json.loads(text))


@dataclass(frozen=True)
class Features:
    """What a backend can do. None: not known, has to be probed.

    `schema`: answers constrained to a JSON schema; `logprobs`: alternatives of a generated token; `score`:
    log-probabilities of given text; `writes`: produces text worth reading.
    """

    schema: bool | None = None
    logprobs: bool | None = None
    score: bool = False
    writes: bool = True


class Backend(Protocol):
    """One way to reach a model. `name` says where it runs, `revision` pins its weights as far as that is known."""

    name: str
    model: str
    revision: str
    features: Features
    local: bool  # runs on the user's own machine, costs no money

    async def complete(self, request: Request) -> Completion: ...

    async def score(self, request: ScoreRequest) -> Completion: ...

    async def embed(self, request: EmbedRequest) -> Completion: ...

    async def close(self) -> None: ...


def request_key(backend: Backend, request: AnyRequest) -> bytes:
    """What makes two requests the same: model, revision and every field that can change the answer (24 bytes)."""
    head = f"{backend.model}\0{backend.revision}\0{type(request).__name__}\0".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(head + request_json(request), digest_size=24).digest()


def request_json(request: AnyRequest) -> bytes:
    """What differs from a plain request, as JSON with sorted keys; so a field added later changes no key."""
    kind = type(request)
    body = {name: value for name, value in vars(request).items() if value != getattr(kind, name, None)}
    try:
        return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # half a surrogate pair, which orjson refuses
        text = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return text.encode("utf-8", "surrogatepass")


def most_tokens(request: AnyRequest) -> tuple[int, int]:
    """Upper bounds of the tokens a request can read and write: no tokenizer makes more tokens than there are UTF-8 bytes."""
    if isinstance(request, EmbedRequest):
        return sum(_bytes(t) + 8 for t in request.texts), 0
    if isinstance(request, ScoreRequest):
        prompt = _bytes(request.prompt) if isinstance(request.prompt, str) else _most_of_chat(request.prompt)
        return prompt + 8, sum(map(_bytes, request.completions))
    schema = len(orjson.dumps(request.schema)) if request.schema else 0
    return _most_of_chat(request.messages) + schema, request.max_tokens


def _most_of_chat(messages: Sequence[Message]) -> int:
    return sum(_bytes(m["content"]) + 8 for m in messages) + TEMPLATE_TOKENS


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
