"""Speed of the embedded model: scoring the labels of texts, and generating short answers.

    python bench/embedded.py --data clinc150.parquet [--model DIR] [--rows 64] [--in-flight 1]

Prints rows and generated tokens per second; `--in-flight 1` asks one request at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from llmlabel.llm.backends.embedded import EmbeddedBackend, connect
from llmlabel.llm.options import Options
from llmlabel.llm.requests import Completion, Request, ScoreRequest

LABELS = [
    " Banking", " Credit cards", " Kitchen and dining", " Home", " Auto and commute", " Travel", " Utility", " Work",
    " Small talk", " Meta",
]  # fmt: skip


class Clock:
    """Wall and CPU time; the second is the one to compare where others use the machine too."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def rate(self, count: int, unit: str) -> str:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return f"{count} {unit}, {count / wall:.2f} {unit}/s, {count / cpu:.2f} {unit} per CPU second"


async def answer(ask: Callable[[Any], Awaitable[Completion]], requests: Sequence[Any], in_flight: int) -> list[Completion]:
    free = asyncio.Semaphore(in_flight)

    async def one(request: Any) -> Completion:
        async with free:
            return await ask(request)

    return await asyncio.gather(*map(one, requests))


async def measure(backend: EmbeddedBackend, texts: list[str], in_flight: int) -> None:
    scores = [ScoreRequest(f"Text: {text}\nCategory:", LABELS) for text in texts]
    chats = [Request([{"role": "user", "content": f"{text}\nWhat is this about? Answer in a few words."}], 16) for text in texts]
    await backend.complete(chats[0])
    await backend.score(scores[0])
    clock = Clock()
    await answer(backend.score, scores, in_flight)
    print(f"scoring {len(LABELS)} labels: {clock.rate(len(texts), 'rows')}")
    clock = Clock()
    written = await answer(backend.complete, chats, in_flight)
    print(f"generating: {clock.rate(sum(c.completion_tokens for c in written), 'tokens')}")
    await backend.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--text", default="text")
    parser.add_argument("--model", default="", help="a folder with a model; default: the packaged one")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--in-flight", type=int, default=64)
    args = parser.parse_args()
    texts = [str(v) for v in pq.read_table(args.data, columns=[args.text])[args.text].slice(0, args.rows).to_pylist()]
    asyncio.run(measure(connect(Options(args.model)), texts, args.in_flight))


if __name__ == "__main__":
    main()
