"""Pairs, as TRL's preference trainers take them: one answer chosen, one rejected. In and out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from llmlabel.alignment.forms import Piece, Row, number, rest, row_id
from llmlabel.alignment.labels import labels
from llmlabel.errors import ConfigError, DataError
from llmlabel.lists import Prompt, RankedList, as_completion, as_prompt
from llmlabel.runs import write_atomic, write_parquet

TURN = "\n\nAssistant:"  # how HH-RLHF and what follows it mark a turn in plain text
PAIRS = ("all", "best-worst", "adjacent")
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
NUMBERS = [pa.field(name, pa.float64()) for name in ("score_chosen", "score_rejected", "score_gap")]


def pair(row: Row) -> Piece:
    """A row of TRL's preference form. Raises: DataError where chosen and rejected are no two answers to one prompt."""
    prompt, chosen, rejected = split(row.get("prompt"), row.get("chosen"), row.get("rejected"))
    scores = tuple(number(row.get(f"score_{name}")) for name in ("chosen", "rejected"))
    used = {"prompt", "chosen", "rejected", "messages", "score_chosen", "score_rejected", "score_gap", "list_id"}
    key = str(row.get("list_id") or "")
    return Piece(prompt, (chosen, rejected), 1.0, scores, id=key or row_id(row), key=key, more=rest(row, used))


def split(prompt: Any, chosen: Any, rejected: Any) -> tuple[Prompt, str, str]:
    """Prompt and two answers, also where both answers hold the conversation that leads to them.

    Messages: the turns both share go to the prompt. Texts without a prompt: what both begin with, as TRL's `extract_prompt`,
    but only up to the last "Assistant:" turn if there is one, since two answers may well begin alike.
    """
    if chosen is None or rejected is None:
        raise DataError("chosen or rejected is null")
    if chosen == rejected:
        raise DataError("both answers are the same")
    if isinstance(chosen, list) and isinstance(rejected, list):
        return _split_messages(prompt, chosen, rejected)
    if not (isinstance(chosen, str) and isinstance(rejected, str)):
        return as_prompt(prompt), as_completion(chosen), as_completion(rejected)
    if not prompt:
        at = _shared(chosen, rejected)
    else:
        at = len(prompt) if isinstance(prompt, str) and chosen.startswith(prompt) and rejected.startswith(prompt) else 0
    return as_prompt(chosen[:at] if at else prompt or ""), chosen[at:], rejected[at:]


def _split_messages(prompt: Any, chosen: list[Any], rejected: list[Any]) -> tuple[Prompt, str, str]:
    shortest = min(len(chosen), len(rejected))
    same = next((i for i in range(shortest) if chosen[i] != rejected[i]), shortest)
    before = chosen[:same]
    if isinstance(prompt, list) and before[: len(prompt)] != prompt:
        before = prompt + before
    if len(chosen) != same + 1 or len(rejected) != same + 1:
        raise DataError("chosen and rejected differ in more than their last message")
    return as_prompt(before or prompt), as_completion(chosen[same:]), as_completion(rejected[same:])


def _shared(one: str, other: str) -> int:
    """Where the prompt ends in two conversations."""
    shortest = min(len(one), len(other))
    differ = next((i for i in range(shortest) if one[i] != other[i]), None)
    same = shortest - 1 if differ is None else differ
    turn = one.rfind(TURN, 0, same)
    if turn >= 0:
        return turn + len(TURN)
    return same - 1 if differ and one[same - 1] == " " else same


def to_pairs(lists: Iterable[RankedList], which: str = "all", dropped: Counter[str] | None = None) -> Iterator[dict[str, Any]]:
    """Lists as rows of TRL's preference form.

    Args:
        which: all: every two answers one of which is better; best-worst: one pair; adjacent: those next to each other in order.
        dropped: gets the lists that make no pair, by reason.
    Returns: rows of list_id, prompt, chosen, rejected, score_chosen, score_rejected, score_gap. Scores are the list's own, or
        the labels in [0, 1] where it has a win matrix or ranks only. Messages if any prompt is a chat.
    Raises: ConfigError for an unknown `which`.
    """
    if which not in PAIRS:
        raise ConfigError(f"--pairs {which!r}: knows {', '.join(PAIRS)}")
    lists, dropped = [*lists], dropped if dropped is not None else Counter()
    chat = any(not isinstance(one.prompt, str) for one in lists)
    for one in lists:
        values = values_of(one)
        order = sorted((i for i, v in enumerate(values) if not math.isnan(v)), key=lambda i: -values[i])
        some = 0
        for i, j in _chosen(order, which):
            if values[i] > values[j] and one.completions[i] != one.completions[j]:
                some += 1
                yield _pair_row(one, i, j, values, chat)
        if not some:
            dropped["its answers are all as good as each other" if len(order) > 1 else "fewer than two answers with a label"] += 1


def values_of(one: RankedList) -> list[float]:
    """What orders the answers: the list's scores if it has no win matrix, else their labels."""
    own = one.scores if one.win_matrix is None else None
    return [*own] if own is not None else [float(v) for v in labels(one)]


def _chosen(order: Sequence[int], which: str) -> Iterator[tuple[int, int]]:
    if which == "adjacent":
        yield from zip(order, order[1:], strict=False)
    elif which == "best-worst":
        yield from [(order[0], order[-1])] if len(order) > 1 else []
    else:
        yield from ((i, j) for n, i in enumerate(order) for j in order[n + 1 :])


def _pair_row(one: RankedList, i: int, j: int, values: Sequence[float], chat: bool) -> dict[str, Any]:
    def answer(k: int) -> Any:
        return [{"role": "assistant", "content": one.completions[k]}] if chat else one.completions[k]

    return {
        "list_id": one.id, "prompt": [dict(m) for m in one.messages] if chat else one.prompt, "chosen": answer(i),
        "rejected": answer(j), "score_chosen": values[i], "score_rejected": values[j], "score_gap": values[i] - values[j],
    }  # fmt: skip


def write_pairs(path: Path, rows: Sequence[Row]) -> None:
    """Write pairs as .parquet or .jsonl, whole or not at all."""
    check_ending(path)
    if path.suffix == ".jsonl":
        write_atomic(path, b"".join(orjson.dumps(row) + b"\n" for row in rows))
        return
    kind = pa.string() if not rows or isinstance(rows[0]["prompt"], str) else MESSAGES
    schema = pa.schema([("list_id", pa.string()), *((name, kind) for name in ("prompt", "chosen", "rejected")), *NUMBERS])
    write_parquet(path, pa.Table.from_pylist(rows, schema=schema))


def check_ending(path: Path) -> None:
    if path.suffix not in (".parquet", ".jsonl"):
        raise ConfigError(f"--out {path}: name a .parquet or .jsonl file")
