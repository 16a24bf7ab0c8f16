"""What a backend file's `connect` gets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """`model` is the part of the spec after the kind; keys are never passed, only the name of their variable."""

    model: str
    urls: tuple[str, ...] = ()
    api_key_env: str = "LLMLABEL_API_KEY"
    timeout: float = 120.0
