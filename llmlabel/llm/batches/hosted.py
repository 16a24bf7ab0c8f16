"""OpenAI's Batch API, and whoever speaks the same: a file goes up, a job is made of it, its results come down."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import IO, Any, TypeVar

import aiohttp
import openai
import stamina

from llmlabel.errors import AuthError, BackendError
from llmlabel.llm.backends.openai import OpenAIBackend, completion_of
from llmlabel.llm.batches import CHUNK, State
from llmlabel.llm.batches.lines import ENDPOINT
from llmlabel.llm.client import worth_retrying
from llmlabel.llm.http import error_of
from llmlabel.llm.options import scrub
from llmlabel.llm.requests import Completion, LostAnswer

T = TypeVar("T")
ATTEMPTS = 6
PIECE = 1 << 16  # bytes
SILENCE = 120.0  # seconds without a byte of a download
FULL = "token_limit_exceeded"  # more in the queue than the account may have there
WITH_RESULTS = ("completed", "expired", "cancelled")


class HostedBatches:
    """The batch jobs of one endpoint and key."""

    def __init__(self, backend: OpenAIBackend) -> None:
        self.backend = backend
        self.name = f"{backend.model} at {scrub(backend.url)}"

    async def check(self) -> None:
        await self._retried(lambda: self._asked(lambda client: client.batches.list(limit=1)))

    async def find(self, metadata: Mapping[str, str], since: float) -> str | None:
        return await self._retried(lambda: self._find(metadata, since))

    async def _find(self, metadata: Mapping[str, str], since: float) -> str | None:
        """Newest first, as they are listed."""

        async def look(client: openai.AsyncOpenAI) -> str | None:
            async for batch in client.batches.list(limit=100):
                if dict(metadata).items() <= (batch.metadata or {}).items():
                    return batch.id
                if batch.created_at < since:
                    return None
            return None

        return await self._asked(look)

    async def submit(self, lines: Iterable[bytes], metadata: Mapping[str, str], since: float) -> str:
        """An attempt that got no answer may have made the job, so each looks for it first."""
        file: str | None = None
        with tempfile.TemporaryFile() as spool:
            spool.writelines(lines)

            async def attempt() -> str:
                nonlocal file
                if found := await self._find(metadata, since):
                    return found
                file = file or await self._upload(spool, f"{metadata[CHUNK]}.jsonl")
                return await self._create(file, metadata)

            return await self._retried(attempt)

    async def _upload(self, spool: IO[bytes], name: str) -> str:
        spool.seek(0)
        uploaded = await self._asked(lambda client: client.files.create(file=(name, spool), purpose="batch"))
        return uploaded.id

    async def _create(self, file: str, metadata: Mapping[str, str]) -> str:
        made = await self._asked(
            lambda client: client.batches.create(
                input_file_id=file, endpoint=ENDPOINT, completion_window="24h", metadata=dict(metadata)
            )
        )
        return made.id

    async def state(self, remote: str) -> State:
        batch = await self._retried(lambda: self._own(remote, lambda client: client.batches.retrieve(remote)))
        counts, word = batch.request_counts, str(batch.status)
        done = counts.completed + counts.failed if counts else 0
        if word in WITH_RESULTS:
            return State("ended", word, done, whole=word == "completed")
        if word != "failed":
            return State("running", word, done)
        problems = (batch.errors.data if batch.errors else None) or []
        said = "; ".join(_problem(p) for p in problems[:5]) or "no reason given"
        return State("full" if any(p.code == FULL for p in problems) else "failed", word, said=scrub(said))

    async def results(self, remote: str) -> AsyncIterator[bytes]:
        """The lines of the output file, then those of the error file. (A line may hold what Python takes for a line's end.)"""
        batch = await self._own(remote, lambda client: client.batches.retrieve(remote))
        for file in (batch.output_file_id, batch.error_file_id):
            rest = b""
            async for piece in self._content(remote, file):
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    yield line
            if rest:
                yield rest

    async def _content(self, remote: str, file: str | None) -> AsyncIterator[bytes]:
        """Piece by piece, through the backend's own connections (the SDK's have errors of a third kind)."""
        if not file:
            return
        backend, wait = self.backend, aiohttp.ClientTimeout(sock_connect=SILENCE, sock_read=SILENCE)
        try:
            async with backend._session.get(f"{backend.url}/files/{file}/content", timeout=wait) as response:
                if response.status != 200:
                    raise self._refused(response.status, response.headers, error_of(await response.read()), remote)
                async for piece in response.content.iter_chunked(PIECE):
                    yield piece
        except (aiohttp.ClientError, OSError) as e:  # a TimeoutError is one
            raise LostAnswer(f"the download of batch job {remote} broke off", cause="broke off") from e

    def completion(self, body: Any) -> Completion:
        return completion_of(body)

    async def cancel(self, remote: str) -> None:
        await self._retried(lambda: self._own(remote, lambda client: client.batches.cancel(remote)))

    async def forget(self, remote: str) -> None:
        """Files and job stay where they are: they are the account's record."""

    async def close(self) -> None:
        """The connections are the backend's."""

    # -- the SDK -----------------------------------------------------------------------------------------------------

    async def _asked(self, ask: Callable[[openai.AsyncOpenAI], Awaitable[T]]) -> T:
        try:
            return await ask(self.backend._client)
        except openai.APIStatusError as e:
            if e.status_code in (404, 405, 501):
                where = scrub(self.backend.url)
                raise BackendError(f"{where} takes no batch jobs ({e.status_code}); leave out --batch") from None
            raise self.backend.mapped(e) from None
        except openai.APIError as e:
            raise self.backend.mapped(e) from None

    async def _own(self, remote: str, ask: Callable[[openai.AsyncOpenAI], Awaitable[T]]) -> T:
        """About a job that was made before."""
        try:
            return await ask(self.backend._client)
        except openai.APIError as e:
            raise self._mapped(e, remote) from None

    def _mapped(self, e: openai.APIError, remote: str) -> BackendError:
        if not isinstance(e, openai.APIStatusError):
            return self.backend.mapped(e)
        return self._refused(e.status_code, e.response.headers, e.body if isinstance(e.body, dict) else {}, remote)

    def _refused(self, status: int, headers: Mapping[str, str], said: Mapping[str, Any], remote: str) -> BackendError:
        if status not in (403, 404):
            return self.backend.refusal(status, headers, said)
        return AuthError(
            f"batch job {remote} at {scrub(self.backend.url)} cannot be read with this key ({status}): the job, or the file "
            "with its results, belongs to another key or project, or was deleted. Use the key it was made with; if that is "
            "gone, start a new run with --out NEW --from RUN, which asks and pays again"
        )

    async def _retried(self, work: Callable[[], Awaitable[T]]) -> T:
        caller = stamina.AsyncRetryingCaller(attempts=ATTEMPTS, timeout=None, wait_initial=0.5, wait_max=30.0, wait_jitter=1.0)
        return await caller(worth_retrying, work)


def _problem(problem: Any) -> str:
    where = f" (line {problem.line})" if problem.line is not None else ""
    return f"{problem.message or problem.code}{where}"
