"""Lists of answers: one prompt, K completions, and what is known of their order. One reader and one writer for every room."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from llmlabel.data import hashed_ids, stream
from llmlabel.errors import DataError
from llmlabel.records import Example
from llmlabel.runs import write_atomic, write_parquet

Message = Mapping[str, str]
Prompt = str | tuple[Message, ...]
OTHER_NAMES = {"completions": "responses", "ranks": "ranking"}  # what other files call them; `ranking`: indices, best first
NUMBERS = ("scores", "ranks")
KNOWN = {"id", "prompt", "completions", "responses", "scores", "ranks", "ranking", "win_matrix", "models"}
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("prompt", pa.string()),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("completions", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float64())),
        ("ranks", pa.list_(pa.float64())),
        ("win_matrix", pa.list_(pa.list_(pa.float64()))),
        ("models", pa.list_(pa.string())),
    ]
)


def prompt_text(prompt: Prompt) -> str:
    """A prompt as one text."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0]["content"]
    return "\n\n".join(f"{m['role']}: {m['content']}" for m in prompt)


def prompt_messages(prompt: Prompt) -> tuple[Message, ...]:
    """A prompt as chat messages; a text is one turn of the user."""
    return ({"role": "user", "content": prompt},) if isinstance(prompt, str) else prompt


@dataclass(frozen=True)
class RankedList:
    """One prompt and K answers to it.

    Args:
        prompt: a text, or chat messages that an answer follows. completions: K texts.
        scores: (K,) higher is better; nan: unknown. ranks: (K,) 1 is best, ties are equal.
        win_matrix: (K, K) how often i beats j, 0 to 1; nan: never compared. models: (K,) who wrote them.
        more: the file's other columns.
    """

    id: str
    prompt: Prompt
    completions: tuple[str, ...]
    scores: tuple[float, ...] | None = None
    ranks: tuple[float, ...] | None = None
    win_matrix: tuple[tuple[float, ...], ...] | None = None
    models: tuple[str, ...] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.completions)

    @property
    def text(self) -> str:
        """The prompt as one text, for people and for judges."""
        return prompt_text(self.prompt)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The prompt as chat messages; a text is one turn of the user."""
        return prompt_messages(self.prompt)

    @property
    def ranked(self) -> bool:
        return self.scores is not None or self.ranks is not None or self.win_matrix is not None


@dataclass(frozen=True)
class Broken:
    """A row of a file that is no list of answers. `row`: its number, from 1; `id`: as far as it has one."""

    row: int
    id: str
    reason: str


def read_lists(
    spec: str, *, id_column: str | None = None, prompt_column: str = "prompt", option: str = "--data",
    broken: list[Broken] | None = None,
) -> list[RankedList]:  # fmt: skip
    """All rows of a file as lists of answers, in order.

    Columns: `prompt` (text or messages), `completions` or `responses`; if there are any: `scores`, `ranks` or `ranking`
    (indices, best first), `win_matrix`, `models`, `id` (if it is unique, else a hash of the content). A file without completions
    is a file of prompts: lists of no answers.

    Args:
        prompt_column: what the file calls `prompt`. broken: gets the rows that cannot be used; None: the first is an error.
    Raises: DataError for a missing column, no rows, an `id_column` that is not unique, or, without `broken`, an unusable row.
    """
    found: list[RankedList] = []
    bad = broken if broken is not None else []
    number, hashed = 0, Counter[str]()
    for table in stream(spec, option=option):
        _check_columns(table.column_names, spec, option, id_column, prompt_column)
        for row in rows_of(table):
            number += 1
            row = row if prompt_column == "prompt" else {**row, "prompt": row.pop(prompt_column)}
            try:
                found.append(_list(row, id_column, hashed))
            except DataError as e:
                bad.append(Broken(number, str(row.get(id_column or "id") or ""), str(e)))
                if broken is None:
                    raise DataError(
                        f"{option} {spec}, row {number}: {e}. `llmlabel align check {spec}` finds all such rows"
                    ) from e
    if not number:
        raise DataError(f"{option} {spec} has no rows")
    twice = next((i for i, n in Counter(one.id for one in found).items() if n > 1), None)
    if twice is not None and id_column:
        raise DataError(f"{option} {spec} has the id {twice!r} more than once; name another column with --id-column")
    return found if twice is None else by_content(found)


def by_content(lists: Sequence[RankedList]) -> list[RankedList]:
    """The same lists; ids are hashes, as where there is no column of ids."""
    names = hashed_ids((_content(one.prompt, one.completions) for one in lists), Counter())
    return [replace(one, id=name) for one, name in zip(lists, names, strict=True)]


def _content(prompt: Prompt, completions: Sequence[str]) -> str:
    return orjson.dumps([prompt, completions], default=str).decode()


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table of `stream`.

    Where a .jsonl file has values of several kinds in one place (a text here, messages there), `datasets` keeps JSON for all of
    them, which is read here. A text that is itself JSON, such as `5`, then is what it spells: `datasets` cannot tell these apart.
    """
    if "extension<arrow.json>" not in str(table.schema.remove_metadata()):
        return list(table.to_pylist())
    from datasets import Features

    columns = Features.from_arrow_schema(table.schema).decode_batch(table.to_pydict())
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _check_columns(names: Sequence[str], spec: str, option: str, id_column: str | None, prompt_column: str) -> None:
    own_name = prompt_column != "prompt" or "messages" not in names
    for name in filter(None, [prompt_column if own_name else None, id_column]):
        if name not in names:
            more = (
                " (`llmlabel align convert` makes lists from pairs and other forms)"
                if {"chosen", "instruction"} & {*names}
                else ""
            )
            raise DataError(f"{option} {spec} has no column {name!r}{more}. It has: {', '.join(names)}")


