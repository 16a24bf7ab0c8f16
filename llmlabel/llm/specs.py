"""Model specs: `embedded[:DIR_OR_ID]`, `openai:MODEL`, `vllm:MODEL_OR_DIR`, `MODEL@URL[|URL...]`, `a.dotted.path[:ARG]`."""

from __future__ import annotations

import os
import pkgutil
from dataclasses import dataclass

from llmlabel.errors import ConfigError

DEFAULT_HOSTED = "gpt-4.1-mini"
OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True)
class Spec:
    """`kind` is the name of a file in `llm/backends` (or a dotted path), `model` what comes after it."""

    kind: str
    model: str
    urls: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.urls:
            return f"{self.model}@{'|'.join(self.urls)}"
        return f"{self.kind}:{self.model}" if self.model else self.kind


def backend_names() -> list[str]:
    from llmlabel.llm import backends

    return sorted(m.name for m in pkgutil.iter_modules(backends.__path__))


def parse_spec(text: str | None) -> Spec:
    """Read a model spec; None means: a hosted model when a key or URL is set, else the embedded one.

    Raises: ConfigError that lists the forms there are.
    """
    if not text:
        if os.environ.get("OPENAI_BASE_URL"):
            return Spec("openai", "")
        return Spec("openai", DEFAULT_HOSTED) if os.environ.get("OPENAI_API_KEY") else Spec("embedded", "")
    if "@http" in text:
        model, _, urls = text.rpartition("@http")
        return Spec("openai", model, tuple(url.strip().rstrip("/") for url in ("http" + urls).split("|") if url.strip()))
    kind, _, model = text.partition(":")
    dotted = "." in kind and all(part.isidentifier() for part in kind.split("."))
    if kind not in backend_names() and not dotted:
        raise ConfigError(
            f"--llm {text!r}: no such kind of model. Write embedded[:DIR_OR_ID], openai:MODEL, vllm:MODEL_OR_DIR, or MODEL@URL "
            f"(the URL ends in /v1). Kinds: {', '.join(backend_names())}"
        )
    if kind in ("vllm", "recorded", "scripted") and not model:
        raise ConfigError(f"--llm {text!r}: say which one, as in {kind}:SOMETHING")
    return Spec(kind, model)
