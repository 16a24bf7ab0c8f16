"""A stand-in for vLLM's server process, standard library only: ready in a moment, and it can be told to die.

`install(folder)` makes an interpreter for LLMLABEL_VLLM_PYTHON. What happens is told by files in that folder:
`starts` gets a line (process id, port, arguments) for every start, `answers` one (process id, text) for every chat answer;
`slow_start` holds seconds, `slow_answer` seconds, `fail_after` the number of starts that succeed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def install(folder: Path) -> Path:
    python = folder / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -I ] && echo cpu && exit\nexec "{sys.executable}" "{__file__}" "{folder}" "$@"\n')
    python.chmod(0o755)
    return python


def starts(folder: Path) -> list[tuple[int, int]]:
    """(process id, port) of every start so far."""
    lines = (folder / "starts").read_text().splitlines() if (folder / "starts").exists() else []
    return [(int(line.split()[0]), int(line.split()[1])) for line in lines]


def answers(folder: Path) -> list[str]:
    lines = (folder / "answers").read_text().splitlines() if (folder / "answers").exists() else []
    return [line.split(" ", 1)[1] for line in lines]


def _number(folder: Path, name: str, default: float) -> float:
    return float((folder / name).read_text()) if (folder / name).exists() else default


def _append(folder: Path, name: str, text: str) -> None:
    with (folder / name).open("a") as file:
        file.write(f"{os.getpid()} {text}\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path
    model: tuple[str, str]

    def do_GET(self) -> None:
        name, root = self.model
        self._send({"data": [{"id": name, "root": root}]} if self.path == "/v1/models" else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = body["messages"][-1]["content"]
        time.sleep(_number(self.folder, "slow_answer", 0))
        _append(self.folder, "answers", text)
        choice: dict[str, Any] = {"message": {"content": f"echo {text}"}, "finish_reason": "stop"}
        if text == "stop me" and answers(self.folder).count(text) == 1:
            choice = {"message": {"content": "ec"}, "finish_reason": "abort"}
        if body.get("top_logprobs"):
            top = [{"token": "yes", "logprob": -0.1}, {"token": "<mask>", "logprob": -9999.0}]
            choice["logprobs"] = {"content": [{"top_logprobs": top}]}
        self._send({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    def _send(self, value: Any) -> None:
        raw = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def run_batch(folder: Path, words: list[str]) -> None:
    """Echoes, like the server; `batch_dies`: after so many lines, once. The text `refuse me` is refused."""
    given = Path(words[words.index("-i") + 1]).read_text().splitlines()
    out = Path(words[words.index("-o") + 1])
    dies = folder / "batch_dies"
    with out.open("w") as file:
        for number, line in enumerate(map(json.loads, given)):
            time.sleep(_number(folder, "slow_answer", 0))
            if dies.exists() and number == int(dies.read_text()):
                dies.unlink()
                sys.exit("fake vLLM: no memory left")
            text = line["body"]["messages"][-1]["content"]
            _append(folder, "answers", text)
            choice = {"message": {"content": f"echo {text}"}, "finish_reason": "stop"}
            body = {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
            result = {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}
            if text == "refuse me":
                result |= {"response": {"status_code": 400, "body": None}, "error": {"error": {"message": "too long"}}}
            print(json.dumps(result), file=file)
            print(f"Running batch: 9% Completed | {number + 1}/{len(given)} [00:00<00:00, 1.0req/s]", flush=True)


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def main(folder: Path, words: list[str]) -> None:
    if "vllm.entrypoints.openai.run_batch" in words:
        _append(folder, "starts", f"0 {json.dumps(words)}")
        return run_batch(folder, words)
    value = {name: words[words.index(name) + 1] for name in ("--model", "--served-model-name", "--port")}
    Handler.folder, Handler.model = folder, (value["--served-model-name"], value["--model"])
    _append(folder, "starts", f"{value['--port']} {json.dumps(words)}")
    time.sleep(_number(folder, "slow_start", 0))
    if len(starts(folder)) > _number(folder, "fail_after", 99):
        sys.exit("fake vLLM: no memory left")
    print("fake vLLM: ready", flush=True)
    Server(("127.0.0.1", int(value["--port"])), Handler).serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
