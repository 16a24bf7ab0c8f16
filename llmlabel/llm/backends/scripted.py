"""A Python function as the model: for tests, and for wrapping a model of one's own."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import os
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

from llmlabel.errors import BackendError, ConfigError, LlmlabelError
from llmlabel.llm.options import Options
from llmlabel.llm.requests import AnyRequest, Completion, EmbedRequest, Features, Request, ScoreRequest

Answer = str | Completion
Function = Callable[[AnyRequest], Answer | Awaitable[Answer]]
FORM = "write scripted:package.module:function"


class ScriptedBackend:
    """Calls `function(request)`; it returns the answer's text, or a Completion with its counts and log-probabilities.

    A plain function is called in one thread, one call at a time; an async one on the event loop, many at a time.
    It may carry `features` (what it can do; default: text only) and `revision` as attributes. Without a revision,
    stored answers are used until the text of the function itself changes.
    """

    def __init__(self, function: Function, model: str = "", features: Features | None = None) -> None:
        self.name, self.local = "scripted", True
        self.model = model or f"{function.__module__}:{getattr(function, '__qualname__', type(function).__name__)}"
        self.revision = str(getattr(function, "revision", "")) or _source_hash(function)
        plain = Features(schema=False, logprobs=False)
        self.features: Features = features or getattr(function, "features", None) or plain
        self._function = function
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="llmlabel-scripted")

    async def complete(self, request: Request) -> Completion:
        return await self._call(request)

    async def score(self, request: ScoreRequest) -> Completion:
        return await self._call(request)

    async def embed(self, request: EmbedRequest) -> Completion:
        return await self._call(request)

    async def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _call(self, request: AnyRequest) -> Completion:
        try:
            if inspect.iscoroutinefunction(self._function):
                answer = await self._function(request)
            else:
                answer = await asyncio.get_running_loop().run_in_executor(self._thread, self._function, request)
        except LlmlabelError:
            raise
        except Exception as e:
            raise BackendError(f"scripted {self.model} raised {type(e).__name__}: {e}") from e
        if isinstance(answer, str):
            return Completion(answer)
        if isinstance(answer, Completion):
            return answer
        raise BackendError(f"scripted {self.model} returned a {type(answer).__name__}; return a str or a Completion")


def _source_hash(function: Function) -> str:
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return ""
    return hashlib.blake2b(source.encode(), digest_size=6).hexdigest()


def connect(options: Options) -> ScriptedBackend:
    """`scripted:package.module:function`; modules of the working directory can be named too.

    Raises: ConfigError when there is no such function.
    """
    module_name, colon, path = options.model.partition(":")
    if not colon or not path or not module_name:
        raise ConfigError(f"scripted:{options.model}: {FORM}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found: object = import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as e:
        raise ConfigError(f"scripted:{options.model}: {e}; {FORM}") from e
    if not callable(found):
        raise ConfigError(f"scripted:{options.model} is a {type(found).__name__}, not a function")
    return ScriptedBackend(found, options.model)
