"""Answers held to a JSON schema while they are generated, through llguidance (no dependencies of its own, CPU only)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from llmlabel.errors import RequestRejected

STYLE: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}  # a small model may never stop


def available() -> bool:
    return find_spec("llguidance") is not None


class Grammars:
    """Matchers for one tokenizer; a schema is compiled once.

    Args:
        tokenizer: a fast tokenizer of transformers. ends: tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, ends: list[int]) -> None:
        from llguidance.hf import from_tokenizer

        self._tokens = from_tokenizer(tokenizer, eos_token=ends)
        self._compiled = lru_cache(64)(self._compile)

    def matcher(self, schema: Mapping[str, Any]) -> Matcher:
        """Raises: RequestRejected for a schema the library cannot hold an answer to."""
        return Matcher(self._compiled(json.dumps(schema)).deep_copy())

    def _compile(self, schema: str) -> Any:
        from llguidance import LLMatcher

        made = LLMatcher(self._tokens, LLMatcher.grammar_from_json_schema(schema, defaults=STYLE))
        if made.is_error():
            raise RequestRejected(f"the schema cannot constrain an answer: {made.get_error()}")
        return made


class Matcher:
    """Where one answer is within its schema."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def forbid(self, logits: Any) -> None:
        """Put -inf, in place, where a token (V,) must not come next."""
        import numpy as np
        import torch

        bits = np.zeros((len(logits) + 31) // 32, dtype=np.int32)
        self._state.unsafe_compute_mask_ptr(bits.ctypes.data, bits.nbytes)
        if self._state.is_error():
            raise RequestRejected(f"the schema cannot be kept to: {self._state.get_error()}")
        allowed = np.unpackbits(bits.view(np.uint8), bitorder="little")[: len(logits)].astype(bool)
        logits.masked_fill_(~torch.from_numpy(allowed).to(logits.device), float("-inf"))

    def take(self, token: int) -> bool:
        """Go on by one token; True when the answer is complete."""
        self._state.consume_token(token)
        return bool(self._state.is_stopped())
