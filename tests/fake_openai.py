"""A small OpenAI-compatible server for tests: it counts, it bills, and it fails on demand.

In a test:        `with FakeOpenAI() as server: ... server.url ...`, or the fixture `fake_server`.
As a process:     `python tests/fake_openai.py --port 8099` (for tests that kill the client and count what was sent).
Over HTTP:        `GET /stats`, `POST /faults {"kind": "429", "times": 2, "retry_after": 1}`, `POST /reset`.

Answers are a function of the request alone: the same body gets the same bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import importlib
import json
import math
import random
import re
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
from aiohttp import web
from fake_batches import FakeBatches

Body = dict[str, Any]
LOST = ("hang", "disconnect", "damaged", "html")  # computed and billed, and not delivered
UNUSABLE = ("bad_json", "truncated", "refusal", "empty")
KINDS = ("429", "500", "401", "400", *LOST, *UNUSABLE)
TOKEN = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")
CODES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass
class Fault:
    """What happens to the next `times` requests to a model. `after`: requests served well before that."""

    kind: str
    times: int = 1
    retry_after: float | str | None = None
    after: int = 0
    param: str | None = None
    message: str = "told to fail"

    def __post_init__(self) -> None:
        assert self.kind in KINDS, f"{self.kind!r} is none of {KINDS}"


@dataclass
class Stats:
    """What the server saw. `billed_*`: tokens of every answer it computed, delivered or not; `distinct` bodies."""

    requests: int = 0
    answered: int = 0
    billed_prompt_tokens: int = 0
    billed_completion_tokens: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    distinct: int = 0
    by_path: dict[str, int] = field(default_factory=dict)

    @property
    def billed_tokens(self) -> int:
        return self.billed_prompt_tokens + self.billed_completion_tokens


def plain_answer(body: Body) -> str:
    """The default: JSON where a schema is given, else a short echo of the last message's hash."""
    form = _schema(body)
    if form is not None:
        return json.dumps(fill(form, form, seed(body)), ensure_ascii=False)
    return f"answer {seed(body) % 10**8}"


