"""A vLLM server on this machine: found running or started when needed, restarted when it dies, stopped with the run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from llmlabel.errors import RequestRejected, TransientError
from llmlabel.llm.backends.openai import OpenAIBackend, completion_of
from llmlabel.llm.options import Options
from llmlabel.llm.plan import Plan, plan
from llmlabel.llm.process import ServerProcess
from llmlabel.llm.requests import Completion, Features, LostAnswer, Request, ScoreRequest, plain_text
from llmlabel.llm.running import Wanted
from llmlabel.llm.service import Service

if TYPE_CHECKING:
    from llmlabel.llm.batches import BatchPlace
    from llmlabel.llm.batches.later import LaterVLLM

T = TypeVar("T")
ADVICE = (
    "set LLMLABEL_VLLM_ARGS for other options, as in '--max-model-len 2048', LLMLABEL_VLLM_TIMEOUT for more seconds "
    "to start, VLLM_CPU_KVCACHE_SPACE for more or less memory (GiB, CPU only)"
)
FORBIDDEN = -9999.0  # how vLLM writes the log-probability of a token that a schema rules out
TAILS = 10_000  # completions whose tokens are kept


class VLLMBackend(OpenAIBackend):
    """Talks to a server on this machine, which can also score given text."""

    plan: Plan | None = None  # None: how it was started is not known
    most_in_flight = 256  # what vLLM computes at once unless told otherwise; more would wait in its queue

    def __init__(self, service: Service, revision: str, timeout: float, key: str) -> None:
        super().__init__(service.running.model, f"{service.running.url}/v1", key, hosted=False, timeout=timeout, name="vllm")
        self.local, self.revision = True, revision
        self.features = Features(schema=True, logprobs=True, score=True)
        self._service, self._number = service, service.number
        self._tails: dict[str, list[int]] = {}

    async def complete(self, request: Request) -> Completion:
        """An answer. Under a schema its `logprobs` are shared out among the tokens the schema allows: no confidence.

        See docs/decisions/0003-vllm-logprobs.md.
        """
        return _allowed(await self._asked(lambda: self._complete(request)))

    async def _complete(self, request: Request) -> Completion:
        answer = await super().complete(request)
        if answer.finish == "abort":  # a server that is being stopped hands back what it has, as if it was an answer
            raise LostAnswer("vLLM gave a request up")
        return answer

    async def score(self, request: ScoreRequest) -> Completion:
        """Sums of token log-probabilities (nats) of the raw model, whatever the sampling or a schema."""
        return await self._asked(lambda: self._score(request))

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        number = self._service.number
        if number != self._number:  # another server since the last request
            self._number, self.url = number, f"{self._service.running.url}/v1"
        try:
            return await ask()
        except TransientError:
            await self._service.check(number)
            raise

    async def _score(self, request: ScoreRequest) -> Completion:
        head = await self._head(request.prompt)
        tails = await asyncio.gather(*(self._tail(plain_text(c)) for c in request.completions))
        if not head or not all(tails):
            raise RequestRejected("an empty prompt or completion has no probability")
        body = {"prompt": [head + t for t in tails], "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        raw = await self._ask("/completions", body)
        try:
            rows = [choice["prompt_logprobs"] for choice in sorted(raw["choices"], key=lambda c: c["index"])]
            scores = [_sum_of_tail(row[len(head) :], tail) for row, tail in zip(rows, tails, strict=True)]
        except (KeyError, TypeError, ValueError) as e:
            raise LostAnswer("vLLM's answer has no log-probabilities of the prompt") from e
        counts = [len(tail) for tail in tails]
        return Completion(scores=scores, token_counts=counts, prompt_tokens=len(head), completion_tokens=sum(counts))

    async def _head(self, prompt: Any) -> list[int]:
        if isinstance(prompt, str):
            return await self._tokens({"prompt": plain_text(prompt), "add_special_tokens": True})
        messages = [{"role": m["role"], "content": plain_text(m["content"])} for m in prompt]
        return await self._tokens({"messages": messages, "add_generation_prompt": True})

    async def _tail(self, text: str) -> list[int]:
        """The same completions come again and again: labels, say."""
        if text not in self._tails:
            if len(self._tails) >= TAILS:
                self._tails.clear()
            self._tails[text] = await self._tokens({"prompt": text, "add_special_tokens": False})
        return self._tails[text]

    async def _tokens(self, body: dict[str, Any]) -> list[int]:
        raw = await self._ask(f"{self.url.removesuffix('/v1')}/tokenize", body)
        return list(raw["tokens"])

    async def _ask(self, path: str, body: dict[str, Any]) -> Any:
        return await self._post(path, lambda: {"model": self.model, **body})

    def batch_place(self, folder: Path) -> BatchPlace | None:
        from llmlabel.llm.batches.turns import Turns
        from llmlabel.llm.batches.vllm import VLLMBatches

        return VLLMBatches(self, self.plan, folder, Turns()) if self.plan else None

    async def close(self) -> None:
        await super().close()
        self._service.close()


def answer_of(body: Any) -> Completion:
    """A chat completion as vLLM writes it. Raises: LostAnswer."""
    return _allowed(completion_of(body))


def _allowed(answer: Completion) -> Completion:
    """Without the tokens that a schema rules out."""
    allowed = {token: logp for token, logp in answer.logprobs.items() if logp > FORBIDDEN}
    return answer if len(allowed) == len(answer.logprobs) else replace(answer, logprobs=allowed)


def _sum_of_tail(row: list[dict[str, dict[str, Any]]], tail: list[int]) -> float:
    return float(sum(at[str(token)]["logprob"] for at, token in zip(row, tail, strict=True)))


def connect(options: Options) -> VLLMBackend:
    """`vllm:MODEL_OR_DIR`: find a server with this model and flags or start one; wait until it answers.

    Raises: ConfigError when vLLM or the folder is missing; BackendError with the end of the log when it does not start.
    """
    return _start(plan(options), options.timeout)


def connect_later(options: Options) -> LaterVLLM:
    """The same for batch jobs: without a server, until something is to be asked directly. Raises: ConfigError."""
    from llmlabel.llm.batches.later import LaterVLLM

    made = plan(options)
    return LaterVLLM(made, options.timeout, lambda: _start(made, options.timeout))


def _start(made: Plan, timeout: float) -> VLLMBackend:
    def launch(port: int) -> ServerProcess:
        command = [*made.command("api_server"), "--host", "127.0.0.1", "--port", str(port)]
        return ServerProcess(command, made.env, title="vLLM", advice=ADVICE)

    key = os.environ.get("VLLM_API_KEY") or "EMPTY"
    service = Service(Wanted(made.source, made.revision, made.python, made.words), launch, made.seconds, key)
    service.open()
    backend = VLLMBackend(service, made.revision, timeout, key)
    backend.plan = made
    return backend
