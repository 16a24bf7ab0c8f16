"""Batched generation: prompts padded on the left, each row with its own limit, randomness and grammar."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmlabel.errors import BackendError
from llmlabel.llm.causal_lm import CausalLM, shared_tokens
from llmlabel.llm.grammar import Matcher


@dataclass
class Row:
    """One answer in the making. `tops`: how many alternatives of the first token to keep."""

    prompt: Sequence[int]
    most: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    tops: int = 0
    matcher: Matcher | None = None
    tokens: list[int] = field(default_factory=list)
    alternatives: list[tuple[int, float]] = field(default_factory=list)
    finish: str = ""

    def take(self, token: int, ends: Sequence[int]) -> None:
        self.tokens.append(token)
        complete = self.matcher.take(token) if self.matcher else False
        if complete or token in ends:
            self.finish = "stop"
        elif len(self.tokens) >= self.most:
            self.finish = "length"


def generate(lm: CausalLM, rows: Sequence[Row], stopping: Callable[[], bool]) -> Sequence[Row]:
    """Fill in `tokens`, `finish` and `alternatives` of every row; rows that are done leave the batch.

    The model's own generation defaults (repetition penalty, top_k) are not applied: the request says it all.
    Raises: BackendError when `stopping` says so between two tokens.
    """
    import torch

    with torch.inference_mode():
        state = _Batch(lm, list(rows))
        while state.rows:
            if stopping():
                raise BackendError("the model was closed")
            state.step()
    return rows


class _Batch:
    """Rows that still grow, their attention mask (B, S), keys and values, and the logits (B, V) of what comes next."""

    def __init__(self, lm: CausalLM, rows: list[Row]) -> None:
        import torch

        self.lm, self.rows, self.device = lm, rows, lm.model.device
        for row in rows:
            row.tokens, row.alternatives, row.finish = [], [], ""
            row.generator = torch.Generator().manual_seed(row.seed)
        self.mask, ids, shared = self._padded()
        self.cache = lm.prefix(rows[0].prompt[:shared], len(rows)) if shared else None
        self._forward(ids, (self.mask.cumsum(1) - 1).clamp(min=0)[:, shared:])
        for row, logits in zip(rows, self.logits, strict=True):
            if row.tops:
                best = logits.log_softmax(-1).topk(row.tops)
                row.alternatives = list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
