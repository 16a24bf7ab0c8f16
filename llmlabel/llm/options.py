"""What a backend file's `connect` gets, and how its messages are kept free of keys."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """`model` is the part of the spec after the kind; keys are never passed, only the name of their variable."""

    model: str
    urls: tuple[str, ...] = ()
    api_key_env: str = "LLMLABEL_API_KEY"
    timeout: float = 120.0


def scrub(text: str) -> str:
    """Take keys and URL passwords out of somebody else's message."""
    text = re.sub(r"\b(sk|key|pk)-[\w*.-]{4,}", "<key>", text, flags=re.IGNORECASE)
    return re.sub(r"(?<=://)[^/@\s]+@|(?<=Bearer )\S+", "<key>", text)[:500]
