"""Requests on their way to an endpoint, those that are in the store left out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from llmlabel.llm.loop import Outlet
from llmlabel.llm.masked import unmask_completion
from llmlabel.llm.requests import AnyRequest

if TYPE_CHECKING:
    from llmlabel.llm.client import Answer, Client

BLOCK = 512  # requests looked up in the store at once


@dataclass
class Job:
    """A request that is not in the store, and where its answer goes."""

    number: int
    request: AnyRequest
    key: bytes
    mapping: dict[str, str]


class Feed:
    """Requests block by block: those in the store are answered at once, the others handed out one by one."""

    def __init__(self, client: Client, requests: Iterator[AnyRequest], out: Outlet[tuple[int, Answer]]) -> None:
        self._client, self._out = client, out
        self._requests = enumerate(requests)
        self._jobs: deque[Job] = deque()
        self._reading = asyncio.Lock()

    async def next(self) -> Job | None:
        if not self._jobs:
            async with self._reading:
                while not self._jobs and (block := list(islice(self._requests, BLOCK))):
                    await self._look_up(block)
        return self._jobs.popleft() if self._jobs else None

    def again(self, job: Job) -> None:
        self._jobs.appendleft(job)

    async def _look_up(self, block: list[tuple[int, AnyRequest]]) -> None:
        client = self._client
        jobs = [client.job(number, request) for number, request in block]
        stored = client.ledger.answers([job.key for job in jobs])
        client.usage.asked += len(jobs)
        client.usage.from_cache += sum(job.key in stored for job in jobs)
        for job in jobs:
            if job.key in stored:
                await self._out.put((job.number, unmask_completion(stored[job.key], job.mapping)))
            else:
                self._jobs.append(job)
