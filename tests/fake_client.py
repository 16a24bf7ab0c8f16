"""A client without a store, a budget or a thread: what annotators need of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from llmlabel.errors import RequestRejected
from llmlabel.llm.requests import AnyRequest, Completion, Features


class FakeClient:
    """Answers with `answer(request)`, a text or a Completion; a RequestRejected it raises is that request's answer."""

    def __init__(self, answer: Callable[[Any], str | Completion], features: Features) -> None:
        self.backend = SimpleNamespace(model="fake", features=features)
        self._answer = answer

    def map(
        self, requests: Sequence[AnyRequest], step: str = "", on_done: Callable[[int], None] | None = None
    ) -> list[Completion | RequestRejected]:
        answers = [self._one(request) for request in requests]
        for _ in requests:
            if on_done:
                on_done(1)
        return answers

    def _one(self, request: AnyRequest) -> Completion | RequestRejected:
        try:
            answer = self._answer(request)
        except RequestRejected as e:
            return e
        return Completion(answer) if isinstance(answer, str) else answer
