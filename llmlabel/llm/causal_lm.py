"""A causal language model in this process: texts to tokens, and batches of tokens to log-probabilities."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

from jinja2 import TemplateError

from llmlabel.errors import BackendError, RequestRejected
from llmlabel.llm.requests import Message, plain_text

CPU_BYTES = 1 << 30  # what one batch may take
SHARED = 16  # tokens that the prompts of a batch must have in common before those are computed once
TAILS = 1024  # tokens of completions side by side in one row: each costs attention to all that stand before it, seen or not


@dataclass(frozen=True)
class Branches:
    """Token ids of a prompt and of the completions to score after it."""

    prompt: Sequence[int]
    tails: Sequence[Sequence[int]]

    @property
    def size(self) -> int:
        return len(self.prompt) + sum(map(len, self.tails))

    def parts(self, most: int) -> list[Branches]:
        """The same completions in rows of at most `most` tokens of them, or one completion."""
        made: list[list[Sequence[int]]] = [[]]
        for tail in self.tails:
            if made[-1] and sum(map(len, made[-1])) + len(tail) > most:
                made.append([])
            made[-1].append(tail)
        return [Branches(self.prompt, tails) for tails in made]


class Start:
    """Tokens that several prompts begin with; keys and values are computed when they are first needed."""

    def __init__(self, lm: CausalLM, ids: Sequence[int]) -> None:
        self.ids = ids
        self._lm = lm

    @cached_property
    def _cache(self) -> Any:
        return self._lm.prefix(self.ids, 1)

    def cache(self, rows: int) -> Any:
        """For one pass, which writes to it."""
        made = copy.deepcopy(self._cache)
        made.batch_repeat_interleave(rows)
        return made


def gguf_options(gguf: str | None) -> dict[str, Any]:
    """What `from_pretrained` of a model needs for weights in a GGUF file: they are made floats again."""
    if not gguf:
        return {}
    from transformers import GgufConfig

    return {"gguf_file": gguf, "quantization_config": GgufConfig(dequantize=True)}


class CausalLM:
    """Weights and tokenizer, loaded when first used (float32, on the GPU if there is one).

    Args:
        folder: of the weights, or a hub id. gguf: the file's name if it is one. name: for messages.
    """

    def __init__(self, folder: str, gguf: str | None, name: str) -> None:
        self.name = name
        self._folder, self._gguf = folder, gguf

    @cached_property
    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        more = {"gguf_file": self._gguf} if self._gguf else {}
        return self._load(lambda: AutoTokenizer.from_pretrained(self._folder, **more))

    @cached_property
    def model(self) -> Any:
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        more = gguf_options(self._gguf)
        model = self._load(lambda: AutoModelForCausalLM.from_pretrained(self._folder, dtype=torch.float32, **more))
        return model.to("cuda" if torch.cuda.is_available() else "cpu").eval().requires_grad_(False)

    def unload(self) -> None:
        """Give the memory of the weights back; the next request loads them again."""
        vars(self).pop("model", None)

    def _load(self, load: Callable[[], Any]) -> Any:
        from safetensors import SafetensorError

        try:
            return load()
        except (OSError, ValueError, ImportError, SafetensorError) as e:
            raise BackendError(f"embedded:{self.name} cannot be loaded from {self._folder}: {e}") from e

    @cached_property
    def config(self) -> Any:
        return self.model.config.get_text_config()

    @cached_property
    def ends(self) -> list[int]:
        """Tokens that end an answer."""
        told = getattr(self.model.generation_config, "eos_token_id", None)
        ends = told if isinstance(told, list) else [told]
        return sorted({int(token) for token in [*ends, self.tokenizer.eos_token_id] if token is not None})

    def text_tokens(self, text: str, *, special: bool) -> list[int]:
        return list(self.tokenizer(plain_text(text), add_special_tokens=special).input_ids)

    def chat_tokens(self, messages: Sequence[Message]) -> list[int]:
        """The prompt that an answer follows. Raises: RequestRejected where the model's template refuses the messages."""
        plain = [{"role": m["role"], "content": plain_text(m["content"])} for m in messages]
        try:
            made = self.tokenizer.apply_chat_template(plain, add_generation_prompt=True, return_dict=True)
        except (ValueError, TemplateError) as e:
            raise RequestRejected(f"the chat template of {self.name} refuses the messages: {e}") from e
        return list(made["input_ids"])

    def check_length(self, tokens: int) -> None:
        limit = getattr(self.config, "max_position_embeddings", None) or 1 << 30
        if tokens > limit:
            raise RequestRejected(f"{tokens} tokens do not fit into the {limit} of {self.name}")

    @cached_property
    def budget(self) -> int:
        """Bytes one batch may take: of a GPU half of what is free."""
        import torch

        return int(torch.cuda.mem_get_info()[0] // 2) if self.model.device.type == "cuda" else CPU_BYTES

    def bytes_of(self, tokens: int, logits: int) -> int:
        """About what a row takes: keys and values and what a layer holds of each token, an attention mask, `logits` rows."""
        c = self.config
        head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
        cache = 2 * c.num_hidden_layers * (getattr(c, "num_key_value_heads", None) or c.num_attention_heads) * head
        layer = 4 * (c.hidden_size + (getattr(c, "intermediate_size", None) or 4 * c.hidden_size))
        return 4 * int(tokens * (2 * cache + layer + tokens) + 2 * logits * c.vocab_size)

    @cached_property
    def tails(self) -> int:
        """Tokens of completions one row should hold."""
        return min(TAILS, self.budget // self.bytes_of(0, 1))

    def score(self, rows: Sequence[Branches], start: Start | None = None) -> list[list[float]]:
        """Log-probability (nats) of every completion of every row, summed over its tokens.

        Args:
            start: what all prompts begin with, if that is known; their last token is never part of it.
        """
        return self._branches(rows, start) if self._can_branch else [self._one_by_one(row) for row in rows]

    @cached_property
    def _can_branch(self) -> bool:
        """Whether completions can stand side by side after one prompt: a question of the architecture, so it is tried.

        A sliding window counts columns, not positions, and is not met by the short text tried here.
        """
        if getattr(self.config, "sliding_window", None) or getattr(self.config, "attention_chunk_size", None):
            return False
        some = [token % self.config.vocab_size for token in range(100, 120)]
        row = Branches(some[:12], [some[12:14], some[14:15], some[15:]])
        try:
            fast = self._branches([row])[0]
        except (RuntimeError, TypeError, ValueError):
            return False
        return all(abs(a - b) < 0.01 for a, b in zip(fast, self._one_by_one(row), strict=True))

    def _one_by_one(self, row: Branches) -> list[float]:
        """Every completion as a text of its own, the prompt in front."""
        import torch

        sums = []
        for tail in row.tails:
            ids = torch.tensor([[*row.prompt, *tail]], device=self.model.device)
            logps = self.model(ids[:, :-1]).logits[0, len(row.prompt) - 1 :].float().log_softmax(-1)
            sums.append(float(logps.gather(1, ids[0, len(row.prompt) :, None]).sum()))
        return sums

    def _branches(self, rows: Sequence[Branches], start: Start | None = None) -> list[list[float]]:
        """One pass: prompts end in the same column, each completion follows as a branch that sees the prompt and itself."""
        from llmlabel.llm.branches import layout, sums

        shared = len(start.ids) if start else shared_tokens([row.prompt for row in rows])
        start = start or Start(self, rows[0].prompt[:shared])
        cache = start.cache(len(rows)) if shared else None
        made = layout(rows, shared, self.model.device)
        logits = self.model(
            made.ids, attention_mask=made.mask, position_ids=made.positions, past_key_values=cache, use_cache=shared > 0,
            logits_to_keep=made.kept,
        ).logits  # fmt: skip
        return [found.tolist() for found in sums(logits, made, rows)]

    def prefix(self, ids: Sequence[int], rows: int) -> Any:
        """Keys and values of tokens that all rows begin with, computed once."""
        import torch

        cache = self.model(torch.tensor([ids], device=self.model.device), use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_repeat_interleave(rows)
        return cache


def shared_tokens(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, if it is worth computing them apart; the last token of a prompt never counts."""
    if len(prompts) < 2:
        return 0
    alike = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*(p[:-1] for p in prompts), strict=False)))
    return alike if alike >= SHARED else 0
