"""Any OpenAI-compatible URL, through the openai package."""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import httpx2
import openai
import orjson

from llmlabel.errors import AuthError, BackendError, ConfigError, RequestRejected, TransientError
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

LONGEST_WAIT = 300.0  # seconds an endpoint may ask us to wait


class OpenAIBackend:
    """Chat completions over HTTP; one connection pool for the whole run."""

    most_in_flight = 256

    def __init__(self, model: str, url: str, key: str, *, hosted: bool, timeout: float, name: str = "") -> None:
        self.name = name or ("openai" if hosted else "url")
        self.model, self.url, self.local = model, url, False
        self.revision, self.features = "", Features()
        self._hosted, self._key = hosted, key
        self.resume_at = 0.0  # on the monotonic clock: not before, says the endpoint
        self._unsupported: set[str] = set()  # parameters this endpoint refused once
        self._client = openai.AsyncOpenAI(
            api_key=key,
            base_url=url,
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAioHttpClient(timeout=timeout),
        )

    async def complete(self, request: Request) -> Completion:
        return _completion(await self._post("/chat/completions", lambda: self._body(request)))

    async def embed(self, request: EmbedRequest) -> Completion:
        texts = [plain_text(t) for t in request.texts]
        return _vectors(await self._post("/embeddings", lambda: {"model": self.model, "input": texts}))

    async def _post(self, path: str, body: Callable[[], dict[str, Any]]) -> Any:
        """The parsed answer. Body and answer go past the SDK's models, which cost more time than all the rest."""
        while True:
            sent = body()
            try:
                response = await self._client.post(path, content=orjson.dumps(sent), cast_to=httpx2.Response)
            except openai.APIError as e:
                if not self._learn(e, sent):
                    raise self._mapped(e) from None  # not `from e`: its text may repeat the key
                continue
            except ValueError as e:  # before anything was sent: a URL with a password in it, say
                raise BackendError(f"cannot send to {scrub(self.url)}: {scrub(str(e))}") from None
            self._heed(response.headers)
            try:
                return _parsed(response.content)
            except ValueError as e:
                raise LostAnswer(f"{scrub(self.url)} sent a damaged answer", cause="damaged") from e

    def _heed(self, headers: Mapping[str, str]) -> None:
        """Nothing left in this minute, it says: wait until there is."""
        for kind in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{kind}") == "0":
                self.resume_at = time.monotonic() + min(_duration(headers.get(f"x-ratelimit-reset-{kind}", "1s")), LONGEST_WAIT)

    def _body(self, request: Request) -> dict[str, Any]:
        messages = [{"role": m["role"], "content": plain_text(m["content"])} for m in request.messages]
        body: dict[str, Any] = {"model": self.model, "messages": messages, "max_tokens": request.max_tokens}
        body |= {"temperature": request.temperature, "top_p": request.top_p, "seed": request.sample}
        if request.schema is not None:
            form = {"name": "answer", "strict": True, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        if request.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        if "max_tokens" in self._unsupported:
            body["max_completion_tokens"] = request.max_tokens
        return {k: v for k, v in body.items() if k not in self._unsupported}

    def _learn(self, error: openai.APIError, sent: Mapping[str, Any]) -> bool:
        """Newer hosted models refuse some classic parameters; leave those out from then on."""
        param = getattr(error, "param", None)
        optional = {"max_tokens", "temperature", "top_p", "seed"}
        if not isinstance(error, openai.BadRequestError) or param not in optional or param not in sent:
            return False
        self._unsupported.add(param)
        return True

    async def score(self, request: ScoreRequest) -> Completion:
        raise RequestRejected(f"{scrub(self.url)} cannot score given text")

    async def models(self) -> list[str]:
        """The models the endpoint serves."""
        try:
            listed: Any = await self._client.get("/models", cast_to=object)
        except openai.APIError as e:
            raise self._mapped(e) from None
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

    def _mapped(self, e: openai.APIError) -> BackendError:
        where = f"{self.model or 'the model'} at {scrub(self.url)}"
        message = scrub((getattr(e, "message", "") or str(e)).replace(self._key, "<key>"))
        status = int(getattr(e, "status_code", 0) or 0)
        if status in (401, 403):
            variable = "OPENAI_API_KEY" if self._hosted else "the variable named by api_key_env"
            return AuthError(f"{where} does not accept the key: {message}. Set {variable}")
        if status == 402 or getattr(e, "code", "") == "insufficient_quota":
            return AuthError(f"{where}: the account has no money or quota left: {message}")
        if status == 404:
            return BackendError(f"{where}: not found: {message}. Check the model's name and that the URL ends in /v1")
        if status == 429:
            return TransientError(f"{where} asks to slow down", _retry_after(e), "429")
        if status in (408, 409) or status >= 500:
            return TransientError(f"{where} answered {status}: {message}", _retry_after(e), str(status))
        if isinstance(e, openai.APITimeoutError) and not _never_sent(e):
            return LostAnswer(f"{where} did not answer in time", cause="timed out")
        if isinstance(e, openai.APIConnectionError):
            if _never_sent(e):
                return TransientError(f"{where} cannot be reached: is the server running?", cause="unreachable")
            return LostAnswer(f"{where} broke the connection", cause="broke off")
        return RequestRejected(f"{where} refused a request ({status}): {message}")

    async def close(self) -> None:
        await self._client.close()


def _parsed(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except ValueError:
        return json.loads(content)  # allows half a surrogate pair


def _never_sent(error: BaseException) -> bool:
    """Did it fail before a connection stood?"""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL):
            return True
        chain = chain.__cause__ or chain.__context__
    return False


def _retry_after(error: openai.APIError) -> float | None:
    """Seconds; `Retry-After` is a number of seconds or a date."""
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", {})
    text = headers.get("retry-after", "")
    try:
        seconds = float(headers["retry-after-ms"]) / 1000 if "retry-after-ms" in headers else float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return None if math.isnan(seconds) or seconds < 0 else min(seconds, LONGEST_WAIT)


def _duration(text: str) -> float:
    """Seconds of `6m0s`, `1.5s`, `20ms`, or of a plain number."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|[hms]|)", text))


def _completion(raw: Any) -> Completion:
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
        return _ready(OpenAIBackend(options.model, options.urls[0], key, hosted=False, timeout=options.timeout))
    url = (os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key and url == OPENAI_URL:
        raise ConfigError("openai: needs a key; set OPENAI_API_KEY, or use --llm embedded, which needs none")
    return _ready(OpenAIBackend(options.model, url, key or "EMPTY", hosted=True, timeout=options.timeout))


def _ready(backend: OpenAIBackend) -> OpenAIBackend:
    if not backend.model:
        run_async(backend.name_model())
    return backend