def _list(row: Mapping[str, Any], id_column: str | None, hashed: Counter[str]) -> RankedList:
    prompt = as_prompt(row["prompt"] if row.get("prompt") is not None else row.get("messages"))
    raw = _first(row, "completions")
    completions = tuple(as_completion(c) for c in raw) if isinstance(raw, list) else ()
    if raw is not None and not isinstance(raw, list):
        raise DataError(f"completions is {type(raw).__name__}, not a list of texts")
    size = len(completions)
    told = row.get(id_column or "id")
    name = str(told) if told is not None else next(iter(hashed_ids([_content(prompt, completions)], hashed)))
    models = row.get("models")
    if models is not None and (not isinstance(models, list) or len(models) != size):
        raise DataError(f"models is not a list of {size} names, one for each completion")
    taken = KNOWN | {"messages", id_column or "id"}
    return RankedList(
        name, prompt, completions, _numbers(row.get("scores"), "scores", size), _ranks(row, size),
        _matrix(row.get("win_matrix"), size), None if models is None else tuple("" if m is None else str(m) for m in models),
        {k: v for k, v in row.items() if k not in taken},
    )  # fmt: skip


def _first(row: Mapping[str, Any], name: str) -> Any:
    value = row.get(name)
    return value if value is not None else row.get(OTHER_NAMES[name])


def as_prompt(value: Any) -> Prompt:
    """A prompt as it stands in a file. Raises: DataError where it is neither text nor messages."""
    if isinstance(value, str):
        if value.strip():
            return value
        raise DataError("the prompt is empty")
    if isinstance(value, list) and value and all(isinstance(m, Mapping) for m in value):
        return tuple(_message(m) for m in value)
    raise DataError("the prompt is neither a text nor a list of messages {role, content}")


def _message(value: Mapping[str, Any]) -> Message:
    role, content = value.get("role"), value.get("content")
    if not isinstance(role, str) or not isinstance(content, str):
        raise DataError("a message needs a role and a content, both texts (tool calls and images are not read)")
    return {"role": role, "content": content}


