"""A vLLM that is asked through batch jobs: its server starts only when something has to be asked directly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from llmlabel.llm.backends.openai import OpenAIBackend
from llmlabel.llm.backends.vllm import VLLMBackend
from llmlabel.llm.batches.turns import Turns
from llmlabel.llm.batches.vllm import VLLMBatches
from llmlabel.llm.plan import Plan
from llmlabel.llm.requests import Completion, EmbedRequest, Features, Request, ScoreRequest


class LaterVLLM(OpenAIBackend):
    """The same model, under the same name, as the server would be; never a server and a batch job at once.

    Args:
        start: starts or finds the server; blocks until it is ready.
    """

    most_in_flight = VLLMBackend.most_in_flight

    def __init__(self, plan: Plan, timeout: float, start: Callable[[], VLLMBackend]) -> None:
        super().__init__(plan.served_as, "this machine", "EMPTY", hosted=False, timeout=timeout, name="vllm")
        self.local, self.revision = True, plan.revision
        self.features = Features(schema=True, logprobs=True, score=True)
        self._plan, self._start = plan, start
        self._server: VLLMBackend | None = None
        self._starting = asyncio.Lock()
        self._turns = Turns(self._stop)

    def batch_place(self, folder: Path) -> VLLMBatches:
        return VLLMBatches(self, self._plan, folder, self._turns)

    async def complete(self, request: Request) -> Completion:
        return await self._asked(lambda server: server.complete(request))

    async def score(self, request: ScoreRequest) -> Completion:
        return await self._asked(lambda server: server.score(request))

    async def embed(self, request: EmbedRequest) -> Completion:
        return await self._asked(lambda server: server.embed(request))

    async def _asked(self, ask: Callable[[VLLMBackend], Awaitable[Completion]]) -> Completion:
        async with self._turns.direct():
            async with self._starting:
                if self._server is None:
                    self._server = await asyncio.to_thread(self._start)
            return await ask(self._server)

    async def _stop(self) -> None:
        if server := self._server:
            self._server = None
            await server.close()

    async def close(self) -> None:
        await super().close()
        await self._stop()
