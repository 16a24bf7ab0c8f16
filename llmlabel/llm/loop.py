"""One event loop in the background, for rooms that know of none; results come back as an ordinary iterator."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import cache
from typing import Any, Generic, TypeVar

T = TypeVar("T")
PART = 256  # results handed over at once
EVERY = 0.01  # seconds a result waits for company
UNREAD = 8192  # results the reader may be behind before the work waits for it


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


class Outlet(Generic[T]):
    """The loop's end of a stream of results: `await outlet.put(item)`, in parts, and never far ahead of the reader."""

    def __init__(self) -> None:
        self.parts: queue.SimpleQueue[list[T] | None] = queue.SimpleQueue()
        self._part: list[T] = []
        self._unread = 0
        self._room = asyncio.Event()
        self._room.set()
        self._timer: asyncio.TimerHandle | None = None

    async def put(self, item: T) -> None:
        self._part.append(item)
        self._unread += 1
        if len(self._part) >= PART:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY, self.flush)
        if self._unread > UNREAD:
            self.flush()
            self._room.clear()
            await self._room.wait()

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._part:
            self.parts.put(self._part)
            self._part = []

    def taken(self, n: int) -> None:
        self._unread -= n
        self._room.set()


def stream(work: Callable[[Outlet[T]], Coroutine[Any, Any, None]]) -> Iterator[list[T]]:
    """What the coroutine puts into its outlet, in parts, as it comes. Leaving early cancels it.

    Raises: what the coroutine raised, after the last result.
    """
    outlet: Outlet[T] = Outlet()
    future = asyncio.run_coroutine_threadsafe(work(outlet), _loop())
    future.add_done_callback(lambda _: _loop().call_soon_threadsafe(_end, outlet))
    try:
        while (part := outlet.parts.get()) is not None:
            yield part
            _loop().call_soon_threadsafe(outlet.taken, len(part))
    finally:
        future.cancel()
    future.result()


def _end(outlet: Outlet[Any]) -> None:
    outlet.flush()
    outlet.parts.put(None)
