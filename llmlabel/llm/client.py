"""Requests in, answers out: the only place that retries, limits, spends and caches.

The rooms call it without knowing of event loops. One request goes: store -> a place at an endpoint (limits.py) -> intent in
the ledger -> backend -> settlement in the ledger; `_one` and `_send` are that path.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import length_hint
from typing import TYPE_CHECKING, Any

import stamina

from llmlabel.errors import BackendError, BudgetReached, LlmlabelError, RequestRejected, TransientError
from llmlabel.llm.feed import Feed, Job
from llmlabel.llm.ledger import Budget, Busy, Ledger, Send, Stored
from llmlabel.llm.limits import Pace, Place, Pool
from llmlabel.llm.loop import Outlet, run_async, stream
from llmlabel.llm.masked import mask_request, unmask_completion
from llmlabel.llm.prices import Price
from llmlabel.llm.requests import (
    AnyRequest,
    Backend,
    Completion,
    EmbedRequest,
    LostAnswer,
    ScoreRequest,
    most_tokens,
    request_json,
    request_key,
)
from llmlabel.llm.usage import Usage
from llmlabel.masking import Masker

if TYPE_CHECKING:
    from llmlabel.llm.batches.runner import Batches

Answer = Completion | LlmlabelError
ATTEMPTS = 6
GIVE_UP_AFTER = 3  # requests that failed for good, with no success between them: the server is taken for dead
REFUSED_FIRST = 10  # requests refused before the first success: it is not the requests
BUSY_WAIT = 0.25  # seconds, while another process asks for the same thing
DEFAULT_IN_FLIGHT = 256

__all__ = ["Answer", "Client", "run_async"]


@dataclass
class Client:
    """One model at one or several endpoints, with its account.

    Args:
        backend: how the model is reached. ledger: where answers and money are kept. run: whose budget is spent.
        budget: that run's caps. concurrency: most requests in flight at one endpoint; None: what the backend likes.
        others: the same model at other endpoints. rpm, tpm: requests and tokens per minute at one endpoint.
        masker: takes personal data out of requests before they are sent or stored.
        batch: ask through batch jobs where there are enough requests for one (llm/batches).
    """

    backend: Backend
    ledger: Ledger
    price: Price
    run: str = ""
    budget: Budget = field(default_factory=Budget)
    concurrency: int | None = None
    others: Sequence[Backend] = ()
    rpm: float | None = None
    tpm: float | None = None
    masker: Masker | None = None
    batch: bool = False
    usage: Usage = field(default_factory=Usage)
    _failed_in_a_row: int = 0
    refused: int = 0
    succeeded: bool = False

    def __post_init__(self) -> None:
        self.pool = Pool([self._place(b) for b in (self.backend, *self.others)])

    def job(self, number: int, request: AnyRequest) -> Job:
        """The request as it is sent and stored: personal data masked, with its key."""
        mapping: dict[str, str] = {}
        if self.masker:
            request, mapping = mask_request(request, self.masker)
        return Job(number, request, request_key(self.backend, request), mapping)

    def _place(self, backend: Backend) -> Place:
        most = self.concurrency or int(getattr(backend, "most_in_flight", DEFAULT_IN_FLIGHT))
        return Place(backend, most, Pace(self.rpm), Pace(self.tpm))

    # -- for the rooms -----------------------------------------------------------------------------------------------

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
            on_done: called with how many more requests are done, now and then.
        """
        answers: list[Answer] = [BackendError("not asked")] * len(requests)
        for part in self._parts(requests, step):
            for i, answer in part:
                answers[i] = answer
            if on_done:
                on_done(len(part))
        return answers

    def stream(self, requests: Iterable[AnyRequest], step: str = "") -> Iterator[tuple[int, Answer]]:
        """(number of the request, answer) as they come, for any number of requests in bounded memory; else as `map`."""
        for part in self._parts(requests, step):
            yield from part

    def _parts(self, requests: Iterable[AnyRequest], step: str) -> Iterator[list[tuple[int, Answer]]]:
        return stream(lambda outlet: self._work(iter(requests), step, outlet))

    # -- all requests ------------------------------------------------------------------------------------------------

    async def _work(self, requests: Iterator[AnyRequest], step: str, out: Outlet[tuple[int, Answer]]) -> None:
        workers = min(sum(p.most for p in self.pool.places), length_hint(requests, 1 << 30))
        feed = Feed(self, requests, out)
        stopped: list[Exception] = []

        async def worker() -> None:
            while not stopped and (job := await feed.next()) is not None:
                try:
                    answer: Answer = await self._one(job, step)
                except RequestRejected as e:
                    answer = e
                except Exception as e:  # a typed error that stops everything, or a fault of ours
                    stopped.append(e)
                    return
                await out.put((job.number, answer))

        if step != "probe" and (self.batch or self.ledger.has_batches(self.run)):
            await self.batches.through(feed, step, out)
        first = await feed.next()
        if first is not None:
            feed.again(first)
            await asyncio.gather(*(worker() for _ in range(workers)))
            await self.ledger.flush()
        if stopped:
            raise stopped[0]

    async def _one(self, job: Job, step: str) -> Completion:
        in_flight = self.ledger.in_flight
        while job.key in in_flight:  # asked by another worker right now: its answer will do
            await in_flight[job.key].wait()
            if (stored := self.ledger.answer(job.key)) is not None:
                self.usage.from_cache += 1
                return unmask_completion(stored, job.mapping)
        in_flight[job.key] = asyncio.Event()
        try:
            answer = await self._with_retries(job, step)
            while isinstance(answer, Busy):
                await asyncio.sleep(BUSY_WAIT)
                answer = await self._with_retries(job, step)
        finally:
            in_flight.pop(job.key).set()
        return unmask_completion(answer, job.mapping)

    async def _with_retries(self, job: Job, step: str) -> Completion | Busy:
        caller = stamina.AsyncRetryingCaller(attempts=ATTEMPTS, timeout=None, wait_initial=0.5, wait_max=30.0, wait_jitter=1.0)
        try:
            answer = await caller(worth_retrying, self._send, job, step)
        except TransientError as e:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= GIVE_UP_AFTER:
                raise BackendError(f"{e} (gave up after {GIVE_UP_AFTER} requests in a row; run the same command to go on)") from e
            raise RequestRejected(f"{e} ({ATTEMPTS} attempts)") from e
        except RequestRejected as e:
            self.refused += 1
            if not self.succeeded and self.refused >= REFUSED_FIRST:
                raise BackendError(f"the first {REFUSED_FIRST} requests were all refused, the last with: {e}") from e
            raise
        if isinstance(answer, Completion):
            self._failed_in_a_row, self.succeeded = 0, True
        return answer

    # -- one attempt -------------------------------------------------------------------------------------------------

    async def _send(self, job: Job, step: str) -> Completion | Busy:
        """One attempt, with its entry in the ledger."""
        read, wrote = most_tokens(job.request)
        send = Send(self.run, step, job.key, self.backend.model, read + wrote, self.price.nano(read, wrote))
        place, answer = await self.pool.acquire(send.tokens), None
        try:
            intent = await self._open(send)
            if isinstance(intent, Stored):
                self.usage.from_cache += 1
                return intent.answer
            if isinstance(intent, Busy):
                return intent
            answer = await self._settled(job.request, intent, send, place)
            return answer
        finally:
            used = answer.prompt_tokens + answer.completion_tokens if answer else 0
            self.pool.release(place, unused_tokens=send.tokens - used)

    async def _open(self, send: Send) -> int | Stored | Busy:
        """An intent; where only requests in flight stand between it and the cap, wait for them to be settled."""
        while True:
            settled = self.ledger.settled
            try:
                return await self.ledger.open(send, self.budget)
            except BudgetReached:
                if not self.ledger.unsettled and not settled.is_set():
                    raise
            await settled.wait()

    async def _settled(self, request: AnyRequest, intent: int, send: Send, place: Place) -> Completion:
        self.ledger.unsettled += 1
        try:
            answer = await self._timed(request, place)
        except LostAnswer as e:  # perhaps billed
            self.ledger.lose(intent, send, e.cause)
            raise
        except LlmlabelError as e:
            outcome = e.cause if isinstance(e, TransientError) else type(e).__name__
            self.ledger.settle(intent, send, answer=None, nano=0, outcome=outcome)
            raise
        except BaseException as e:  # cancelled, or a fault of ours
            self.ledger.lose(intent, send, type(e).__name__)
            raise
        finally:
            self.ledger.unsettled -= 1
            self.ledger.wake()
        if not answer.prompt_tokens + answer.completion_tokens and not place.backend.local:
            read, wrote = most_tokens(request)  # the endpoint does not say what it used
            answer = replace(answer, prompt_tokens=read, completion_tokens=wrote)
        paid = self.price.nano(answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens)
        asked = request_json(request) if self.ledger.store_text else b""
        self.ledger.settle(intent, send, answer=answer, nano=paid, outcome="ok", asked=asked)
        return answer

    async def _timed(self, request: AnyRequest, place: Place) -> Completion:
        """The backend's answer; the endpoint's window and our counts learn how it went."""
        start = time.monotonic()
        try:
            answer = await _call(place.backend, request)
        except TransientError as e:
            self.usage.retries[e.cause] += 1
            self.pool.failed(place, e, time.monotonic() - start)
            raise
        self.pool.answered(place, seconds := time.monotonic() - start)
        self.usage.answered(seconds)
        return answer

    @cached_property
    def batches(self) -> Batches:
        from llmlabel.llm.batches.runner import Batches

        return Batches(self)

    def close(self) -> None:
        if "batches" in vars(self):
            run_async(self.batches.close())
        for place in self.pool.places:
            run_async(place.backend.close())


def _call(backend: Backend, request: AnyRequest) -> Coroutine[Any, Any, Completion]:
    if isinstance(request, ScoreRequest):
        return backend.score(request)
    if isinstance(request, EmbedRequest):
        return backend.embed(request)
    return backend.complete(request)


def worth_retrying(error: Exception) -> bool | float:
    if not isinstance(error, TransientError):
        return False
    return error.retry_after if error.retry_after is not None else True
