"""vLLM's run-batch on this machine: one process per job, one after the other, files in the cache directory."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

from llmlabel.errors import BackendError
from llmlabel.llm.backends.openai import OpenAIBackend
from llmlabel.llm.backends.vllm import ADVICE, answer_of
from llmlabel.llm.batches import CHUNK, State
from llmlabel.llm.batches.turns import Turns
from llmlabel.llm.plan import Plan
from llmlabel.llm.process import ServerProcess
from llmlabel.llm.requests import Completion

DONE = re.compile(r"(\d+)/\d+ \[")  # in the log's progress bar
TAIL = 4000  # bytes


class VLLMBatches:
    """Jobs of this process run; one of an earlier process has its results, or is gone.

    Args:
        turns: between batch jobs and a server; both would not fit into the memory.
    """

    def __init__(self, backend: OpenAIBackend, plan: Plan, folder: Path, turns: Turns) -> None:
        self.backend, self.name = backend, f"{backend.model} at {socket.gethostname() or 'this machine'}"
        self._plan, self._folder, self._turns = plan, folder, turns
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._running: tuple[str, ServerProcess] | None = None
        self._one, self._closed = asyncio.Lock(), False

    async def check(self) -> None:
        """Whether vLLM is there was looked at before."""

    async def find(self, metadata: Mapping[str, str], since: float) -> str | None:
        remote = metadata[CHUNK]
        return remote if remote in self._jobs or self._out(remote).exists() else None

    async def submit(self, lines: Iterable[bytes], metadata: Mapping[str, str], since: float) -> str:
        remote = metadata[CHUNK]
        if self._closed or await self.find(metadata, since):
            return remote
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(os.open(self._in(remote), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            many = 0
            for line in lines:
                many += file.write(line) > 0
        self._jobs[remote] = asyncio.create_task(self._run(remote, many))
        return remote

    async def _run(self, remote: str, many: int) -> None:
        """Raises: BackendError with the end of the log when the process ends without an answer to every line."""
        part = self._out(remote).with_suffix(".part")
        async with self._one, self._turns.batch():
            command = [*self._plan.command("run_batch"), "-i", str(self._in(remote)), "-o", str(part)]
            process = ServerProcess(command, self._plan.env, title="vLLM", advice=ADVICE)
            self._running = remote, process
            try:
                while not process.ended():
                    await asyncio.sleep(0.2)
                if _lines(part) != many:
                    raise process.failure(f"ended before batch job {remote} was done")
                part.replace(self._out(remote))
            finally:
                self._running = None
                await asyncio.to_thread(process.stop, keep_log=not self._out(remote).exists())

    async def state(self, remote: str) -> State:
        task = self._jobs.get(remote)
        if task is not None and task.done():
            del self._jobs[remote]
            task.result()
        if self._out(remote).exists():
            return State("ended", "completed", whole=True)
        if self._closed:
            raise BackendError(f"batch job {remote} was stopped; run the same command to go on")
        if task is None:
            return State("gone", "stopped with the process that ran it")
        if self._running is None or self._running[0] != remote:
            return State("running", "waiting for its turn")
        return State("running", "in progress", _done(self._running[1].log))

    async def results(self, remote: str) -> AsyncIterator[bytes]:
        with self._out(remote).open("rb") as file:
            for line in file:
                yield line

    def completion(self, body: object) -> Completion:
        return answer_of(body)

    async def cancel(self, remote: str) -> None:
        if task := self._jobs.pop(remote, None):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def forget(self, remote: str) -> None:
        self._jobs.pop(remote, None)
        for file in (self._in(remote), self._out(remote), self._out(remote).with_suffix(".part")):
            file.unlink(missing_ok=True)

    async def close(self) -> None:
        self._closed = True
        for remote in list(self._jobs):
            await self.cancel(remote)

    def _in(self, remote: str) -> Path:
        return self._folder / f"{remote}.in.jsonl"

    def _out(self, remote: str) -> Path:
        return self._folder / f"{remote}.out.jsonl"


def _lines(file: Path) -> int:
    """Whole ones."""
    try:
        with file.open("rb") as handle:
            return sum(line.endswith(b"\n") for line in handle)
    except FileNotFoundError:
        return 0


def _done(log: Path) -> int:
    """How many requests the end of vLLM's log says are done."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            found = DONE.findall(file.read().decode("utf-8", "replace"))
    except OSError:
        return 0
    return int(found[-1]) if found else 0
