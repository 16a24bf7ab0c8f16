"""Requests per second of structured labelling: this package against a bare loop of the default AsyncOpenAI.

    python bench/throughput.py                          # on the counting server in tests/
    python bench/throughput.py --server http://host:port/v1 --model NAME

Medians of `--repeat` runs, each in a process of its own; the two take turns, so read the ratio and not the numbers.
`--data` (with `--text-column`) brings texts of your own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

ROOT = Path(__file__).parents[1]
CASES = ((0, 64), (100, 256))  # ms of latency, requests in flight


class Answer(BaseModel):
    """What is asked for."""

    label: Literal["card", "transfer", "fees", "other"]
    certain: bool


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "Label the text. Answer as JSON."}, {"role": "user", "content": text}]


def texts(args: argparse.Namespace) -> list[str]:
    some = [f"Request {i}: why was I charged {i * 7919 % 10007} for the transfer to my other account?" for i in range(args.rows)]
    if args.data:
        from llmlabel.data import read_examples

        own = [e.text for e in read_examples(args.data, text_column=args.text_column)]
        some = [f"{own[i % len(own)]} ({i})" for i in range(args.rows)]
    return some


def bare(args: argparse.Namespace) -> dict[str, float]:
    """The loop people write first."""
    import openai

    schema = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": Answer.model_json_schema()}}
    queue = iter(texts(args))

    async def worker(client: openai.AsyncOpenAI) -> None:
        for text in queue:
            made = await client.chat.completions.create(  # type: ignore[call-overload]
                model=args.model, messages=messages(text), max_tokens=64, response_format=schema
            )
            Answer.model_validate_json(made.choices[0].message.content)

    async def work() -> None:
        async with openai.AsyncOpenAI(base_url=args.server, api_key="EMPTY") as client:
            await asyncio.gather(*(worker(client) for _ in range(args.in_flight)))

    start = time.perf_counter()
    asyncio.run(work())
    return {"rate": args.rows / (time.perf_counter() - start)}


def ours(args: argparse.Namespace) -> dict[str, float]:
    """The same through the client, with ledger and store; then again, all from the store."""
    from llmlabel.config import CommonConfig
    from llmlabel.llm import connect
    from llmlabel.llm.structured import Question, ask_all

    with tempfile.TemporaryDirectory() as folder:
        options = CommonConfig(data="-", out=Path(folder, "out"), cache=Path(folder, "cache"), concurrency=args.in_flight)
        client = connect(f"{args.model}@{args.server}", options=options, run="bench")
        rates = []
        for _ in range(2):
            start, done = time.perf_counter(), 0
            for part in _parts(texts(args), args.part):
                answers = ask_all(client, [Question(messages(t), Answer, max_tokens=64) for t in part], "label")
                done += sum(isinstance(a, Answer) for a in answers)
            rates.append(args.rows / (time.perf_counter() - start))
            assert done == args.rows, f"{args.rows - done} rows have no answer"
        assert client.usage.sent <= args.rows + 4, "the second run asked again"
        client.close()
        client.ledger.close()
    return {"rate": rates[0], "stored": rates[1]}


def _parts(rows: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def one_run(args: argparse.Namespace) -> None:
    found = {"bare": bare, "ours": ours}[args.only](args)
    used = resource.getrusage(resource.RUSAGE_SELF)
    found |= {"cpu_ms": (used.ru_utime + used.ru_stime) / args.rows * 1000, "peak_mb": used.ru_maxrss / 1024}
    print(json.dumps(found))


@contextmanager
def counting_server(latency_ms: int) -> Iterator[str]:
    command = [sys.executable, str(ROOT / "tests" / "fake_openai.py"), "--port", "0", "--latency", str(latency_ms / 1000)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def measured(args: argparse.Namespace, which: str, server: str, in_flight: int) -> dict[str, float]:
    command = [
        sys.executable, __file__, "--only", which, "--server", server, "--model", args.model, "--rows", str(args.rows),
        "--in-flight", str(in_flight), "--part", str(args.part), *(["--data", args.data] if args.data else []),
        "--text-column", args.text_column,
    ]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return dict(json.loads(done.stdout))


def compare(args: argparse.Namespace, where: str, in_flight: int, server: str) -> None:
    runs: dict[str, list[dict[str, float]]] = {"bare": [], "ours": []}
    for _ in range(args.repeat):
        for which, found in runs.items():
            found.append(measured(args, which, server, in_flight))
    middle = {w: {k: statistics.median(r[k] for r in found) for k in found[0]} for w, found in runs.items()}
    ratio = statistics.median(o["rate"] / b["rate"] for o, b in zip(runs["ours"], runs["bare"], strict=True))
    print(f"{where}, {in_flight} in flight, {args.rows} rows, median of {args.repeat}:")
    for which, row in middle.items():
        print(f"  {which}: {row['rate']:,.0f} requests/s, {row['cpu_ms']:.2f} ms CPU per request, peak {row['peak_mb']:.0f} MB")
    print(f"  ratio {ratio:.2f}; a second run, all from the store: {middle['ours']['stored']:,.0f} rows/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", help="an OpenAI-compatible URL; default: the counting server, at 0 and 100 ms")
    parser.add_argument("--model", default="fake-1")
    parser.add_argument("--data", help="texts of your own: parquet, jsonl or csv")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--part", type=int, default=1000, help="rows handed over at once")
    parser.add_argument("--only", choices=["bare", "ours"], help=argparse.SUPPRESS)
    args: Any = parser.parse_args()
    if args.only:
        one_run(args)
    elif args.server:
        compare(args, args.server, args.in_flight, args.server)
    else:
        for latency_ms, in_flight in CASES:
            with counting_server(latency_ms) as server:
                compare(args, f"{latency_ms} ms", in_flight, server)


if __name__ == "__main__":
    main()
