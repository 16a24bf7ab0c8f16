"""What each part of one request costs, in microseconds: our own code piece by piece, and the ways to send it.

python bench/layers.py [--server URL --model NAME] [--rows 3000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import openai
import orjson
from throughput import Answer, counting_server, messages

from llmlabel.llm.backends.openai import OpenAIBackend, completion_of
from llmlabel.llm.ledger import Budget, Ledger, Send
from llmlabel.llm.limits import Place, Pool
from llmlabel.llm.loop import run_async
from llmlabel.llm.requests import Completion, Request, most_tokens, request_json, request_key
from llmlabel.llm.structured import Question, _request, parse_answer, strict_schema

AT_ONCE = 64
TEXT = "Why was I charged for the transfer to my other account, and when will the money be back?"


def each(work: Callable[[int], object], rows: int) -> float:
    start = time.perf_counter()
    for i in range(rows):
        work(i)
    return (time.perf_counter() - start) / rows * 1e6


def each_async(work: Callable[[int], Awaitable[object]], rows: int) -> float:
    """Microseconds per piece of work, 64 at once."""

    async def all_of_them() -> float:
        queue = iter(range(rows))

        async def worker() -> None:
            for i in queue:
                await work(i)

        start = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        return (time.perf_counter() - start) / rows * 1e6

    return run_async(all_of_them())


def our_parts(rows: int, folder: Path) -> None:
    backend = OpenAIBackend("fake-1", "http://127.0.0.1:9/v1", "EMPTY", hosted=False, timeout=9.0)
    request = Request(messages(TEXT), 64, schema=strict_schema(Answer))
    said = {
        "choices": [{"message": {"content": '{"label":"fees","certain":true}'}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 40, "completion_tokens": 9},
    }
    content = json.dumps(said).encode()
    answer, ledger, pool = completion_of(said), Ledger(folder), Pool([Place(backend, AT_ONCE)])  # type: ignore[list-item]

    class Client:
        backend = OpenAIBackend("fake-1", "http://127.0.0.1:9/v1", "EMPTY", hosted=False, timeout=9.0)

    async def intent_and_settlement(i: int) -> None:
        send = Send("r", "s", i.to_bytes(24, "big"), "m", sum(most_tokens(request)), 0)
        intent = await ledger.open(send, Budget(money=1.0))
        assert isinstance(intent, int)
        ledger.settle(intent, send, answer=answer, nano=0, outcome="ok", asked=request_json(request))

    async def slot(i: int) -> None:
        pool.release(await pool.acquire(100))

    question = Question(messages(TEXT), Answer)
    parts = {
        "question to request": each(lambda i: _request(question, Client), rows),  # type: ignore[arg-type]
        "key": each(lambda i: request_key(backend, request), rows),
        "slot in a window": each_async(slot, rows),
        "intent, settlement, answer on disk": each_async(intent_and_settlement, rows),
        "body": each(lambda i: orjson.dumps(backend.body(request)), rows),
        "answer read": each(lambda i: completion_of(orjson.loads(content)), rows),
        "checked form": each(lambda i: parse_answer(Answer, answer), rows),
    }
    for name, cost in parts.items():
        print(f"  {name:40} {cost:7.1f}")
    print(f"  {'sum':40} {sum(parts.values()):7.1f}")
    keys = [i.to_bytes(24, "big") for i in range(rows)]
    start = time.perf_counter()
    found = sum(len(ledger.answers(keys[i : i + 512])) for i in range(0, rows, 512))
    print(f"  {'(from the store instead: looked up)':40} {(time.perf_counter() - start) / max(found, 1) * 1e6:7.1f}")
    ledger.close()


def ways_to_send(server: str, model: str, rows: int) -> None:
    sdk = openai.AsyncOpenAI(base_url=server, api_key="EMPTY", max_retries=0)
    fast = openai.AsyncOpenAI(base_url=server, api_key="EMPTY", max_retries=0, http_client=openai.DefaultAioHttpClient())
    ours = OpenAIBackend(model, server, "EMPTY", hosted=False, timeout=60.0)
    body = ours.body(Request(messages(TEXT), 64))

    def fresh(i: int) -> dict[str, object]:
        return {**body, "seed": i}

    async def post(i: int) -> None:
        sent = await fast.post("/chat/completions", content=orjson.dumps(fresh(i)), cast_to=httpx2.Response)
        completion_of(orjson.loads(sent.content))

    async def own(i: int) -> Completion:
        return await ours.complete(Request(messages(TEXT), 64, sample=i))

    ways: dict[str, Callable[[int], Awaitable[object]]] = {
        "openai, as it comes": lambda i: sdk.chat.completions.create(**fresh(i)),  # type: ignore[call-overload]
        "openai on its aiohttp transport": lambda i: fast.chat.completions.create(**fresh(i)),  # type: ignore[call-overload]
        "openai, client.post of bytes on aiohttp": post,
        "aiohttp, as the backend sends": own,
    }
    for name, way in ways.items():
        each_async(way, 100)
        cost = each_async(way, rows)
        print(f"  {name:40} {cost:7.1f}  = {1e6 / cost:,.0f}/s")
    run_async(ours.close())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", help="default: the counting server in tests/")
    parser.add_argument("--model", default="fake-1")
    parser.add_argument("--rows", type=int, default=3000)
    args = parser.parse_args()
    print("our own code, microseconds per request:")
    with tempfile.TemporaryDirectory() as folder:
        our_parts(args.rows, Path(folder))
    print(f"sending and reading, microseconds per request, {AT_ONCE} at once, the server included:")
    if args.server:
        ways_to_send(args.server, args.model, args.rows)
    else:
        with counting_server(0) as server:
            ways_to_send(server, args.model, args.rows)


if __name__ == "__main__":
    main()
