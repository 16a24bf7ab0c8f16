"""Gather requests that arrive one by one into batches for a thread that computes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from llmlabel.errors import BackendError, LlmlabelError, RequestRejected

R = TypeVar("R")
A = TypeVar("A")
T = TypeVar("T")
QUIET = 0.005  # seconds without a new request after which a batch starts
MOST_ROWS = 32


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


def batches(rows: Sequence[T], size: Callable[[T], int], cost: Callable[[T], int], budget: int) -> Iterator[list[T]]:
    """Rows of like size together, at most `MOST_ROWS` and `budget` in each; a row that is too dear stands alone."""
    batch: list[T] = []
    spent = 0
    for row in sorted(rows, key=size):
        if batch and (len(batch) == MOST_ROWS or spent + cost(row) > budget):
            yield batch
            batch, spent = [], 0
        batch.append(row)
        spent += cost(row)
    if batch:
        yield batch


def in_halves(work: Callable[[Sequence[Any]], Sequence[Any]], rows: Sequence[Any]) -> list[Any]:
    """`work(rows)`; where it fails, that of the halves, so that one row's error is its own and memory that ran out
    on many may do for few."""
    try:
        return list(work(rows))
    except BackendError as e:
        return [e] * len(rows)
    except Exception as e:
        if len(rows) > 1:
            middle = len(rows) // 2
            return in_halves(work, rows[:middle]) + in_halves(work, rows[middle:])
        error: LlmlabelError = RequestRejected(f"the model failed on this request: {type(e).__name__}: {e}")
        error.__cause__ = e
        return [error]
