"""A vLLM server on this machine, started when needed and stopped with the run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai

from llmlabel.errors import ConfigError, RequestRejected, TransientError
from llmlabel.llm import weights
from llmlabel.llm.backends.openai import OpenAIBackend
from llmlabel.llm.options import Options
from llmlabel.llm.process import ServerProcess, free_port
from llmlabel.llm.requests import Completion, Features, Request, ScoreRequest, plain_text

ADVICE = (
    "set LLMLABEL_VLLM_ARGS for other options, as in '--max-model-len 2048', LLMLABEL_VLLM_TIMEOUT for more seconds "
    "to start, VLLM_CPU_KVCACHE_SPACE for more or less memory (GiB, CPU only)"
)


class VLLMBackend(OpenAIBackend):
    """Talks to a server of its own, which can also score given text."""

    def __init__(self, server: ServerProcess, url: str, model: str, revision: str, timeout: float) -> None:
        super().__init__(model, f"{url}/v1", "EMPTY", hosted=False, timeout=timeout, name="vllm")
        self.local, self.revision = True, revision
        self.features = Features(schema=True, logprobs=True, score=True)
        self._server, self._root = server, url

    async def complete(self, request: Request) -> Completion:
        try:
            return await super().complete(request)
        except TransientError:
            self._server.check()
            raise

    async def score(self, request: ScoreRequest) -> Completion:
        """Sums of token log-probabilities (nats). Prompt and completions are cut into tokens apart from each other."""
        head = await self._tokens(plain_text(request.prompt), special=True)
        tails = [await self._tokens(plain_text(c), special=False) for c in request.completions]
        if not head or not all(tails):
            raise RequestRejected("an empty prompt or completion has no probability")
        body = {"prompt": [head + t for t in tails], "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        raw = await self._ask("/completions", body)
        rows = [choice["prompt_logprobs"] for choice in sorted(raw["choices"], key=lambda c: c["index"])]
        scores = [_sum_of_tail(row[len(head) :], tail) for row, tail in zip(rows, tails, strict=True)]
        counts = [len(tail) for tail in tails]
        return Completion(scores=scores, token_counts=counts, prompt_tokens=len(head), completion_tokens=sum(counts))

    async def _tokens(self, text: str, *, special: bool) -> list[int]:
        raw = await self._ask(f"{self._root}/tokenize", {"prompt": text, "add_special_tokens": special})
        return list(raw["tokens"])

    async def _ask(self, path: str, body: dict[str, Any]) -> Any:
        try:
            return await self._client.post(path, body={"model": self.model, **body}, cast_to=object)
        except openai.APIError as e:
            self._server.check()
            raise self._mapped(e) from None

    async def close(self) -> None:
        await super().close()
        self._server.stop()


def _sum_of_tail(row: list[dict[str, dict[str, Any]]], tail: list[int]) -> float:
    return float(sum(at[str(token)]["logprob"] for at, token in zip(row, tail, strict=True)))


def _command(python: str, model: str, name: str, port: int) -> list[str]:
    more = shlex.split(os.environ.get("LLMLABEL_VLLM_ARGS", ""))  # last, so that they win
    return [
        python, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--served-model-name", name,
        "--host", "127.0.0.1", "--port", str(port), "--max-model-len", "4096", *more,
    ]  # fmt: skip


def _environment(python: str, *, offline: bool) -> dict[str, str]:
    env = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    env.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")  # GiB; read on a CPU only
    if offline:
        env["HF_HUB_OFFLINE"] = "1"
    if python != sys.executable:  # what is right for this interpreter is wrong for that one
        for name in ("PYTHONPATH", "PYTHONHOME"):
            env.pop(name, None)
    return env


def _check_python(python: str) -> None:
    test = "import importlib.util as u, sys; sys.exit(u.find_spec('vllm') is None)"
    try:
        result = subprocess.run([python, "-I", "-c", test], capture_output=True, timeout=120, check=False)
    except OSError as e:
        raise ConfigError(f"LLMLABEL_VLLM_PYTHON={python}: {e.strerror}; it is the path of a Python interpreter") from e
    if result.returncode != 0:
        raise ConfigError(
            f"vllm: is not installed for {python}. pip install 'llmlabel[vllm]', or install it in an environment of "
            "its own and set LLMLABEL_VLLM_PYTHON to that environment's python"
        )


def _timeout() -> float:
    text = os.environ.get("LLMLABEL_VLLM_TIMEOUT") or "600"
    try:
        return float(text)
    except ValueError as e:
        raise ConfigError(f"LLMLABEL_VLLM_TIMEOUT={text!r} is not a number of seconds") from e


def connect(options: Options) -> VLLMBackend:
    """`vllm:MODEL_OR_DIR`: start the server and wait until it answers.

    Raises: ConfigError when vLLM or the folder is missing; BackendError with the end of the log when it does not start.
    """
    python, seconds, folder = os.environ.get("LLMLABEL_VLLM_PYTHON") or sys.executable, _timeout(), Path(options.model)
    if options.model.startswith((".", "/", "~")):
        folder = folder.expanduser()
        if not (folder / "config.json").is_file():
            raise ConfigError(f"vllm:{options.model}: no folder with a model (config.json) there")
    _check_python(python)
    local = folder.is_dir()
    model, name = (str(folder.resolve()), folder.resolve().name) if local else (options.model, options.model)
    port = free_port()
    server = ServerProcess(_command(python, model, name, port), _environment(python, offline=local), title="vLLM", advice=ADVICE)
    try:
        server.wait_ready(f"http://127.0.0.1:{port}/health", seconds)
    except BaseException:
        server.stop(keep_log=True)
        raise
    revision = weights.revision(weights.folder_weights(folder))
    return VLLMBackend(server, f"http://127.0.0.1:{port}", name, revision, options.timeout)
