"""Lists of answers as token ids: one prompt, K answers after it, and their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmlabel.alignment.labels import labels, settled
from llmlabel.alignment.tokens import Tokens
from llmlabel.config import AlignConfig
from llmlabel.errors import ConfigError, DataError
from llmlabel.lists import RankedList
from llmlabel.llm.causal_lm import Branches

COUNTED = (
    "lists", "answers", "answers_cut", "answers_empty", "answers_left_out", "answers_twice", "answers_unlabelled", "prompts_cut",
    "prompt_not_prefix", "special_tokens",
)  # fmt: skip


@dataclass(frozen=True)
class Encoded:
    """A list as token ids. `labels`: K numbers in [0, 1], all known; `kept`: which K of the list's answers these are."""

    id: str
    row: Branches
    labels: tuple[float, ...]
    kept: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Encodings:
    """`dropped`: {id, reason} of lists that teach nothing; `counts`: what was cut and left out, by name."""

    lists: list[Encoded]
    dropped: list[dict[str, str]]
    counts: dict[str, int]


class _Dropped(Exception):
    """Why a list teaches nothing."""


class Encoder(Tokens):
    """Token ids of lists, for one tokenizer.

    Args:
        lists: all that are used together; they decide what `labels: auto` means.
        most: tokens the model has positions for; None: no limit is known.
    Raises: ConfigError where a chat template is asked for and there is none.
    """

    def __init__(self, tokenizer: Any, config: AlignConfig, lists: Sequence[RankedList], most: int | None = None) -> None:
        self.config, self.most = config, most
        self.by = settled(lists, config.labels)
        has = bool(getattr(tokenizer, "chat_template", None))
        if config.chat == "always" and not has:
            raise ConfigError("chat=always, but the tokenizer of the policy has no chat template; leave chat at auto")
        super().__init__(tokenizer, has and config.chat != "never")

    def encode(self, lists: Sequence[RankedList]) -> Encodings:
        """All lists that teach something. Raises: ConfigError for a list longer than the model's positions."""
        counts = Counter(dict.fromkeys(COUNTED, 0))
        kept, dropped = [], []
        for one in lists:
            try:
                kept.append(self._encoded(one, counts))
            except _Dropped as e:
                dropped.append({"id": one.id, "reason": str(e)})
        counts["lists"], counts["answers"] = len(kept), sum(map(len, kept))
        return Encodings(kept, dropped, dict(counts))

    def _encoded(self, one: RankedList, counts: Counter[str]) -> Encoded:
        psi = self._labels(one)
        chosen = _spread(self._different(one, psi, counts), psi, self.config.list_size, counts)
        if len(chosen) < 2:
            raise _Dropped("fewer than two of its answers have a text of their own and a label")
        if len({psi[i] for i in chosen}) < 2:
            raise _Dropped("all its answers are as good as each other")
        try:
            prompt = self.prompt_ids(one, counts)
        except DataError as e:
            raise _Dropped(str(e)) from e
        tails = [self._cut_tail(one.completions[i], counts) for i in chosen]
        row = Branches(self._cut_prompt(prompt, counts), tails)
        self._check_length(one.id, row)
        return Encoded(one.id, row, tuple(float(psi[i]) for i in chosen), tuple(chosen))

    def _labels(self, one: RankedList) -> Any:
        if not one.ranked or len(one) < 2:
            raise _Dropped(("it has no answers", "it has one answer", "its answers are not ranked")[min(len(one), 2)])
        try:
            return labels(one, by=self.by)
        except DataError as e:
            raise _Dropped(str(e)) from e

    def _different(self, one: RankedList, psi: Any, counts: Counter[str]) -> list[int]:
        """Answers with a text and a label; of those with the same text the best labelled one."""
        best: dict[str, int] = {}
        for i, text in enumerate(one.completions):
            if not text.strip():
                counts["answers_empty"] += 1
            elif np.isnan(psi[i]):
                counts["answers_unlabelled"] += 1
            elif text in best:
                counts["answers_twice"] += 1
                best[text] = max(best[text], i, key=lambda k: psi[k])
            else:
                best[text] = i
        return sorted(best.values())

    def _cut_prompt(self, ids: list[int], counts: Counter[str]) -> list[int]:
        most = self.config.max_prompt_tokens
        counts["prompts_cut"] += len(ids) > most
        if len(ids) <= most:
            return ids
        first = ids[:1] if ids[0] == self.tokenizer.bos_token_id else []
        return first + ids[len(ids) - most + len(first) :]

    def _cut_tail(self, text: str, counts: Counter[str]) -> list[int]:
        ids = self.answer_ids(text, counts)
        counts["answers_cut"] += len(ids) > self.config.max_completion_tokens
        return ids[: self.config.max_completion_tokens]

    def _check_length(self, name: str, row: Branches) -> None:
        longest = len(row.prompt) + max(map(len, row.tails))
        if self.most is not None and longest > self.most:
            raise ConfigError(
                f"list {name} has {longest} tokens (prompt {len(row.prompt)}), and the policy takes {self.most}; set "
                f"max_prompt_tokens and max_completion_tokens (now {self.config.max_prompt_tokens} and "
                f"{self.config.max_completion_tokens}) so that their sum is at most {self.most}"
            )


def _spread(chosen: list[int], psi: Any, most: int | None, counts: Counter[str]) -> list[int]:
    """At most so many answers: the best, the worst, and some evenly between; in the list's order."""
    if most is None or len(chosen) <= most:
        return chosen
    by_label = sorted(chosen, key=lambda i: -psi[i])
    counts["answers_left_out"] += len(chosen) - most
    return sorted(by_label[k] for k in np.linspace(0, len(by_label) - 1, most).round().astype(int))
