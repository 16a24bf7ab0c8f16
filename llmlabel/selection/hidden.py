"""How near answers are to the target's own in the target's hidden states: what the first version of the paper ranked by.

For each layer the states of an answer's tokens are averaged (the answer alone, without a prompt; a token the tokenizer puts
before every text is read and not counted); the cosines of two answers are averaged over the layers' outputs. A diagnostic: the
paper's later versions replace it by self-aligned perplexity.

Source: Ren, Chen, Liu 2025, arXiv 2502.11779v1, as far as the released code shows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from llmlabel.llm.backends.embedded import place
from llmlabel.llm.batching import batches
from llmlabel.llm.causal_lm import CausalLM

PAIRS = 128  # whose states are held at a time
Row = tuple[str, list[int], int]  # a text, its tokens, how many of them stand before the text


def open_lm(model: str) -> CausalLM:
    """A folder, a hub id, or "" for the packaged model; loaded when first used. Raises: ConfigError where it is missing."""
    found = place(model)
    return CausalLM(found.folder, found.gguf, found.name)


def cosines(lm: CausalLM, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """The cosine (-1 to 1) of each answer and the target's own answer to the same question, averaged over layers.

    nan where one of the two has no tokens or is longer than the model's context. Memory: one batch within the model's budget, and
    the averages of a few texts, whatever the number of pairs.
    """
    found: list[float] = []
    for start in range(0, len(pairs), PAIRS):
        part = pairs[start : start + PAIRS]
        states = dict(_states(lm, list(dict.fromkeys(text for pair in part for text in pair))))
        found += [_cosine(states.get(answer), states.get(own)) for answer, own in part]
    return found


def _cosine(a: Any, b: Any) -> float:
    if a is None or b is None:
        return math.nan
    return float(torch.nn.functional.cosine_similarity(a, b, dim=-1).mean())


def _states(lm: CausalLM, texts: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """(text, (layers, width) float32 averages over its tokens) of those that fit."""
    rows = [row for text in texts if (row := _row(lm, text))]
    for chunk in batches(rows, lambda row: len(row[1]), lambda row: _bytes(lm, len(row[1])), lm.budget):
        yield from zip((text for text, _, _ in chunk), _averages(lm, chunk), strict=True)


def _row(lm: CausalLM, text: str) -> Row | None:
    own = lm.text_tokens(text, special=False)
    whole = lm.text_tokens(text, special=True)
    start = next((i for i in range(len(whole) - len(own) + 1) if whole[i : i + len(own)] == own), None)
    ids, before = (own, 0) if start is None else (whole[: start + len(own)], start)
    limit = getattr(lm.config, "max_position_embeddings", None) or 1 << 30
    return (text, ids, before) if own and len(ids) <= limit else None


def _bytes(lm: CausalLM, tokens: int) -> int:
    return lm.bytes_of(tokens, 0) + int(4 * tokens * lm.config.hidden_size * (lm.config.num_hidden_layers + 1))


def _averages(lm: CausalLM, rows: Sequence[Row]) -> list[Any]:
    width = max(len(ids) for _, ids, _ in rows)
    ids, reads, counts = (torch.zeros(len(rows), width, dtype=torch.long) for _ in range(3))
    for i, (_, tokens, before) in enumerate(rows):
        ids[i, : len(tokens)] = torch.tensor(tokens)
        reads[i, : len(tokens)] = 1
        counts[i, before : len(tokens)] = 1
    device = lm.model.device
    made = lm.model.base_model(
        ids.to(device), attention_mask=reads.to(device), output_hidden_states=True, use_cache=False
    ).hidden_states[1:]  # the first are the embeddings
    weights = (counts / counts.sum(1, keepdim=True)).to(device)
    layers = torch.stack([torch.einsum("bs,bsh->bh", weights, layer.float()) for layer in made], 1)
    return list(layers.cpu())
