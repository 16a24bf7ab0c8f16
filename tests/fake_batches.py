"""Files and batch jobs of the fake server; a part of `FakeOpenAI`.

A job is validating, then in progress, then has its results, one state a look (`looks` more of them in progress). It is
computed, and billed at half the price, when it has its results; each key's number of computations is in `computed`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from fake_openai import FakeOpenAI

Body = dict[str, Any]
PAGE = 100


@dataclass
class Batches:
    """What they are told to do, and what they saw.

    `fail`: (body, how often this line came) -> the status and error object of a line that fails, or None. `expire_after`:
    lines computed before the next job expires. `problem`: (code, message) with which the next jobs fail validation, one
    each. `break_downloads`: how many downloads end in the middle. `lost_creations`: jobs made whose answer does not arrive.
    `drop`: answers left out of the results. `enabled`: False answers 404, as servers without batch jobs do. `price`: of a
    token read and of one written, in billionths.
    """

    fail: Callable[[Body, int], tuple[int, Body] | None] = lambda body, times: None
    looks: int = 1
    expire_after: int | None = None
    problem: list[tuple[str, str]] = field(default_factory=list)
    break_downloads: int = 0
    lost_creations: int = 0
    page: int = PAGE
    most_lines: int = 50_000
    most_bytes: int = 200_000_000
    drop: int = 0
    enabled: bool = True
    price: tuple[int, int] = (0, 0)
    files: dict[str, Body] = field(default_factory=dict)
    jobs: dict[str, Body] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    computed: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    bill: int = 0  # billionths

    def keep(self, content: bytes, name: str, key: str) -> Body:
        number = f"file-{len(self.files) + 1}"
        self.files[number] = {"content": content, "name": name, "key": key}
        return {"id": number, "object": "file", "bytes": len(content), "created_at": 0, "filename": name,
                "purpose": "batch", "status": "processed"}  # fmt: skip


class FakeBatches:
    """The routes."""

    def __init__(self, server: FakeOpenAI) -> None:
        self._server, self.state = server, Batches()

    def add_to(self, app: web.Application) -> None:
        for method, path, answer in (
            ("POST", "/v1/files", self._upload),
            ("GET", "/v1/files/{id}/content", self._download),
            ("POST", "/v1/batches", self._create),
            ("GET", "/v1/batches", self._list),
            ("GET", "/v1/batches/{id}", self._retrieve),
            ("POST", "/v1/batches/{id}/cancel", self._cancel),
        ):
            app.router.add_route(method, path, self._guarded(answer))

    def _guarded(self, answer: Callable[..., Any]) -> Callable[[web.Request], Any]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            self.state.calls[answer.__name__.strip("_")] += 1
            if not self.state.enabled:
                return web.json_response({"detail": "Not Found"}, status=404)
            fault = self._server._next_fault()
            if refused := self._server._refused_key(request) or self._server._status(fault):
                return refused
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            return await answer(request, given)  # type: ignore[no-any-return]

        return guarded

    async def _upload(self, request: web.Request, key: str) -> web.Response:
        form = await request.post()
        file = form["file"]
        assert isinstance(file, web.FileField)
        assert form["purpose"] == "batch"
        content = file.file.read()
        if len(content) > self.state.most_bytes:
            return _error(400, f"file too large: {len(content)} bytes")
        return web.json_response(self.state.keep(content, file.filename, key))

    async def _download(self, request: web.Request, key: str) -> web.StreamResponse:
        file = self.state.files.get(request.match_info["id"])
        if file is None or file["key"] != key:
            return _error(404, f"No such File object: {request.match_info['id']}")
        if not self.state.break_downloads:
            return web.Response(body=file["content"])
        self.state.break_downloads -= 1
        response = web.StreamResponse(headers={"Content-Length": str(len(file["content"]))})
        await response.prepare(request)
        await response.write(file["content"][: len(file["content"]) // 2])
        assert request.transport is not None
        request.transport.close()
        return response

    async def _create(self, request: web.Request, key: str) -> web.Response:
        asked = await request.json()
        file = self.state.files[asked["input_file_id"]]
        if file["key"] != key:
            return _error(404, f"No such File object: {asked['input_file_id']}")
        number = f"batch_{len(self.state.jobs) + 1}"
        lines = [json.loads(line) for line in file["content"].splitlines()]
        problem = self.state.problem.pop(0) if self.state.problem else self._problem(lines)
        self.state.jobs[number] = {
            "lines": lines, "key": key, "looks": 0, "problem": problem,
            "shown": {
                "id": number, "object": "batch", "endpoint": asked["endpoint"], "completion_window": asked["completion_window"],
                "created_at": int(time.time()), "input_file_id": asked["input_file_id"], "metadata": asked.get("metadata"),
                "status": "validating", "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            },
        }  # fmt: skip
        if self.state.lost_creations:
            self.state.lost_creations -= 1
            assert request.transport is not None
            request.transport.close()
        return web.json_response(self.state.jobs[number]["shown"])

    def _problem(self, lines: list[Body]) -> tuple[str, str] | None:
        if len(lines) > self.state.most_lines:
            return "too_many_tasks", f"The batch input file contains more than {self.state.most_lines} requests"
        if len({line["custom_id"] for line in lines}) < len(lines):
            return "duplicate_custom_id", "custom_id is not unique"
        return None

    async def _list(self, request: web.Request, key: str) -> web.Response:
        """Newest first, a page at a time."""
        found = [job["shown"] for job in reversed(self.state.jobs.values()) if job["key"] == key]
        ids = [job["id"] for job in found]
        start = ids.index(request.query["after"]) + 1 if "after" in request.query else 0
        size = min(int(request.query.get("limit", 20)), self.state.page)
        page = found[start : start + size]
        return web.json_response({"object": "list", "data": page, "has_more": start + size < len(found)})

    async def _retrieve(self, request: web.Request, key: str) -> web.Response:
        job = self.state.jobs.get(request.match_info["id"])
        if job is None or job["key"] != key:
            return _error(404, f"No batch found with id {request.match_info['id']!r}")
        self._advance(job)
        return web.json_response(job["shown"])

    async def _cancel(self, request: web.Request, key: str) -> web.Response:
        job = self.state.jobs[request.match_info["id"]]
        if job["shown"]["status"] not in ("validating", "in_progress"):
            return _error(400, f"Cannot cancel a batch with status {job['shown']['status']}")
        self._finish(job, "cancelled", len(job["lines"]) // 2)
        return web.json_response(job["shown"] | {"status": "cancelling"})

    def _advance(self, job: Body) -> None:
        shown, state = job["shown"], self.state
        if shown["status"] not in ("validating", "in_progress"):
            return
        job["looks"] += 1
        if job["problem"]:
            code, message = job["problem"]
            data = [{"code": code, "message": message, "line": None, "param": None}]
            shown |= {"status": "failed", "errors": {"object": "list", "data": data}}
        elif job["looks"] <= state.looks + 1:
            shown["status"] = "validating" if job["looks"] == 1 else "in_progress"
        elif state.expire_after is not None:
            self._finish(job, "expired", state.expire_after)
            state.expire_after = None
        else:
            self._finish(job, "completed", len(job["lines"]))

    def _finish(self, job: Body, status: str, many: int) -> None:
        """Compute the first lines; what is over is in the error file."""
        good, bad = [], []
        for line in job["lines"][:many]:
            result = self._computed(line)
            (good if result["response"]["status_code"] == 200 else bad).append(result)
        while self.state.drop and good:
            self.state.drop -= 1
            good.pop()
        late = {"code": f"batch_{status}", "message": "This request could not be executed in time."}
        for line in job["lines"][many:]:
            bad.append({"id": "r", "custom_id": line["custom_id"], "response": None, "error": late})
        shown = job["shown"]
        shown |= {"status": status, "request_counts": {"total": len(job["lines"]), "completed": len(good), "failed": len(bad)}}
        for name, results in (("output_file_id", good), ("error_file_id", bad)):
            content = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in reversed(results))  # in no special order
            shown[name] = self.state.keep(content.encode(), f"{name}.jsonl", job["key"])["id"] if results else None

    def _computed(self, line: Body) -> Body:
        state, server, body, number = self.state, self._server, line["body"], line["custom_id"]
        state.sent[number] += 1
        server.bodies.append(body)
        fault = state.fail(body, state.sent[number])
        if refused := server._chat_problem(body):
            fault = refused.status, json.loads(refused.text or "")["error"]
        if fault:
            return _line(number, fault[0], {"error": fault[1]})
        answer = server._completion(body, None)
        usage = answer["usage"]
        state.computed[number] += 1
        server.stats.billed_prompt_tokens += usage["prompt_tokens"]
        server.stats.billed_completion_tokens += usage["completion_tokens"]
        full = usage["prompt_tokens"] * state.price[0] + usage["completion_tokens"] * state.price[1]
        state.bill += -(-full // 2)
        return _line(number, 200, answer)


def _line(number: str, status: int, body: Body) -> Body:
    return {"id": "r", "custom_id": number, "response": {"status_code": status, "request_id": "q", "body": body}, "error": None}


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "fake", "param": None, "code": None}}, status=status)
