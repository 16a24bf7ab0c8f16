"""One call of `Client.map` through batch jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING

from llmlabel import events
from llmlabel.errors import BackendError, BudgetReached
from llmlabel.llm.batches import BatchPlace, Limits, State
from llmlabel.llm.batches.book import Book, Chunk
from llmlabel.llm.batches.job import Job, Left
from llmlabel.llm.batches.waiting import Waiting

if TYPE_CHECKING:
    from llmlabel.llm.client import Client

FULL = 10  # times in a row that the queue may be full with none of our own jobs in it


class Call:
    """Makes jobs of what waits, and follows them and those that earlier processes left."""

    def __init__(self, client: Client, place: BatchPlace, book: Book, limits: Limits, waiting: Waiting) -> None:
        self._client, self._place, self._book, self._limits, self._waiting = client, place, book, limits, waiting
        self._tasks: dict[asyncio.Task[None], Job] = {}
        self._most, self._jobs = limits.lines, limits.jobs
        self._full, self._shut_out = 0, 0  # times the queue was full; jobs of ours that wait for room in it now
        self._over_before = 0  # requests in jobs that are over

    async def run(self) -> None:
        """Raises: what stops everything, or BudgetReached once all that could be sent is in the store."""
        try:
            for chunk in await self._book.adopt():
                self._start(chunk, await self._book.intents(chunk))
            if self._client.batch:
                await self._ask()
            while self._tasks:
                await self._next()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._waiting.directly()

    async def _ask(self) -> None:
        waiting, least = self._waiting, self._limits.least
        if await waiting.gather(least) < least and waiting.empty:  # few: directly, once what is under way is in the store
            return
        await self._place.check()
        refused: BudgetReached | None = None
        while True:
            while not refused and len(self._tasks) < self._jobs and await waiting.gather(self._most):
                refused = await self._send(1)
            if not self._tasks and not waiting.held:
                if not refused:
                    return
                refused = await self._send(least)  # what has come back may have left room under the cap
                if refused and not self._tasks:
                    raise refused
            await self._next()

    async def _send(self, least: int) -> BudgetReached | None:
        """Make a job of the next requests, as many as fit. Returns: the cap that did not let all of them in."""
        waiting, in_flight, event = self._waiting, self._client.ledger.in_flight, Left()
        keys = waiting.take(self._most, self._limits.size)
        if not keys:
            return None
        in_flight |= dict.fromkeys(keys, event)
        left = set(keys)
        try:
            opened = await self._book.open([waiting.send(key) for key in keys], self._client.budget, least)
            left -= opened.keys
        finally:
            for key in left:
                del in_flight[key]
        for key, answer in opened.stored.items():
            await waiting.deliver(key, answer, stored=True)
        waiting.held |= dict.fromkeys(opened.busy)
        waiting.queue.extendleft(key for key in reversed(keys) if key in left - opened.stored.keys() - opened.busy)
        if opened.chunk:
            self._start(opened.chunk, [key for key in keys if key in opened.keys], event)
        return opened.refused

    # -- the jobs ----------------------------------------------------------------------------------------------------

    def _start(self, chunk: Chunk, keys: Collection[bytes], event: Left | None = None) -> None:
        """Follow a chunk in a task. Args: event: of its keys; None: it was opened by an earlier process."""
        job = Job(self._client, self._place, self._book, self._limits, chunk, self._waiting)
        task = asyncio.create_task(self._follow(job, keys, new=event is not None))
        event = event or Left()
        self._client.ledger.in_flight |= dict.fromkeys(keys, event)
        task.add_done_callback(partial(self._end, keys, event))
        self._tasks[task] = job

    def _end(self, keys: Collection[bytes], event: Left, task: asyncio.Task[None]) -> None:
        for key in keys:
            self._client.ledger.in_flight.pop(key, None)
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            event.error = BackendError("the wait for a batch job was broken off; run the same command to go on")
        elif error:
            event.error = error if isinstance(error, BackendError) else BackendError(str(error))
        event.set()

    async def _follow(self, job: Job, keys: Collection[bytes], *, new: bool) -> None:
        try:
            if new:
                await job.submit(keys)
            elif not await job.find():
                return self._waiting.again(keys)
            state = await job.ended(self._tell, cancel=not self._client.batch)
            if state.kind == "ended":
                await job.fetch(state)
                self._full = 0
                self._waiting.check()
            else:
                await self._not_computed(job, state, keys)
        except BaseException:
            await self._book.leave(job.chunk)
            raise

    async def _not_computed(self, job: Job, state: State, keys: Collection[bytes]) -> None:
        """Its requests are to be sent again. Raises: BackendError where that would not help."""
        await self._book.release(job.chunk, keep=True)
        await self._place.forget(str(job.chunk.remote))
        if state.kind == "failed":
            raise BackendError(
                f"batch job {job.chunk.remote} was refused: {state.said}. Nothing of it was computed; what other jobs "
                "bring is kept. Once that is mended, run the same command to go on"
            )
        if state.kind == "full":
            await self._room(state)
        self._waiting.again(keys)

    async def _room(self, state: State) -> None:
        """Wait for room in the provider's queue: until a job of ours is over, else a while and with smaller jobs."""
        events.emit("note", text=f"the queue for batch jobs is full ({state.said}); waiting")
        self._shut_out += 1
        try:
            await self._until_room(state)
        finally:
            self._shut_out -= 1

    async def _until_room(self, state: State) -> None:
        others = [task for task in self._tasks if task is not asyncio.current_task()]
        got_in = len(self._tasks) - self._shut_out
        if got_in:
            self._jobs = got_in
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
            return
        self._full += 1
        if self._full >= FULL:
            raise BackendError(f"there is no room for batch jobs: {state.said}. Run the same command later to go on")
        self._most = max(1, self._most // 2)
        await asyncio.sleep(self._limits.longest_wait)

    async def _next(self) -> None:
        """Wait until a job is over, or a while where answers come from elsewhere. Raises: what stops everything."""
        if self._tasks:
            pause = self._limits.first_wait if self._waiting.held else None
            await asyncio.wait(self._tasks, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(self._limits.first_wait)
        for task in [task for task in self._tasks if task.done()]:
            self._over_before += self._tasks.pop(task).chunk.size
            task.result()
        await self._waiting.look_at_held()

    def _tell(self) -> None:
        jobs = self._tasks.values()
        done, total = sum(job.done for job in jobs), sum(job.chunk.size for job in jobs)
        events.emit("progress", step="batch jobs", done=self._over_before + done, total=self._over_before + total)
