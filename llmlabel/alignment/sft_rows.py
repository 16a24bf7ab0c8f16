"""Rows to fine-tune on: a prompt and one good answer, read from the forms they come in, and as token ids.

A row is a `RankedList` of one answer, so what is known of lists (ids, prompts, files) holds for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmlabel.alignment.tokens import Tokens
from llmlabel.data import stream
from llmlabel.errors import DataError
from llmlabel.lists import Broken, RankedList, as_completion, as_prompt, by_content, rows_of

FORMS = "`prompt` and `completion` (texts or messages), or `messages` that end with the answer"
OTHERS = {
    "completions": "lists of answers: train on them with `llmlabel run align`, or keep one answer of each",
    "responses": "lists of answers: train on them with `llmlabel run align`, or keep one answer of each",
    "chosen": "pairs of answers: train on them with `llmlabel run align`, or rename `chosen` to `completion`",
    "text": "texts, in which nothing tells the answer from its prompt",
}
COUNTED = ("rows", "tokens", "rows_dropped", "rows_too_long", "prompt_not_prefix", "special_tokens")
NAMED = 3  # rows told where none is left


def read_rows(spec: str, *, id_column: str | None = None, option: str = "--data") -> tuple[list[RankedList], list[Broken]]:
    """All rows of a file, in order, and those that cannot be used.

    Raises: DataError for other columns, no rows, no usable row, or an `id_column` that is not unique.
    """
    found: list[RankedList] = []
    broken: list[Broken] = []
    number = 0
    for table in stream(spec, option=option):
        _check_columns(table.column_names, spec, option, id_column)
        for row in rows_of(table):
            number += 1
            try:
                found.append(as_row(row, id_column))
            except DataError as e:
                broken.append(Broken(number, str(row.get(id_column or "id") or ""), str(e)))
    if not found:
        why = f": row {broken[0].row}: {broken[0].reason}" if broken else ""
        raise DataError(f"{option} {spec} has no row with a prompt and an answer{why}")
    return _with_ids(found, id_column, f"{option} {spec}"), broken


def as_row(row: Mapping[str, Any], id_column: str | None = None) -> RankedList:
    """A row of a file, or of `selection.sft.rows`. Raises: DataError for what is no prompt with an answer."""
    prompt, said = row.get("prompt"), row.get("completion")
    if prompt is None and said is None:
        prompt, said = _turns(row.get("messages"))
    answer = as_completion(said)
    if isinstance(said, list) and said and said[0].get("role") != "assistant":
        raise DataError(f"the completion is a turn of {said[0].get('role')}, not of the assistant")
    if not answer.strip():
        raise DataError("the answer is empty")
    told = row.get(id_column or "id")
    return RankedList("" if told is None else str(told), as_prompt(prompt), (answer,))


def _turns(messages: Any) -> tuple[Any, Any]:
    """What the last turn answers, and this turn."""
    if not isinstance(messages, list) or len(messages) < 2 or not all(isinstance(m, Mapping) for m in messages):
        raise DataError("messages is no list of at least two messages {role, content}")
    return messages[:-1], messages[-1:]


def _check_columns(names: Sequence[str], spec: str, option: str, id_column: str | None) -> None:
    if not ({"prompt", "completion"} <= {*names} or "messages" in names):
        holds = next((f", but {text}" for name, text in OTHERS.items() if name in names), "")
        raise DataError(f"{option} {spec} has no rows to fine-tune on{holds}. Wanted: {FORMS}. It has: {', '.join(names)}")
    if id_column and id_column not in names:
        raise DataError(f"{option} {spec} has no column {id_column!r}. It has: {', '.join(names)}")


def _with_ids(rows: list[RankedList], id_column: str | None, where: str) -> list[RankedList]:
    """Ids of the file if every row has its own, else hashes of the content."""
    twice = next((i for i, n in Counter(one.id for one in rows).items() if n > 1 or not i), None)
    if twice is None:
        return rows
    if id_column:
        raise DataError(f"{where} has the id {twice!r} more than once, or a row without one; name another --id-column")
    return by_content(rows)


@dataclass(frozen=True)
class Encoded:
    """A row as token ids. `prompt`: of the row, as one text."""

    id: str
    prompt: str
    ids: list[int]
    labels: list[int]

    @property
    def tokens(self) -> int:
        """Of the answer."""
        return sum(label != IGNORED for label in self.labels)


IGNORED = -100  # label of a token that is not learnt


@dataclass(frozen=True)
class Encodings:
    """`dropped`: {id, reason} of rows that are not used; `counts`: by name."""

    rows: list[Encoded]
    dropped: list[dict[str, str]]
    counts: dict[str, int]


def encode(rows: Sequence[RankedList], tokens: Tokens, most: int) -> Encodings:
    """Rows as token ids, of which only the answer's are learnt; rows longer than `most` tokens are left out.

    An answer cut at its end would teach answers without one.
    """
    counts = Counter(dict.fromkeys(COUNTED, 0))
    found, dropped = [], []
    for one in rows:
        try:
            prompt, answer = tokens.prompt_ids(one, counts), tokens.answer_ids(one.completions[0], counts)
        except DataError as e:
            dropped.append({"id": one.id, "reason": str(e)})
            continue
        if len(prompt) + len(answer) > most:
            counts["rows_too_long"] += 1
            dropped.append({"id": one.id, "reason": f"longer than {most} tokens, prompt and answer together"})
            continue
        found.append(Encoded(one.id, one.text, [*prompt, *answer], [*[IGNORED] * len(prompt), *answer]))
    counts["rows"], counts["rows_dropped"], counts["tokens"] = len(found), len(dropped), sum(one.tokens for one in found)
    return Encodings(found, dropped, dict(counts))


def some(made: Encodings) -> Encodings:
    """The same. Raises: DataError that names rows where none is left."""
    if made.rows:
        return made
    told = "; ".join(f"{one['id']}: {one['reason']}" for one in made.dropped[:NAMED]) or "there are none"
    raise DataError(f"no row to learn from ({told})")
