"""Any OpenAI-compatible URL, through the openai package."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import openai

from llmlabel.errors import AuthError, BackendError, ConfigError, RequestRejected, TransientError
from llmlabel.llm.options import Options
from llmlabel.llm.requests import Completion, Features, Request, ScoreRequest

HOST = "https://api.openai.com/v1"


class OpenAIBackend:
    """Chat completions over HTTP; one connection pool for the whole run."""

    def __init__(self, model: str, url: str, key: str, *, hosted: bool, timeout: float, name: str = "") -> None:
        self.name = name or ("openai" if hosted else "url")
        self.model, self.url, self.local = model, url, False
        self.revision, self.features = "", Features()
        self._hosted = hosted
        self._unsupported: set[str] = set()  # parameters this endpoint refused once
        self._client = openai.AsyncOpenAI(
            api_key=key, base_url=url, max_retries=0, timeout=timeout, http_client=openai.DefaultAioHttpClient(timeout=timeout)
        )

    async def complete(self, request: Request) -> Completion:
        if not self.model:
            self.model = await self._only_model()
        while True:
            try:
                return _completion(await self._post(self._body(request)))
            except openai.APIError as e:
                if not self._learn(e):
                    raise self._mapped(e) from e
            except ValueError as e:  # a 200 whose body is not JSON
                raise TransientError(f"{self.url} sent a damaged answer") from e

    async def _post(self, body: dict[str, Any]) -> Any:
        return await self._client.post("/chat/completions", body=body, cast_to=object)

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model, "messages": list(request.messages), "max_tokens": request.max_tokens}
        body |= {"temperature": request.temperature, "top_p": request.top_p, "seed": request.sample}
        if request.schema is not None:
            form = {"name": "answer", "strict": True, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        if request.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        if "max_tokens" in self._unsupported:
            body["max_completion_tokens"] = request.max_tokens
        return {k: v for k, v in body.items() if k not in self._unsupported}

    def _learn(self, error: openai.APIError) -> bool:
        """Newer hosted models refuse some classic parameters; leave those out from then on."""
        param = getattr(error, "param", None)
        optional = {"max_tokens", "temperature", "top_p", "seed"}
        if not isinstance(error, openai.BadRequestError) or param not in optional or param in self._unsupported:
            return False
        self._unsupported.add(param)
        return True

    async def score(self, request: ScoreRequest) -> Completion:
        raise RequestRejected(f"{self.url} cannot score given text")

    async def models(self) -> list[str]:
        """The models the endpoint serves."""
        try:
            listed: Any = await self._client.get("/models", cast_to=object)
        except openai.APIError as e:
            raise self._mapped(e) from e
        return [str(m["id"]) for m in listed.get("data", [])]

    async def _only_model(self) -> str:
        served = await self.models()
        if len(served) == 1:
            return served[0]
        raise ConfigError(f"{self.url} serves {len(served)} models; name one, as in --llm openai:MODEL: {', '.join(served[:20])}")

    def _mapped(self, e: openai.APIError) -> BackendError:
        where = f"{self.model or 'the model'} at {self.url}"
        message = scrub(getattr(e, "message", "") or str(e))
        if isinstance(e, openai.AuthenticationError | openai.PermissionDeniedError):
            variable = "OPENAI_API_KEY" if self._hosted else "the variable named by api_key_env"
            return AuthError(f"{where} does not accept the key: {message}. Set {variable}")
        if isinstance(e, openai.NotFoundError):
            return BackendError(f"{where}: not found: {message}. Check the model's name and that the URL ends in /v1")
        if isinstance(e, openai.RateLimitError):
            if getattr(e, "code", "") == "insufficient_quota":
                return AuthError(f"{where}: the account has no quota left: {message}")
            return TransientError(f"{where} asks to slow down", retry_after=_retry_after(e))
        if isinstance(e, openai.APITimeoutError):
            return TransientError(f"{where} did not answer in time")
        if isinstance(e, openai.APIConnectionError):
            return TransientError(f"{where} cannot be reached: is the server running?")
        status = getattr(e, "status_code", 0)
        if status == 409 or status >= 500:
            return TransientError(f"{where} answered {status}: {message}", retry_after=_retry_after(e))
        return RequestRejected(f"{where} refused a request ({status}): {message}")

    async def close(self) -> None:
        await self._client.close()


def scrub(text: str) -> str:
    """Take keys and URL passwords out of somebody else's message."""
    text = re.sub(r"\b(sk|key|pk)-[\w*.-]{4,}", "<key>", text, flags=re.IGNORECASE)
    return re.sub(r"(?<=://)[^/@\s]+@|(?<=Bearer )\S+", "<key>", text)[:500]


def _retry_after(error: openai.APIError) -> float | None:
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", {})
    try:
        return min(float(headers["retry-after"]), 300.0)
    except (KeyError, ValueError):
        return None


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
            prompt_tokens=usage.get("prompt_tokens", 0),
            completion_tokens=usage.get("completion_tokens", 0),
        )
    except (KeyError, IndexError, TypeError, AttributeError) as e:
        raise TransientError("the endpoint's answer is not a chat completion") from e


def connect(options: Options) -> OpenAIBackend:
    """`openai:MODEL` (OPENAI_API_KEY, OPENAI_BASE_URL) or `MODEL@URL` (key from the variable `api_key_env`).

    Raises: ConfigError when a hosted model has no key.
    """
    if options.urls:
        key = os.environ.get(options.api_key_env, "EMPTY")
        return OpenAIBackend(options.model, options.urls[0], key, hosted=False, timeout=options.timeout)
    url = os.environ.get("OPENAI_BASE_URL") or HOST
    hosted_key = os.environ.get("OPENAI_API_KEY")
    if not hosted_key:
        if url == HOST:
            raise ConfigError("openai: needs a key; set OPENAI_API_KEY, or use --llm embedded, which needs none")
        hosted_key = "EMPTY"
    return OpenAIBackend(options.model, url.rstrip("/"), hosted_key, hosted=True, timeout=options.timeout)
