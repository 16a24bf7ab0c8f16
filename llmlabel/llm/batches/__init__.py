"""Batch jobs: many requests in one file, at half the price, answered within a day.

`book.py` keeps them in the ledger, `lines.py` writes and reads their lines, `call.py` takes one call of `Client.map`
through them; a place that runs batch jobs is one file here: `hosted.py` (OpenAI's Batch API), `vllm.py` (vLLM's run-batch).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from llmlabel.llm.requests import Completion

if TYPE_CHECKING:
    from llmlabel.llm.backends.openai import OpenAIBackend

RUN, CHUNK = "llmlabel_run", "llmlabel_chunk"  # names in a batch job's metadata


@dataclass(frozen=True)
class Limits:
    """Of batch jobs. `lines` and `size` (bytes): most in one; `jobs`: most at a time; `least`: fewer requests go one by one.

    `first_wait` and `longest_wait`: seconds between two looks at a job. `attempts`: how often a line that failed is sent.
    `recent`: seconds within which a job that got away from us is looked for before it is made again.
    """

    lines: int = 50_000
    size: int = 200_000_000
    jobs: int = 20
    least: int = 20
    first_wait: float = 5.0
    longest_wait: float = 60.0
    attempts: int = 3
    recent: float = 2 * 86_400.0


@dataclass(frozen=True)
class State:
    """What a place says of a job.

    `kind`: running; ended, with results; failed: nothing was computed, `said` tells why; full: as failed, but there is no
    room in the queue right now; gone: it ended with the process that ran it. `word`: the provider's own word for that.
    `whole`: every line was computed, so that one without a result is lost.
    """

    kind: Literal["running", "ended", "failed", "full", "gone"]
    word: str
    done: int = 0
    whole: bool = False
    said: str = ""


class BatchPlace(Protocol):
    """Somebody who runs batch jobs. Errors: those of a backend; TransientError where another try may help.

    `name` tells places apart between which a job cannot move; `backend` writes the requests.
    """

    name: str
    backend: OpenAIBackend

    async def check(self) -> None:
        """Raises: AuthError or BackendError where there can be no batch jobs."""

    async def find(self, metadata: Mapping[str, str], since: float) -> str | None:
        """The job with this metadata among those made since then (seconds since 1970)."""

    async def submit(self, lines: Iterable[bytes], metadata: Mapping[str, str], since: float) -> str:
        """Make the job, unless it is found; returns its id."""

    async def state(self, remote: str) -> State: ...

    def results(self, remote: str) -> AsyncIterator[bytes]:
        """The lines of a job that ended."""

    def completion(self, body: Any) -> Completion:
        """What the body of a good line says. Raises: LostAnswer."""

    async def cancel(self, remote: str) -> None: ...

    async def forget(self, remote: str) -> None:
        """Its results are in the store."""

    async def close(self) -> None: ...
