"""The nouns of a selection: a question, one strategy's answer to it, and what is known of all answers as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmlabel.lists import Message, Prompt, prompt_messages, prompt_text
from llmlabel.records import Status

FloatArray = NDArray[np.float64]
OWN = "(target)"  # stands where a strategy's name would, for answers of the target itself: a reference, never a contestant


@dataclass(frozen=True)
class Question:
    """A prompt answers are wanted for. `gold`: what a right answer ends in, None where unknown; no strategy sees it unless its
    prompt asks for it by name."""

    id: str
    prompt: Prompt
    gold: str | None = None

    @property
    def text(self) -> str:
        return prompt_text(self.prompt)

    @property
    def messages(self) -> tuple[Message, ...]:
        return prompt_messages(self.prompt)


@dataclass(frozen=True)
class Answer:
    """One strategy's answer to one question.

    `id`: of the question. `status`: ok, truncated (`text` is what there is of it), refused, error. `reason`: of a failure.
    `correct`: None where there is no gold, or no answer. `truncated`: None where nobody knows (answers from a file).
    `prompt`, `prompt_hash`: of the prompt file that made it. `read`, `wrote`: tokens as the model that wrote it counted them.
    """

    id: str
    strategy: str
    text: str
    status: Status = Status.OK
    reason: str = ""
    correct: bool | None = None
    truncated: bool | None = None
    model: str = ""
    prompt: str = ""
    prompt_hash: str = ""
    read: int = 0
    wrote: int = 0

    @property
    def usable(self) -> bool:
        """Whether there is a whole answer, one that could be trained on."""
        return self.status is Status.OK and bool(self.text.strip())

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "status": str(self.status)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Answer:
        return cls(**{**values, "status": Status(values["status"])})


@dataclass
class Table:
    """What is known of S strategies' answers to N questions: (S, N) arrays, nan where there is no answer or nothing is known.

    `scores`: by name: sppl and ppl in nats per token (mean negative log-likelihood; lower fits better), ifd (a ratio), cosine
    (-1 to 1). `correct`, `truncated`, `leaks`: 1 or 0. `tokens`: of the answer, by the target's tokenizer. `length_ratio`: tokens
    over the mean of the target's own answers to the same question. `diversity`: (S,) Vendi score over the number of answers.
    `cost`: (S,) US dollars for 1,000 answers. `asked`: (S, N) whether an answer was asked for at all.
    """

    strategies: list[str]
    ids: list[str]
    scores: dict[str, FloatArray]
    correct: FloatArray
    truncated: FloatArray
    leaks: FloatArray
    tokens: FloatArray
    length_ratio: FloatArray
    diversity: FloatArray
    cost: FloatArray
    asked: NDArray[np.bool_]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def empty(cls, strategies: Sequence[str], ids: Sequence[str], scores: Sequence[str] = ("sppl",)) -> Table:
        """All unknown."""
        size = (len(strategies), len(ids))

        def unknown(*shape: int) -> FloatArray:
            return np.full(shape, np.nan)

        return cls(
            strategies=[*strategies], ids=[*ids], scores={name: unknown(*size) for name in scores}, correct=unknown(*size),
            truncated=unknown(*size), leaks=unknown(*size), tokens=unknown(*size), length_ratio=unknown(*size),
            diversity=unknown(size[0]), cost=unknown(size[0]), asked=np.zeros(size, bool),
        )  # fmt: skip

    @cached_property
    def _lines(self) -> dict[str, int]:
        return {name: s for s, name in enumerate(self.strategies)}

    @cached_property
    def columns(self) -> dict[str, int]:
        """Question id -> its place."""
        return {id_: n for n, id_ in enumerate(self.ids)}

    def place(self, answer: Answer) -> tuple[int, int]:
        """Where an answer stands in the (S, N) arrays."""
        return self._lines[answer.strategy], self.columns[answer.id]

    @property
    def answered(self) -> NDArray[np.bool_]:
        """(S, N) whether there is a whole answer, scored or not."""
        return ~np.isnan(self.tokens) | ~np.isnan(self.leaks)


def known(value: float) -> float | None:
    """A number, or None for nan."""
    return None if np.isnan(value) else float(value)


def mean(values: FloatArray) -> float | None:
    """Of those that are known; None where none is."""
    some = values[~np.isnan(values)]
    return float(some.mean()) if len(some) else None
