"""The function that the contract tests reach as `scripted:scripted_model:answer`."""

from __future__ import annotations

import hashlib
import json
import math

from fake_openai import fill

from llmlabel.errors import RequestRejected
from llmlabel.llm.requests import AnyRequest, Completion, EmbedRequest, Features, ScoreRequest

CONTEXT = 20_000  # words


def answer(request: AnyRequest) -> Completion:
    """A deterministic model with every feature."""
    if isinstance(request, EmbedRequest):
        return Completion(vectors=[[float(len(t)), 1.0] for t in request.texts])
    if isinstance(request, ScoreRequest):
        return _score(request)
    prompt = " ".join(m["content"] for m in request.messages)
    if len(prompt.split()) + request.max_tokens > CONTEXT:
        raise RequestRejected("too long")
    number = int.from_bytes(hashlib.blake2b(repr(request).encode("utf-8", "replace"), digest_size=6).digest(), "big")
    text = json.dumps(fill(dict(request.schema), dict(request.schema), number)) if request.schema else f"word {number}"
    words = text.split()
    finish = "length" if not request.schema and len(words) > request.max_tokens else "stop"
    if finish == "length":
        words = words[: request.max_tokens]
        text = " ".join(words)
    top = {code: math.log(0.9 / 2 ** (i + 1)) for i, code in enumerate("ABCDEFGHIJ"[: request.top_logprobs])}
    return Completion(text, finish, logprobs=top, prompt_tokens=len(prompt.split()), completion_tokens=len(words))


def _score(request: ScoreRequest) -> Completion:
    """Every word costs half its length, whatever stands before it."""
    if not request.prompt or not all(request.completions):
        raise RequestRejected("nothing to score")
    if len(request.prompt.split()) > CONTEXT:
        raise RequestRejected("too long")
    words = [c.split() or [c] for c in request.completions]
    return Completion(scores=[-0.5 * sum(map(len, w)) for w in words], token_counts=[len(w) for w in words])


answer.features = Features(schema=True, logprobs=True, score=True)  # type: ignore[attr-defined]
