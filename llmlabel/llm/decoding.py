"""Batched generation: prompts padded on the left, each row with its own limit, randomness and grammar (torch only)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from llmlabel.errors import BackendError
from llmlabel.llm.causal_lm import CausalLM, shared_tokens
from llmlabel.llm.grammar import Grammars, Matcher


@dataclass(frozen=True)
class Row:
    """What to generate. `tops`: how many alternatives of the first token to tell."""

    prompt: Sequence[int]
    most: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    tops: int = 0
    schema: Mapping[str, Any] | None = None


@dataclass
class Answer:
    """`alternatives`: token ids and natural log-probabilities, before any grammar; `finish`: stop or length."""

    row: Row
    matcher: Matcher | None
    random: Any
    tokens: list[int] = field(default_factory=list)
    alternatives: list[tuple[int, float]] = field(default_factory=list)
    finish: str = ""

    def take(self, token: int, ends: Sequence[int]) -> None:
        self.tokens.append(token)
        complete = self.matcher.take(token) if self.matcher else False
        if complete or token in ends:
            self.finish = "stop"
        elif len(self.tokens) >= self.row.most:
            self.finish = "length"


def generate(lm: CausalLM, grammars: Grammars | None, rows: Sequence[Row], stopping: Callable[[], bool]) -> list[Answer]:
    """One answer per row; rows that are done leave the batch.

    The model's own generation defaults (repetition penalty, top_k) are not applied: the request says it all.
    Raises: BackendError when `stopping` says so between two tokens.
    """
    answers = []
    for row in rows:
        matcher = grammars.matcher(row.schema) if grammars and row.schema else None
        answers.append(Answer(row, matcher, torch.Generator().manual_seed(row.seed)))
    with torch.inference_mode():
        batch = _Batch(lm, answers)
        for answer, logits in zip(answers, batch.logits, strict=True):
            if answer.row.tops:
                best = logits.log_softmax(-1).topk(answer.row.tops)
                answer.alternatives = list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        while batch.choose():
            if stopping():
                raise BackendError("the model was closed")
            batch.step()
    return answers


class _Batch:
    """Answers that still grow, their attention mask (B, S), keys and values, and the logits (B, V) of what comes next."""

    def __init__(self, lm: CausalLM, answers: list[Answer]) -> None:
        self.lm, self.growing, self.device = lm, answers, lm.model.device
        prompts = [answer.row.prompt for answer in answers]
        shared = shared_tokens(prompts)
        self.cache: Any = lm.prefix(prompts[0][:shared], len(answers)) if shared else None
        width = max(map(len, prompts)) - shared
        ids = torch.zeros((len(answers), width), dtype=torch.long)
        mask = torch.ones((len(answers), shared + width), dtype=torch.long)
        for i, prompt in enumerate(prompts):
            pad = width - len(prompt) + shared
            ids[i, pad:] = torch.tensor(prompt[shared:])
            mask[i, shared : shared + pad] = 0
        self.mask = mask.to(self.device)
        self._forward(ids.to(self.device), (self.mask.cumsum(1) - 1).clamp(min=0)[:, shared:])

    def choose(self) -> bool:
        """The next token of every row; False when all are done."""
        for answer, logits in zip(self.growing, self.logits, strict=True):
            if answer.matcher:
                answer.matcher.forbid(logits)
        best = self.logits.argmax(-1).tolist()
        for i, answer in enumerate(self.growing):
            token = draw(self.logits[i], answer) if answer.row.temperature else best[i]
            answer.take(token, self.lm.ends)
        self._drop_finished()
        return bool(self.growing)

    def _drop_finished(self) -> None:
        going = [i for i, answer in enumerate(self.growing) if not answer.finish]
        if 0 < len(going) < len(self.growing):
            kept = torch.tensor(going, device=self.device)
            self.cache.batch_select_indices(kept)
            self.mask = self.mask[kept]
        self.growing = [self.growing[i] for i in going]

    def step(self) -> None:
        ids = torch.tensor([[answer.tokens[-1]] for answer in self.growing], device=self.device)
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(ids), 1)], 1)
        self._forward(ids, self.mask.sum(1, keepdim=True) - 1)

    def _forward(self, ids: Any, positions: Any) -> None:
        out = self.lm.model(
            ids, attention_mask=self.mask, position_ids=positions, past_key_values=self.cache, use_cache=True, logits_to_keep=1
        )
        self.cache, self.logits = out.past_key_values, out.logits[:, -1].float().clone()


def draw(logits: Any, answer: Answer) -> int:
    """One token from logits (V,) under temperature and nucleus, with the answer's own random numbers.

    Each token has its own random number, so that another last digit of a logit does not move all others.
    """
    probs = (logits.double().cpu() / answer.row.temperature).softmax(-1)
    if answer.row.top_p < 1:
        falling = probs.sort(descending=True, stable=True)
        outside = falling.values.cumsum(-1) - falling.values >= answer.row.top_p
        probs[falling.indices[outside]] = 0
    return int(torch.multinomial(probs, 1, generator=answer.random))
