"""The requests of one call that have no answer yet: to be sent, sent by us, or sent by somebody else."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from llmlabel.errors import BackendError, LlmlabelError, RequestRejected, TransientError
from llmlabel.llm.backends.openai import OpenAIBackend
from llmlabel.llm.batches import Limits, lines
from llmlabel.llm.client import REFUSED_FIRST
from llmlabel.llm.feed import Feed, Job
from llmlabel.llm.loop import Outlet
from llmlabel.llm.masked import unmask_completion
from llmlabel.llm.requests import Completion, Request, most_tokens
from llmlabel.llm.writer import Send

if TYPE_CHECKING:
    from llmlabel.llm.client import Answer, Client

Out = Outlet[tuple[int, "Answer"]]


class Waiting:
    """Requests by key, from the feed until their answer goes out.

    Args:
        feed: gives requests that are not in the store. step: what they are for. out: where answers go.
    """

    def __init__(self, client: Client, backend: OpenAIBackend, limits: Limits, feed: Feed, step: str, out: Out) -> None:
        self._client, self._backend, self._limits = client, backend, limits
        self._feed, self._step, self._out = feed, step, out
        self._jobs: dict[bytes, list[Job]] = {}
        self._attempts: Counter[bytes] = Counter()
        self.queue: deque[bytes] = deque()  # to be sent
        self.held: dict[bytes, asyncio.Event | None] = {}  # sent already; the event tells when to look (None: another process)
        self.direct: list[Job] = []  # not for batch jobs
        self.empty = False  # the feed
        self._stop: LlmlabelError | None = None
        self._last: RequestRejected | None = None

    # -- on the way out ----------------------------------------------------------------------------------------------

    async def gather(self, most: int) -> int:
        """How many keys there are to send, with more of the feed if those are fewer than `most`."""
        while len(self.queue) < most and not self.empty:
            job = await self._feed.next()
            if job is None:
                self.empty = True
            elif not isinstance(job.request, Request):
                self.direct.append(job)
                self.empty = not self._jobs  # a call has requests of one kind: leave the others where they are
            elif job.key in self._jobs:
                self._jobs[job.key].append(job)
            else:
                self._jobs[job.key] = [job]
                self.queue.append(job.key)
        return len(self.queue)

    def take(self, most: int, size: int) -> list[bytes]:
        """The next keys for one batch job of at most so many lines and bytes."""
        keys: dict[bytes, None] = {}
        in_flight = self._client.ledger.in_flight
        while self.queue and len(keys) < most:
            key = self.queue.popleft()
            if key in in_flight:
                self.held[key] = in_flight[key]
            elif key in self._jobs and key not in keys:
                size -= len(self.line(key))
                if keys and size < 0:
                    self.queue.appendleft(key)
                    break
                keys[key] = None
        return list(keys)

    def line(self, key: bytes) -> bytes:
        return lines.write(self._backend, key, self._request(key))

    def send(self, key: bytes) -> Send:
        client, (read, wrote) = self._client, most_tokens(self._request(key))
        nano = client.price.nano(read, wrote, batch=True)
        return Send(client.run, self._step, key, client.backend.model, read + wrote, nano)

    def _request(self, key: bytes) -> Request:
        request = self._jobs[key][0].request
        assert isinstance(request, Request)
        return request

    def asked(self, key: bytes) -> Request | None:
        return self._request(key) if key in self._jobs else None

    def again(self, keys: Iterable[bytes]) -> None:
        """Those that are asked for are to be sent once more, after what they are held for now."""
        self.queue.extend(key for key in keys if key in self._jobs and key not in self.held)

    def directly(self) -> None:
        """Leave all that is left to those who ask one by one."""
        for job in [*self.direct, *(job for jobs in self._jobs.values() for job in jobs)]:
            self._feed.again(job)

    # -- on the way back ---------------------------------------------------------------------------------------------

    async def deliver(self, key: bytes, outcome: Completion | RequestRejected, *, stored: bool = False) -> None:
        self.held.pop(key, None)
        jobs = self._jobs.pop(key, [])
        self._client.usage.from_cache += len(jobs) if stored else len(jobs[1:])
        for job in jobs:
            await self._out.put(
                (job.number, unmask_completion(outcome, job.mapping) if isinstance(outcome, Completion) else outcome)
            )

    async def hand(self, result: lines.Result) -> None:
        """One line's result: an answer goes out; a failure is sent again, a few times."""
        key, outcome, client = result.key, result.outcome, self._client
        if isinstance(outcome, Completion):
            client.succeeded = True
            client.usage.sent += 1
            await self.deliver(key, outcome)
        elif result.learned or isinstance(outcome, TransientError):
            await self._failed(key, outcome)
        elif isinstance(outcome, RequestRejected):
            await self._refused(key, outcome)
        else:  # a wrong key, say: what stops everything
            self._stop = outcome

    async def _failed(self, key: bytes, error: BackendError) -> None:
        self._attempts[key] += 1
        if isinstance(error, TransientError):
            self._client.usage.retries[error.cause] += 1
        if self._attempts[key] < self._limits.attempts + len(self._backend.unsupported):
            self.held.pop(key, None)
            return self.again([key])
        await self._refused(key, RequestRejected(f"{error} ({self._attempts[key]} attempts)"))

    async def _refused(self, key: bytes, error: RequestRejected) -> None:
        self._client.refused += key in self._jobs
        self._last = error
        await self.deliver(key, error)

    def check(self) -> None:
        """Raises: what stops everything."""
        if self._stop:
            raise self._stop
        if self._last and not self._client.succeeded and self._client.refused >= REFUSED_FIRST:
            raise BackendError(f"the first {self._client.refused} requests were all refused, the last with: {self._last}")

    async def look_at_held(self) -> None:
        """Answers that somebody else brought go out; where none came, the request is to be sent.

        Raises: what kept the other job's results from us.
        """
        ready = [key for key, event in self.held.items() if event is None or event.is_set()]
        for event in {event for key in ready if (event := self.held[key]) is not None}:
            await event.wait()
        for key in ready:
            del self.held[key]
        stored = self._client.ledger.answers(ready)
        for key in ready:
            if key in stored:
                await self.deliver(key, stored[key], stored=True)
        self.again(key for key in ready if key not in stored)
