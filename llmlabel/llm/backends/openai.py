"""Any OpenAI-compatible URL, through the openai package."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import openai
import orjson

from llmlabel.errors import AuthError, BackendError, ConfigError, RequestRejected, TransientError
from llmlabel.llm.http import LONGEST_WAIT, duration, error_of, parsed, proxy, retry_after
from llmlabel.llm.loop import run_async
from llmlabel.llm.options import Options, scrub
from llmlabel.llm.requests import (
    Completion,
    EmbedRequest,
    Features,
    LostAnswer,
    Request,
    ScoreRequest,
    plain_text,
)
from llmlabel.llm.specs import OPENAI_URL

if TYPE_CHECKING:
    from llmlabel.llm.batches import BatchPlace

KEEP_ALIVE = 4.0  # seconds; uvicorn hangs up after 5
CONNECT_SECONDS = 30.0


class OpenAIBackend:
    """Chat completions over HTTP; one connection pool for the whole run."""

    most_in_flight = 256

    def __init__(
        self, model: str, url: str, key: str, *, hosted: bool, timeout: float, name: str = "", key_env: str = "OPENAI_API_KEY"
    ) -> None:
        self.name = name or ("openai" if hosted else "url")
        self.model, self.url, self.local = model, url, False
        self.revision, self.features = "", Features()
        self._key, self._key_env = key, key_env
        self.resume_at = 0.0  # on the monotonic clock: not before, says the endpoint
        self.unsupported: set[str] = set()  # parameters this endpoint refused once
        self._timeout = timeout

    async def complete(self, request: Request) -> Completion:
        return completion_of(await self._post("/chat/completions", lambda: self.body(request)))

    async def embed(self, request: EmbedRequest) -> Completion:
        texts = [plain_text(t) for t in request.texts]
        return _vectors(await self._post("/embeddings", lambda: {"model": self.model, "input": texts}))

    async def _post(self, path: str, body: Callable[[], dict[str, Any]]) -> Any:
        """The parsed answer. Straight through aiohttp: the SDK's own path costs more time than all the rest
        (docs/decisions/0004-llm-layer.md)."""
        while True:
            sent = body()
            status, headers, content = await self._exchange(path if "://" in path else self.url + path, orjson.dumps(sent))
            if status == 200:
                break
            said = error_of(content)
            if not self.learn(status, said, sent):
                raise self.refusal(status, headers, said)
        self._heed(headers)
        try:
            return parsed(content)
        except ValueError as e:
            raise LostAnswer(f"{scrub(self.url)} sent a damaged answer", cause="damaged") from e

    async def _exchange(self, url: str, content: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of one POST."""
        try:
            async with self._session.post(url, data=content) as response:
                return response.status, response.headers, await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as e:
            raise self._unreachable() from e
        except TimeoutError as e:
            raise self._late() from e
        except (aiohttp.InvalidURL, ValueError) as e:
            raise BackendError(f"cannot send to {scrub(url)}: {scrub(str(e))}") from None
        except (aiohttp.ClientError, OSError) as e:
            raise LostAnswer(f"{scrub(self.url)} broke the connection", cause="broke off") from e

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        """One connection pool for the whole run; made on the event loop. Idle connections are dropped before a server does it."""
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE)
        timeout = aiohttp.ClientTimeout(total=self._timeout, sock_connect=min(self._timeout, CONNECT_SECONDS))
        return aiohttp.ClientSession(headers=headers, connector=connector, timeout=timeout, proxy=proxy(self.url))

    @cached_property
    def _client(self) -> openai.AsyncOpenAI:
        """The SDK, for everything that is not asked thousands of times."""
        return openai.AsyncOpenAI(api_key=self._key, base_url=self.url, max_retries=0, timeout=self._timeout)

    def _heed(self, headers: Mapping[str, str]) -> None:
        """Nothing left in this minute, it says: wait until there is."""
        for kind in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{kind}") == "0":
                self.resume_at = time.monotonic() + min(duration(headers.get(f"x-ratelimit-reset-{kind}", "1s")), LONGEST_WAIT)

    def body(self, request: Request) -> dict[str, Any]:
        messages = [{"role": m["role"], "content": plain_text(m["content"])} for m in request.messages]
        body: dict[str, Any] = {"model": self.model, "messages": messages, "max_tokens": request.max_tokens}
        body |= {"temperature": request.temperature, "top_p": request.top_p, "seed": request.sample}
        if request.schema is not None:
            form = {"name": "answer", "strict": True, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        if request.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        if "max_tokens" in self.unsupported:
            body["max_completion_tokens"] = request.max_tokens
        return {k: v for k, v in body.items() if k not in self.unsupported}

    def learn(self, status: int, said: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
        """Newer hosted models refuse some classic parameters; leave those out from then on."""
        param, optional = said.get("param"), {"max_tokens", "temperature", "top_p", "seed"}
        if status != 400 or param not in optional or param not in sent:
            return False
        self.unsupported.add(str(param))
        return True

    async def score(self, request: ScoreRequest) -> Completion:
        raise RequestRejected(f"{scrub(self.url)} cannot score given text")

    async def models(self) -> list[str]:
        """The models the endpoint serves."""
        try:
            listed: Any = await self._client.get("/models", cast_to=object)
        except openai.APIError as e:
            raise self.mapped(e) from None
        try:
            return [str(m["id"]) for m in listed["data"]]
        except (KeyError, TypeError) as e:
            raise BackendError(f"{scrub(self.url)}/models does not list models; does the URL end in /v1?") from e

    async def name_model(self) -> None:
        """Without a model's name, take the only one that is served: before the first request, whose key names it."""
        served = await self.models()
        if len(served) != 1:
            some = ", ".join(served[:20])
            where = f"{scrub(self.url)} serves {len(served)} models"
            raise ConfigError(f"{where}; name one, as in --llm openai:MODEL: {some}")
        self.model = served[0]

    def mapped(self, e: openai.APIError) -> BackendError:
        """What the SDK raised, as one of our errors."""
        if isinstance(e, openai.APIStatusError):
            body = e.body if isinstance(e.body, dict) else {"message": e.message}
            return self.refusal(e.status_code, e.response.headers, body)
        if isinstance(e, openai.APITimeoutError):
            return self._late()
        return self._unreachable()

    @property
    def _where(self) -> str:
        return f"{self.model or 'the model'} at {scrub(self.url)}"

    def _unreachable(self) -> TransientError:
        said = f"{self._where} cannot be reached: is the server running? Start it, or name another URL"
        return TransientError(said, cause="unreachable")

    def _late(self) -> LostAnswer:
        return LostAnswer(f"{scrub(self.url)} did not answer in time", cause="timed out")

    def refusal(self, status: int, headers: Mapping[str, str], said: Mapping[str, Any]) -> BackendError:
        """An answer that is not 200, as an error that says what to do."""
        where = self._where
        message = scrub(str(said.get("message") or "").replace(self._key, "<key>"))
        if status in (401, 403):
            todo = f"Put a valid key into {self._key_env} where the run works, then run again: what was answered is kept"
            return AuthError(f"{where} does not accept the key: {message.rstrip('.')}. {todo}")
        if status == 402 or said.get("code") == "insufficient_quota":
            return AuthError(f"{where}: the account has no money or quota left: {message}")
        if status == 404:
            return BackendError(f"{where}: not found: {message}. Check the model's name and that the URL ends in /v1")
        if status == 429:
            return TransientError(f"{where} asks to slow down", retry_after(headers), "429")
        if status in (408, 409) or status >= 500:
            return TransientError(f"{where} answered {status}: {message}", retry_after(headers), str(status))
        return RequestRejected(f"{where} refused a request ({status}): {message}")

    def batch_place(self, folder: Path) -> BatchPlace | None:
        """Who runs this endpoint's batch jobs. Args: folder: for files of a place that needs some."""
        from llmlabel.llm.batches.hosted import HostedBatches

        return HostedBatches(self)

    async def close(self) -> None:
        if "_session" in vars(self):
            await self._session.close()
        if "_client" in vars(self):
            await self._client.close()


def completion_of(raw: Any) -> Completion:
    try:
        choice, usage = raw["choices"][0], raw.get("usage") or {}
        message = choice["message"]
        first = ((choice.get("logprobs") or {}).get("content") or [{}])[0]
        return Completion(
            text=message.get("content") or "",
            finish=choice.get("finish_reason") or "stop",
            refusal=message.get("refusal") or "",
            logprobs={t["token"]: t["logprob"] for t in first.get("top_logprobs", [])},
            prompt_tokens=usage.get("prompt_tokens") or 0,
            completion_tokens=usage.get("completion_tokens") or 0,
            cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        )
    except (KeyError, IndexError, TypeError, AttributeError) as e:
        raise LostAnswer("the endpoint's answer is not a chat completion", cause="damaged") from e


def _vectors(raw: Any) -> Completion:
    try:
        vectors = [d["embedding"] for d in sorted(raw["data"], key=lambda d: d["index"])]
        return Completion(vectors=vectors, prompt_tokens=(raw.get("usage") or {}).get("prompt_tokens", 0))
    except (KeyError, TypeError, AttributeError) as e:
        raise LostAnswer("the endpoint's answer is not a list of embeddings", cause="damaged") from e


def connect(options: Options) -> OpenAIBackend:
    """`openai:MODEL` (OPENAI_API_KEY, OPENAI_BASE_URL) or `MODEL@URL` (key from the variable `api_key_env`).

    Raises: ConfigError when a hosted model has no key.
    """
    if options.urls:
        key = os.environ.get(options.api_key_env, "").strip() or "EMPTY"
        of_url = OpenAIBackend(
            options.model, options.urls[0], key, hosted=False, timeout=options.timeout, key_env=options.api_key_env
        )
        return _ready(of_url)
    url = (os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key and url == OPENAI_URL:
        raise ConfigError("openai: needs a key; set OPENAI_API_KEY, or use --llm embedded, which needs none")
    return _ready(OpenAIBackend(options.model, url, key or "EMPTY", hosted=True, timeout=options.timeout))


def _ready(backend: OpenAIBackend) -> OpenAIBackend:
    if not backend.model:
        run_async(backend.name_model())
    return backend
