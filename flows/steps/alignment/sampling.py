"""Answers of a policy: sampled through the client, and how likely the policy itself finds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from llmlabel.config import SamplingConfig
from llmlabel.errors import DataError, LlmlabelError
from llmlabel.events import emit
from llmlabel.lists import RankedList
from llmlabel.llm import Client
from llmlabel.llm.requests import Request, ScoreRequest
from llmlabel.records import batched
from llmlabel.runs import RunFolder

Count = Callable[[str, int], Callable[[int], None]]  # step, how many -> on_done


def model_spec(policy: str, sampler: str) -> str:
    """The model spec that answers as a policy does: its folder or id, on a backend; `embedded` is the packaged model."""
    if policy == "embedded":
        return policy
    folder = Path(policy)
    return f"{sampler}:{folder.resolve() if folder.is_dir() else policy}"


def sample(
    folder: RunFolder, client: Client, lists: Sequence[RankedList], config: SamplingConfig, name: str, size: int, count: Count,
    first: int = 0,
) -> list[RankedList]:  # fmt: skip
    """The same prompts, each with at most `size` different answers; a prompt whose every answer failed has none.

    Args:
        name: of the step files. first: number of the first draw, so that cycles draw anew.
    """
    on_done, raw = count(name, len(lists) * size), []
    for n, shard in enumerate(batched(list(lists), config.shard_size)):
        raw += folder.step(f"{name}-{n:04d}", partial(_draw, client, shard, config, size, first, name, on_done))
    failed = sum(row["failed"] for row in raw)
    if failed:
        why = next(row["reason"] for row in raw if row["failed"])
        emit("note", text=f"{name}: {failed} of {len(lists) * size} answers failed or were empty, such as: {why}")
    found = [_without_copies(one, row) for one, row in zip(lists, raw, strict=True)]
    if not any(len(one) for one in found):
        raise DataError(f"{name}: the policy gave no usable answer to any prompt; the first failed because: {raw[0]['reason']}")
    return found


def _draw(
    client: Client, lists: Sequence[RankedList], config: SamplingConfig, size: int, first: int, step: str,
    on_done: Callable[[int], None],
) -> list[dict[str, Any]]:  # fmt: skip
    requests = [
        Request(
            one.messages, max_tokens=config.max_completion_tokens, temperature=config.temperature, top_p=config.top_p,
            sample=first + k,
        )
        for one in lists for k in range(size)
    ]  # fmt: skip
    answers = client.map(requests, step, on_done)
    rows = []
    for n in range(len(lists)):
        said = answers[n * size : (n + 1) * size]
        texts = ["" if isinstance(a, LlmlabelError) else a.text.strip() for a in said]
        why = [str(a) if isinstance(a, LlmlabelError) else "an empty answer" for a, t in zip(said, texts, strict=True) if not t]
        rows.append({"texts": [t for t in texts if t], "failed": len(why), "reason": why[0] if why else ""})
    return rows


def _without_copies(one: RankedList, row: dict[str, Any]) -> RankedList:
    texts = tuple(dict.fromkeys(row["texts"]))
    return replace(one, completions=texts, scores=None, ranks=None, win_matrix=None, models=None, more={})


def own_ranking(
    folder: RunFolder, client: Client, lists: Sequence[RankedList], name: str, shard: int, count: Count
) -> list[list[float]]:
    """(K,) mean log-probabilities per token that the client's model gives to each list's answers, nats."""
    on_done, found = count(name, len(lists)), []
    for n, part in enumerate(batched(list(lists), shard)):
        found += folder.step(f"{name}-{n:04d}", partial(_scored, client, part, name, on_done))
    return found


def _scored(client: Client, lists: Sequence[RankedList], step: str, on_done: Callable[[int], None]) -> list[list[float]]:
    requests = [ScoreRequest(one.messages, one.completions) for one in lists]
    rows = []
    for answer in client.map(requests, step, on_done):
        if isinstance(answer, LlmlabelError):
            raise answer
        rows.append([s / max(n, 1) for s, n in zip(answer.scores, answer.token_counts, strict=True)])
    return rows
