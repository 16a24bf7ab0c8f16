"""A vLLM server and a batch job take turns on one machine: the memory is enough for one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class Turns:
    """Any number of direct requests, or one batch job. Args: make_room: called before a batch job starts."""

    def __init__(self, make_room: Callable[[], Awaitable[None]] | None = None) -> None:
        self._make_room = make_room
        self._direct, self._batch = 0, False
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def direct(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._batch)
            self._direct += 1
        try:
            yield
        finally:
            async with self._changed:
                self._direct -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._batch and not self._direct)
            self._batch = True
        try:
            if self._make_room:
                await self._make_room()
            yield
        finally:
            async with self._changed:
                self._batch = False
                self._changed.notify_all()
