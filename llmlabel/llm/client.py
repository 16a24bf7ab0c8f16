"""Requests in, answers out: the only place that retries, limits, spends and caches.

The rooms call it without knowing of event loops: requests run concurrently on one background loop of the process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

import stamina

from llmlabel.errors import BackendError, LlmlabelError, RequestRejected, TransientError
from llmlabel.llm.ledger import Budget, Ledger
from llmlabel.llm.prices import Price
from llmlabel.llm.requests import (
    AnyRequest,
    Backend,
    Completion,
    EmbedRequest,
    LostAnswer,
    ScoreRequest,
    most_tokens,
    request_key,
)

T = TypeVar("T")
Answer = Completion | LlmlabelError
ATTEMPTS = 6
GIVE_UP_AFTER = 3  # requests that failed for good, with no success between them: the server is taken for dead


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="llmlabel-requests", daemon=True).start()
    return loop


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and wait; Ctrl-C cancels it."""
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


@dataclass
class Use:
    """Counts of one client since it was made."""

    asked: int = 0
    from_cache: int = 0
    retries: int = 0


@dataclass
class Client:
    """One model, with its account.

    Args:
        backend: how the model is reached. ledger: where answers and money are kept.
        run: whose budget is spent. budget: that run's caps. concurrency: requests in flight.
    """

    backend: Backend
    ledger: Ledger
    price: Price
    run: str = ""
    budget: Budget = field(default_factory=Budget)
    concurrency: int = 16
    use: Use = field(default_factory=Use)
    _failed_in_a_row: int = 0
    _in_flight: dict[str, asyncio.Event] = field(default_factory=dict)

    def ask(self, request: AnyRequest, step: str = "") -> Completion:
        """One answer. Raises: what went wrong, as a LlmlabelError."""
        answer = self.map([request], step)[0]
        if isinstance(answer, LlmlabelError):
            raise answer
        return answer

    def map(self, requests: Sequence[AnyRequest], step: str = "", on_done: Callable[[int], None] | None = None) -> list[Answer]:
        """Answers in the order of the requests.

        A request that failed for itself alone (too long, say) has its error in the list. What stops everything (wrong
        key, dead server, budget) is raised after the requests in flight are done, so that nothing paid for is lost.

        Args:
            on_done: called with 1 after every request.
        """
        return run_async(self._map(requests, step, on_done or (lambda n: None)))

    async def _map(self, requests: Sequence[AnyRequest], step: str, on_done: Callable[[int], None]) -> list[Answer]:
        answers: list[Answer] = [BackendError("not asked")] * len(requests)
        queue = iter(enumerate(requests))
        stopped: list[LlmlabelError] = []

        async def worker() -> None:
            for i, request in queue:
                if stopped:
                    return
                try:
                    answers[i] = await self._one(request, step)
                except RequestRejected as e:
                    answers[i] = e
                except LlmlabelError as e:
                    stopped.append(e)
                    return
                on_done(1)

        await asyncio.gather(*(worker() for _ in range(min(self.concurrency, len(requests)))))
        if stopped:
            raise stopped[0]
        return answers

    async def _one(self, request: AnyRequest, step: str) -> Completion:
        key = request_key(self.backend, request)
        self.use.asked += 1
        while key in self._in_flight:  # asked by another worker right now: its answer will do
            await self._in_flight[key].wait()
        if (stored := self.ledger.answer(key)) is not None:
            self.use.from_cache += 1
            return stored
        self._in_flight[key] = asyncio.Event()
        try:
            return await self._with_retries(request, key, step)
        finally:
            self._in_flight.pop(key).set()

    async def _with_retries(self, request: AnyRequest, key: str, step: str) -> Completion:
        caller = stamina.AsyncRetryingCaller(attempts=ATTEMPTS, timeout=None, wait_initial=0.5, wait_max=30.0, wait_jitter=1.0)
        try:
            answer = await caller(_worth_retrying, self._send, request, key, step)
        except TransientError as e:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= GIVE_UP_AFTER:
                raise BackendError(f"{e}. Gave up after {GIVE_UP_AFTER} requests in a row; run the same command to go on") from e
            raise RequestRejected(f"{e} ({ATTEMPTS} attempts)") from e
        self._failed_in_a_row = 0
        return answer

    async def _send(self, request: AnyRequest, key: str, step: str) -> Completion:
        """One attempt, with its entry in the ledger."""
        tokens = most_tokens(request)
        cost = tokens * self.price.dearest
        intent = self.ledger.open(
            run=self.run, step=step, key=key, model=self.backend.model, tokens=tokens, cost=cost, budget=self.budget
        )
        try:
            answer = await self._call(request)
        except LostAnswer:  # perhaps billed: the intent stays open, at its maximum
            self.use.retries += 1
            raise
        except LlmlabelError as e:
            self.use.retries += isinstance(e, TransientError)
            self.ledger.settle(intent, run=self.run, tokens=tokens, cost=cost, answer=None, paid=0.0, outcome=type(e).__name__)
            raise
        paid = self.price.cost(answer.prompt_tokens, answer.completion_tokens)
        self.ledger.settle(intent, run=self.run, tokens=tokens, cost=cost, answer=answer, paid=paid, outcome="ok")
        return answer

    def _call(self, request: AnyRequest) -> Coroutine[Any, Any, Completion]:
        if isinstance(request, ScoreRequest):
            return self.backend.score(request)
        if isinstance(request, EmbedRequest):
            return self.backend.embed(request)
        return self.backend.complete(request)

    def close(self) -> None:
        run_async(self.backend.close())


def _worth_retrying(error: Exception) -> bool | float:
    if not isinstance(error, TransientError):
        return False
    return error.retry_after if error.retry_after is not None else True
