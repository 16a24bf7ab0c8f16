"""One batch job from its submission to the last of its results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import stamina

from llmlabel import events
from llmlabel.errors import BackendError, TransientError
from llmlabel.llm.batches import CHUNK, RUN, BatchPlace, Limits, State, lines
from llmlabel.llm.batches.book import Book, Chunk
from llmlabel.llm.batches.waiting import Waiting
from llmlabel.llm.client import worth_retrying
from llmlabel.llm.requests import Completion, LostAnswer, request_json
from llmlabel.llm.writer import Send

if TYPE_CHECKING:
    from llmlabel.llm.client import Client

DOWNLOADS = 6  # attempts


class Left(asyncio.Event):
    """Set when a batch job is over; for one that somebody stopped waiting for, `wait` raises why."""

    error: BackendError | None = None

    async def wait(self) -> Literal[True]:
        await super().wait()
        if self.error:
            raise self.error
        return True


class Job:
    """Takes one chunk through its place; `done` of its requests are computed."""

    def __init__(self, client: Client, place: BatchPlace, book: Book, limits: Limits, chunk: Chunk, waiting: Waiting) -> None:
        self._client, self._place, self._book, self._limits, self._waiting = client, place, book, limits, waiting
        self.chunk, self.done = chunk, 0

    async def find(self) -> bool:
        """The job of a chunk that an earlier process opened; one that was never made is released."""
        since = self.chunk.created - self._limits.recent
        if self.chunk.remote is None and (remote := await self._place.find(self._metadata, since)):
            await self._book.sent(self.chunk, remote)
        if self.chunk.remote is None:
            await self._book.release(self.chunk, keep=False)
        return self.chunk.remote is not None

    async def submit(self, keys: Iterable[bytes]) -> None:
        written, since = map(self._waiting.line, keys), self.chunk.created - self._limits.recent
        try:
            remote = await self._place.submit(written, self._metadata, since)
        except TransientError as e:  # who knows whether it was made
            raise BackendError(f"{e}. Run the same command to go on") from e
        except BackendError:
            await self._book.release(self.chunk, keep=False)
            raise
        await self._book.sent(self.chunk, remote)
        events.emit("note", text=f"batch job {remote}: {self.chunk.size:,} requests sent")

    @property
    def _metadata(self) -> dict[str, str]:
        return {RUN: self.chunk.run[:512], CHUNK: self.chunk.id}

    async def ended(self, tell: Callable[[], None], *, cancel: bool) -> State:
        """Look at it now and then until it is over. Args: tell: called after each look. cancel: do not let it go on."""
        wait, remote, word = self._limits.first_wait, str(self.chunk.remote), ""
        while (state := await self._place.state(remote)).kind == "running":
            self.done = state.done
            tell()
            if word != state.word:
                word = state.word
                events.emit("note", text=f"batch job {remote}: {word.replace('_', ' ')}")
            if cancel:
                cancel = False
                with suppress(BackendError):  # it may be over by now
                    await self._place.cancel(remote)
            await asyncio.sleep(wait)
            wait = min(1.5 * wait, self._limits.longest_wait)
        self.done = self.chunk.size
        tell()
        events.emit("note", text=f"batch job {remote}: {state.word}")
        return state

    async def fetch(self, state: State) -> None:
        """Settle and hand out every result; what was settled by an earlier attempt, or before a crash, is left alone."""
        caller = stamina.AsyncRetryingCaller(attempts=DOWNLOADS, timeout=None, wait_initial=0.5, wait_max=30.0)
        await caller(worth_retrying, self._fetch, state)
        await self._book.end(self.chunk)
        await self._place.forget(str(self.chunk.remote))

    async def _fetch(self, state: State) -> None:
        waiting, place = await self._book.intents(self.chunk), self._place
        async for line in place.results(str(self.chunk.remote)):
            result = lines.read(place.backend, place.completion, line)
            if result and (intent := waiting.pop(result.key, None)):
                await self._settle(*intent, result)
        for key, intent in waiting.items():
            await self._settle(*intent, lines.Result(key, _missing(state)))

    async def _settle(self, intent: int, send: Send, result: lines.Result) -> None:
        ledger, outcome = self._client.ledger, result.outcome
        if isinstance(outcome, Completion):
            answer, paid = self._price(outcome, send)
            request = self._waiting.asked(result.key) if ledger.store_text else None
            ledger.settle(intent, send, answer=answer, nano=paid, outcome="ok", asked=request_json(request) if request else b"")
            result = result._replace(outcome=answer)
        elif isinstance(outcome, LostAnswer):
            ledger.lose(intent, send, outcome.cause)
        else:
            cause = outcome.cause if isinstance(outcome, TransientError) else type(outcome).__name__
            ledger.settle(intent, send, answer=None, nano=0, outcome=cause)
        await self._waiting.hand(result)

    def _price(self, answer: Completion, send: Send) -> tuple[Completion, int]:
        """The answer and what it cost; where the endpoint does not say what it used, the most it can be."""
        read, wrote = answer.prompt_tokens, answer.completion_tokens
        if not read + wrote and not self._client.backend.local:
            return replace(answer, prompt_tokens=send.tokens), send.nano
        return answer, self._client.price.nano(read, wrote, answer.cached_tokens, batch=True)


def _missing(state: State) -> BackendError:
    if state.whole:
        return LostAnswer("the batch job has no result for this request", cause="missing")
    return TransientError(f"the batch job was {state.word} before this request's turn", cause=state.word)