def seed(body: Body) -> int:
    """A number that depends on the messages and the seed."""
    text = json.dumps([body.get("messages"), body.get("seed", 0)], sort_keys=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")


def prompt_of(body: Body) -> str:
    """All message texts, for scripted answers that look at what was asked."""
    return "\n".join(m["content"] for m in body["messages"])


def count_words(text: str) -> int:
    return len(TOKEN.findall(text))


def count_bytes(text: str) -> int:
    """The worst tokenizer there can be."""
    return len(text.encode("utf-8", "surrogatepass"))


def _schema(body: Body) -> Body | None:
    return ((body.get("response_format") or {}).get("json_schema") or {}).get("schema")


def fill(node: Body, root: Body, number: int) -> Any:
    """Any value that satisfies a JSON schema (the parts pydantic writes), chosen by `number`."""
    if "$ref" in node:
        target: Any = root
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return fill(target, root, number)
    if "const" in node:
        return node["const"]
    for choice in ("enum", "anyOf", "oneOf"):
        if choice in node:
            one = node[choice][number % len(node[choice])]
            return one if choice == "enum" else fill(one, root, number // 7)
    return _FILL[node.get("type", "string")](node, root, number)


def _fill_object(node: Body, root: Body, number: int) -> Body:
    return {k: fill(v, root, number // (i + 2)) for i, (k, v) in enumerate(node.get("properties", {}).items())}


def _fill_array(node: Body, root: Body, number: int) -> list[Any]:
    low = node.get("minItems", 0)
    return [fill(node["items"], root, number + i) for i in range(max(low, min(node.get("maxItems", 2), 2)))]


def _fill_string(node: Body, root: Body, number: int) -> str:
    text = f"text {number % 9973}".ljust(node.get("minLength", 0), "x")
    return text[: node.get("maxLength", len(text))]


def _fill_number(node: Body, root: Body, number: int) -> float:
    low = node.get("minimum", node.get("exclusiveMinimum", 0))
    high = node.get("maximum", node.get("exclusiveMaximum", low + 1))
    return low + (high - low) * (1 + number % 97) / 99


def _fill_integer(node: Body, root: Body, number: int) -> int:
    low = node.get("minimum", node.get("exclusiveMinimum", -1) + 1)
    high = node.get("maximum", node.get("exclusiveMaximum", low + 11) - 1)
    return int(low + number % (high - low + 1))


_FILL: dict[str, Callable[[Body, Body, int], Any]] = {
    "object": _fill_object,
    "array": _fill_array,
    "string": _fill_string,
    "number": _fill_number,
    "integer": _fill_integer,
    "boolean": lambda node, root, number: bool(number % 2),
    "null": lambda node, root, number: None,
}


class FakeOpenAI:
    """The server, in a thread of its own; a context manager.

    Args:
        answer: body -> the answer's text. key: the one accepted key, None: any. models: what /v1/models lists.
        unsupported: parameters answered with a 400. schema: False ignores response_format, None refuses it.
        logprobs: False leaves them out. context: most prompt plus completion tokens. latency: seconds per answer.
        count: text -> tokens. ceiling: over so many in flight, 429.
        rates: kind of fault -> share of the attempts it happens to, drawn by body and attempt.
    """

    def __init__(
        self,
        answer: Callable[[Body], str] = plain_answer,
        *,
        key: str | None = None,
        models: tuple[str, ...] = ("fake-1",),
        unsupported: tuple[str, ...] = (),
        schema: bool | None = True,
        logprobs: bool = True,
        context: int = 100_000,
        latency: float = 0.0,
        count: Callable[[str], int] = count_words,
        ceiling: int | None = None,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        self.answer, self.key, self.models, self.unsupported = answer, key, models, set(unsupported)
        self.schema, self.logprobs, self.context, self.latency, self.count = schema, logprobs, context, latency, count
        self.ceiling, self.headers = ceiling, dict[str, str]()
        self.rates, self.times_seen = dict(rates or {}), Counter[int]()
        self.stats, self.faults = Stats(), deque[Fault]()
        self._batch_routes = FakeBatches(self)
        self.batches = self._batch_routes.state
        self.bodies: list[Body] = []
        self.url = ""
        self.alone = False  # a process of its own: prints its URL, keeps no bodies
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()

    # -- for tests ---------------------------------------------------------------------------------------------------

    def fail(self, kind: str, times: int = 1, **more: Any) -> None:
        """Make the next `times` requests fail; see `Fault`."""
        self.faults.append(Fault(kind, times, **more))

    def reset(self) -> None:
        self.stats, self.faults, self.bodies, self.times_seen = Stats(), deque(), [], Counter()

    def __enter__(self) -> FakeOpenAI:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=("127.0.0.1", 0, ready), name="fake-openai", daemon=True)
        self._thread.start()
        assert ready.wait(10), "the fake server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)

    def serve_forever(self, host: str, port: int) -> None:
        self.alone = True
        self._run(host, port, threading.Event())

    # -- the server --------------------------------------------------------------------------------------------------

    def _run(self, host: str, port: int, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(host, port, ready))
        self._loop.close()

    async def _serve(self, host: str, port: int, ready: threading.Event) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_get("/v1/models", self._list)
        self._batch_routes.add_to(app)
        app.router.add_get("/stats", self._get_stats)
        app.router.add_post("/faults", self._post_fault)
        app.router.add_post("/reset", self._post_reset)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        await site.start()
        self.url = f"http://{host}:{runner.addresses[0][1]}/v1"
        if self.alone:
            print(self.url, flush=True)
        ready.set()
        await self._stopping.wait()
        await runner.cleanup()

    async def _get_stats(self, _: web.Request) -> web.Response:
        return web.json_response(asdict(self.stats) | {"billed_tokens": self.stats.billed_tokens})

    async def _post_fault(self, request: web.Request) -> web.Response:
        self.fail(**await request.json())
        return web.json_response({})

    async def _post_reset(self, _: web.Request) -> web.Response:
        self.reset()
        return web.json_response({})

    async def _list(self, request: web.Request) -> web.Response:
        if refused := self._refused_key(request):
            return refused
        return web.json_response({"object": "list", "data": [{"id": m, "object": "model"} for m in self.models]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._guarded(request, self._chat_problem, self._completion)

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        return await self._guarded(request, lambda body: None, self._vectors)

    async def _guarded(
        self,
        request: web.Request,
        problem: Callable[[Body], web.Response | None],
        serve: Callable[[Body, Fault | None], Body],
    ) -> web.StreamResponse:
        """Count, then fail as told or answer."""
        stats = self.stats
        stats.requests += 1
        stats.by_path[request.path] = stats.by_path.get(request.path, 0) + 1
        stats.in_flight += 1
        stats.most_in_flight = max(stats.most_in_flight, stats.in_flight)
        try:
            body = orjson_or_json(await request.read())
            if not self.alone:
                self.bodies.append(body)
            fault = self._next_fault() or self._drawn_fault(body)
            if self.ceiling is not None and stats.in_flight > self.ceiling:
                return _error(429, "too many at once")
            if self.latency:
                await asyncio.sleep(self.latency)
            if refused := self._refused_key(request) or self._status(fault) or problem(body):
                return refused
            return await self._deliver(request, fault, serve(body, fault))
        finally:
            stats.in_flight -= 1

    async def _deliver(self, request: web.Request, fault: Fault | None, answer: Body) -> web.StreamResponse:
        """The answer is computed and billed; whether it arrives is another matter."""
        usage = answer["usage"]
        self.stats.billed_prompt_tokens += usage["prompt_tokens"]
        self.stats.billed_completion_tokens += usage.get("completion_tokens", 0)
        kind = fault.kind if fault else ""
        text = json_text(answer)
        if kind == "hang":
            await asyncio.wait([asyncio.ensure_future(self._stopping.wait())], timeout=60)
        if kind == "disconnect":
            assert request.transport is not None
            request.transport.close()
        if kind == "damaged":
            return web.Response(text=text[: len(text) // 2], content_type="application/json")
        if kind == "html":
            return web.Response(text="<html><body>Welcome to the portal</body></html>", content_type="text/html")
        self.stats.answered += 1
        return web.Response(text=text, content_type="application/json", headers=self.headers)

    def _next_fault(self) -> Fault | None:
        if not self.faults:
            return None
        fault = self.faults[0]
        if fault.after > 0:
            fault.after -= 1
            return None
        fault.times -= 1
        if fault.times <= 0:
            self.faults.popleft()
        return fault

    def _drawn_fault(self, body: Body) -> Fault | None:
        number = seed(body)
        self.times_seen[number] += 1
        self.stats.distinct += self.times_seen[number] == 1
        draw = random.Random(f"{number}/{self.times_seen[number]}").random()
        for kind, share in self.rates.items():
            draw -= share
            if draw < 0:
                return Fault(kind)
        return None

    def _status(self, fault: Fault | None) -> web.Response | None:
        if fault is None or not fault.kind.isdigit():
            return None
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        return _error(int(fault.kind), fault.message, param=fault.param, headers=headers)

    def _refused_key(self, request: web.Request) -> web.Response | None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.key is None or given == self.key:
            return None
        return _error(401, f"Incorrect API key provided: {given}", code="invalid_api_key")

    def _chat_problem(self, body: Body) -> web.Response | None:
        for param in sorted(self.unsupported & set(body)):
            return _error(400, f"Unsupported parameter: '{param}'", param=param, code="unsupported_parameter")
        if self.schema is None and "response_format" in body:
            return _error(400, "response_format is not available", param="response_format")
        if body.get("model") not in self.models:
            return _error(404, f"The model {body.get('model')!r} does not exist", code="model_not_found")
        tokens = self.count(prompt_of(body)) + (body.get("max_tokens") or body.get("max_completion_tokens") or 0)
        if tokens > self.context:
            message = f"maximum context length is {self.context} tokens, you asked for {tokens}"
            return _error(400, message, param="messages", code="context_length_exceeded")
        return None

    def _completion(self, body: Body, fault: Fault | None) -> Body:
        asked = body if self.schema else {k: v for k, v in body.items() if k != "response_format"}
        text, kind = self.answer(asked), fault.kind if fault else ""
        text = {"bad_json": '{"label": "unfini', "empty": ""}.get(kind, text)
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or 10**9
        tokens = TOKEN.findall(text)
        finish = "length" if len(tokens) > limit or kind == "truncated" else "stop"
        if finish == "length":
            text = "".join(tokens[: min(limit, max(1, len(tokens) // 2) if kind == "truncated" else limit)])
        message: Body = {"role": "assistant", "content": text, "refusal": None}
        if kind == "refusal":
            message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": self._logprobs(body, text)}
        read, wrote = sum(self.count(m["content"]) for m in body["messages"]), min(self.count(text), limit)
        usage = {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
        head = {"id": f"fake-{seed(body)}", "object": "chat.completion", "created": 0, "model": body["model"]}
        return head | {"choices": [choice], "usage": usage}

    def _logprobs(self, body: Body, text: str) -> Body | None:
        """The first token and, beside it, the codes A, B, C ... with probabilities that fall by the hash."""
        if not (self.logprobs and body.get("logprobs")):
            return None
        first = (TOKEN.findall(text) or [""])[0]
        others = [c for c in CODES if c != first][: max(body.get("top_logprobs", 0) - 1, 0)]
        weights = [8.0] + [1 + (seed(body) >> i) % 5 for i in range(len(others))]
        total = sum(weights) * 1.02  # something is left for tokens not shown
        rows = sorted(zip([first, *others], weights, strict=True), key=lambda r: -r[1])
        top = [{"token": t, "logprob": math.log(w / total), "bytes": list(t.encode())} for t, w in rows]
        return {"content": [top[0] | {"top_logprobs": top}]}

    def _vectors(self, body: Body, fault: Fault | None) -> Body:
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        rows = [{"object": "embedding", "index": i, "embedding": _vector(t, body)} for i, t in enumerate(texts)]
        usage = {"prompt_tokens": sum(map(self.count, texts))}
        return {"object": "list", "data": rows, "model": body["model"], "usage": usage}


def _vector(text: str, body: Body, size: int = 64) -> list[float] | str:
    """A unit vector of hashed words: texts that share words are near each other."""
    values = [1e-3] * size
    for word in re.findall(r"\w+", text.casefold()):
        values[int.from_bytes(hashlib.blake2b(word.encode(), digest_size=2).digest(), "big") % size] += 1.0
    norm = math.sqrt(sum(v * v for v in values))
    unit = [v / norm for v in values]
    if body.get("encoding_format") == "base64":
        return base64.b64encode(struct.pack(f"<{size}f", *unit)).decode()
    return unit


def orjson_or_json(content: bytes) -> Body:
    try:
        return orjson.loads(content)
    except ValueError:  # half a surrogate pair
        return json.loads(content)


def json_text(answer: Body) -> str:
    try:
        return orjson.dumps(answer).decode()
    except TypeError:
        return json.dumps(answer)


def _error(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    body = {"error": {"message": message, "type": "fake", "param": param, "code": code}}
    return web.json_response(body, status=status, headers=headers)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--host", default="127.0.0.1")
    args.add_argument("--port", type=int, required=True)
    args.add_argument("--latency", type=float, default=0.0)
    args.add_argument("--key")
    args.add_argument("--answer", help="module:function, body -> text")
    args.add_argument("--rates", type=json.loads, default={}, help='shares of faults: {"429": 0.1}')
    given = args.parse_args()
    answer = plain_answer
    if given.answer:
        module, _, name = given.answer.partition(":")
        answer = getattr(importlib.import_module(module), name)
    FakeOpenAI(answer, key=given.key, latency=given.latency, rates=given.rates).serve_forever(given.host, given.port)


if __name__ == "__main__":
    main()
