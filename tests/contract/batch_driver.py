"""Asks requests through batch jobs in forked children that kill themselves, or are killed, on the way.

One line of JSON per child on standard input: `{"cache", "url", "stage", "at"}`; on standard output its process id, then its
exit code. The child is killed when `stage` is reached for the `at`th time; stage "" asks to the end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmlabel.config import CommonConfig
from llmlabel.llm import Ledger, connect
from llmlabel.llm.batches import Limits
from llmlabel.llm.batches.book import Book
from llmlabel.llm.batches.hosted import HostedBatches
from llmlabel.llm.batches.job import Job
from llmlabel.llm.requests import Completion, Request

MANY = 60
STAGES: dict[str, tuple[type, str]] = {
    "intents written": (Book, "open"),
    "file uploaded": (HostedBatches, "_upload"),
    "job made": (HostedBatches, "_create"),
    "job's id written": (Book, "sent"),
    "looked at": (HostedBatches, "state"),
    "results coming": (HostedBatches, "results"),
    "result settled": (Job, "_settle"),
    "all settled": (Book, "end"),
}


def requests() -> list[Request]:
    return [Request([{"role": "user", "content": f"text {i}"}]) for i in range(MANY)]


def die_at(stage: str, at: int) -> None:
    owner, name = STAGES[stage]
    real, left = getattr(owner, name), [at]

    def reached() -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    async def then_die(self: Any, *args: Any, **named: Any) -> Any:
        result = await real(self, *args, **named)
        if name == "_settle":  # half of those before are on disk, the others may be
            await self._client.ledger.flush() if left[0] == at // 2 else None
        reached()
        return result

    async def die_among(self: Any, remote: str) -> Any:
        async for line in real(self, remote):
            reached()
            yield line

    new: Callable[..., Any] = die_among if name == "results" else then_die
    setattr(owner, name, new)


def child(cache: str, url: str, stage: str, at: int) -> None:
    if stage:
        die_at(stage, at)
    prices = {"fake-1": {"input": 2.0, "output": 4.0}}
    options = CommonConfig(data="x.csv", out=Path(cache) / "run", cache=Path(cache), batch=True, prices=prices)
    client = connect(f"fake-1@{url}", options=options, run="r", ledger=Ledger(options.cache), probe=False)
    client.batches.limits = Limits(lines=25, least=1, first_wait=0.05, longest_wait=0.05)
    answers = client.map(requests())
    os._exit(0 if all(isinstance(answer, Completion) for answer in answers) else 3)


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            try:
                child(**json.loads(line))
            finally:
                os._exit(1)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
