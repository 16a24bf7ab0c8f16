"""Gather requests that arrive one by one into batches for a thread that computes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from llmlabel.errors import BackendError, LlmlabelError

R = TypeVar("R")
A = TypeVar("A")
QUIET = 0.005  # seconds without a new request after which a batch starts


@dataclass
class _Job(Generic[R, A]):
    request: R
    answer: Future[A] = field(default_factory=Future)


class Batcher(Generic[R, A]):
    """Many coroutines ask, one thread answers: `work` gets all requests that wait, in the order they came.

    Args:
        work: requests -> an answer or an error for each. What it raises itself is everybody's error.
            It reads `stopping` between its steps and may give up when that is set.
    """

    def __init__(self, work: Callable[[Sequence[R]], Sequence[A | LlmlabelError]], name: str) -> None:
        self.stopping = threading.Event()
        self._work = work
        self._queue: SimpleQueue[_Job[R, A] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = False

    async def ask(self, request: R) -> A:
        """Raises: BackendError after `close`; what `work` says of this request."""
        if self.stopping.is_set():
            raise BackendError("the model was closed")
        if not self._started:
            self._started = True
            self._thread.start()
        job: _Job[R, A] = _Job(request)
        self._queue.put(job)
        return await asyncio.wrap_future(job.answer)

    async def close(self) -> None:
        """Wait for the step that is being computed; requests that still wait get an error."""
        self.stopping.set()
        self._queue.put(None)
        if self._started:
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while True:
            jobs = [job for job in self._gather() if job.answer.set_running_or_notify_cancel()]
            if self.stopping.is_set():
                return _fail(jobs, BackendError("the model was closed"))
            if jobs:
                self._answer(jobs)

    def _gather(self) -> list[_Job[R, A]]:
        """Wait for a request, then for the others that come right after it."""
        found = [self._queue.get()]
        while found[-1] is not None:
            try:
                found.append(self._queue.get(timeout=QUIET))
            except Empty:
                break
        return [job for job in found if job is not None]

    def _answer(self, jobs: list[_Job[R, A]]) -> None:
        try:
            answers = self._work([job.request for job in jobs])
        except BaseException as e:
            return _fail(jobs, e)
        for job, answer in zip(jobs, answers, strict=True):
            if isinstance(answer, BaseException):
                job.answer.set_exception(answer)
            else:
                job.answer.set_result(answer)


def _fail(jobs: list[_Job[R, A]], error: BaseException) -> None:
    for job in jobs:
        job.answer.set_exception(error)
