"""Prompts and answers as token ids, one way for all that is trained.

An answer is the tokens of its text and the token that ends an answer: of a chat template the first special token that it
writes behind an answer, else the tokenizer's eos. Prompt and answers become tokens apart and are put together as tokens, so
that every answer follows the same prompt; where the tokens of the whole text begin differently, this is counted
(`prompt_not_prefix`). A text that spells a special token keeps its letters but is not that token (`special_tokens`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from jinja2 import TemplateError

from llmlabel.errors import DataError
from llmlabel.lists import RankedList
from llmlabel.llm.requests import plain_text

SENTINEL = "An answer."


class Tokens:
    """A tokenizer, with its chat template or (`chat` false) without."""

    def __init__(self, tokenizer: Any, chat: bool) -> None:
        self.tokenizer, self.chat = tokenizer, chat

    @cached_property
    def end(self) -> list[int]:
        """The token that ends an answer; none where the tokenizer knows none."""
        eos = self.tokenizer.eos_token_id
        if self.chat:
            whole = self._render([{"role": "user", "content": "?"}, {"role": "assistant", "content": SENTINEL}], False)
            behind = self._ids(whole.rpartition(SENTINEL)[2])
            special = {*self.tokenizer.all_special_ids, eos}
            return next(([token] for token in behind if token in special), [] if eos is None else [eos])
        return [] if eos is None else [eos]

    def prompt_ids(self, one: RankedList, counts: Counter[str] | None = None) -> list[int]:
        """The tokens an answer follows, uncut. Raises: DataError where the template refuses the messages, or there are none."""
        counts = Counter() if counts is None else counts
        first = one.completions[0] if one.completions else SENTINEL
        if not self.chat:
            text = self._plain(one.text, counts)
            ids = self._ids(text, special=True)
            ids = ids[:-1] if len(ids) > 1 and ids[-1] == self.tokenizer.eos_token_id else ids
            whole = self._ids(text + self._plain(first, Counter()), special=True)
        else:
            told = [{"role": m["role"], "content": self._plain(m["content"], counts)} for m in one.messages]
            ids = self._ids(self._render(told, True))
            answer = {"role": "assistant", "content": self._plain(first, Counter())}
            whole = self._ids(self._render([*told, answer], False))
        counts["prompt_not_prefix"] += whole[: len(ids)] != ids
        if not ids:
            raise DataError("its prompt has no tokens")
        return ids

    def answer_ids(self, text: str, counts: Counter[str]) -> list[int]:
        """The tokens of an answer and the one that ends it, uncut."""
        return self._ids(self._plain(text, counts)) + self.end

    def _render(self, messages: Sequence[Mapping[str, str]], answer_next: bool) -> str:
        try:
            return str(self.tokenizer.apply_chat_template(messages, add_generation_prompt=answer_next, tokenize=False))
        except (ValueError, TypeError, TemplateError) as e:
            raise DataError(f"the chat template refuses its messages: {e}") from e

    def _ids(self, text: str, special: bool = False) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=special, verbose=False).input_ids)

    def _plain(self, text: str, counts: Counter[str]) -> str:
        """The text, with a space inside whatever spells a special token."""
        text, found = plain_text(text), False
        for special in self._spelled:
            if special in text:
                text, found = text.replace(special, f"{special[0]} {special[1:]}"), True
        counts["special_tokens"] += found
        return text

    @cached_property
    def _spelled(self) -> list[str]:
        return [token for token in self.tokenizer.all_special_tokens if len(token) > 1]