def as_completion(value: Any) -> str:
    """A completion: a text, or one message of the assistant. Raises: DataError for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, Mapping):
        return _message(value)["content"]
    if value is None:
        raise DataError("a completion is null")
    raise DataError("a completion is neither a text nor one message of the assistant")


def _numbers(value: Any, name: str, size: int) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise DataError(f"{name} is {type(value).__name__}, not a list of numbers")
    if len(value) != size:
        raise DataError(f"{name} has {len(value)} numbers for {size} completions")
    try:
        found = tuple(math.nan if v is None else float(v) for v in value)
    except (TypeError, ValueError) as e:
        raise DataError(f"{name} holds something that is no number: {str(e)[:80]}") from e
    if any(math.isinf(v) for v in found):
        raise DataError(f"{name} holds an infinite number")
    return None if size and all(math.isnan(v) for v in found) else found


def _ranks(row: Mapping[str, Any], size: int) -> tuple[float, ...] | None:
    if row.get("ranks") is not None or row.get("ranking") is None:
        return _numbers(row.get("ranks"), "ranks", size)
    order, scores = row["ranking"], row.get("scores")
    if not isinstance(order, list) or not all(isinstance(i, int) for i in order) or sorted(order) != [*range(size)]:
        raise DataError(f"ranking is not an order of the numbers 0 to {size - 1}, best first")
    ranks: dict[int, float] = {}
    for place, i in enumerate(order, 1):  # a ranking cannot say that two are tied; scores beside it can
        tied = place > 1 and scores is not None and scores[i] is not None and scores[i] == scores[order[place - 2]]
        ranks[i] = ranks[order[place - 2]] if tied else float(place)
    return tuple(ranks[i] for i in range(size))


def _matrix(value: Any, size: int) -> tuple[tuple[float, ...], ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != size or any(not isinstance(r, list) or len(r) != size for r in value):
        raise DataError(f"win_matrix is not {size} rows of {size} numbers")
    try:
        found = tuple(tuple(math.nan if v is None else float(v) for v in r) for r in value)
    except (TypeError, ValueError) as e:
        raise DataError(f"win_matrix holds something that is no number: {str(e)[:80]}") from e
    if any(v < 0 or v > 1 for r in found for v in r):
        raise DataError("win_matrix holds a number that is not between 0 and 1")
    return found


def lists_table(lists: Iterable[RankedList]) -> pa.Table:
    """Lists as an Arrow table; `prompt` holds texts, `messages` those prompts that are chats."""
    rows, more = [], []
    for one in lists:
        chat = None if isinstance(one.prompt, str) else [dict(m) for m in one.prompt]
        rows.append(
            {
                "id": one.id,
                "prompt": one.prompt if chat is None else None,
                "messages": chat,
                "completions": one.completions,
                "scores": _nulls(one.scores),
                "ranks": _nulls(one.ranks),
                "models": one.models,
                "win_matrix": None if one.win_matrix is None else [_nulls(r) for r in one.win_matrix],
            }  # fmt: skip
        )
        more.append(one.more)
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    for name in dict.fromkeys(key for values in more for key in values):
        table = table.append_column(name, _column([values.get(name) for values in more]))
    return table.drop_columns([n for n in ("messages", "models", "win_matrix") if table.column(n).null_count == table.num_rows])


def _column(values: Sequence[Any]) -> pa.Array:
    """A column of anything; JSON where the values are of several kinds."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if v is None else orjson.dumps(v, default=str).decode() for v in values])


def _nulls(values: Sequence[float] | None) -> list[float | None] | None:
    return None if values is None else [None if math.isnan(v) else v for v in values]


def write_lists(path: Path, lists: Sequence[RankedList]) -> None:
    """Write lists as .parquet or .jsonl, whole or not at all. Raises: DataError for another ending, or a full disk."""
    table = lists_table(lists)
    if path.suffix == ".parquet":
        write_parquet(path, table)
    elif path.suffix == ".jsonl":
        write_atomic(path, b"".join(orjson.dumps(row, default=str) + b"\n" for row in table.to_pylist()))
    else:
        raise DataError(f"cannot write {path}: lists are written as .parquet or .jsonl")


def as_examples(lists: Sequence[RankedList]) -> list[Example]:
    """Lists as texts, for what runs tell of their data: fingerprint, duplicates."""

    def plain(one: RankedList) -> str:
        return orjson.dumps([one.prompt, one.completions, one.scores, one.ranks, one.win_matrix], default=tuple).decode()

    return [Example(one.id, plain(one)) for one in lists]
