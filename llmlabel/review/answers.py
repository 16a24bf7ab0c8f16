"""What people answered, as the tools' files have it, before it is checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmlabel.errors import DataError


@dataclass(frozen=True)
class Answer:
    """One person's answer for one row.

    Args:
        where: its place in the file, in words. id: of the row. key: the row's name in its batch, where the tool kept it.
        choices: as they stand in the file; None: no answer was given. at: when, ISO 8601, where the tool says.
        text: as shown to the person. suggestion: as shown to the person. problem: why it cannot be used.
    """

    where: str
    id: str
    batch: str
    choices: list[str] | None
    by: str = ""
    at: str | None = None
    note: str = ""
    key: str = ""
    text: str | None = None
    suggestion: str = ""
    problem: str = ""


def parse_json(text: str, path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON list.

    Raises: DataError, naming the line or the entry, when the file is not that.
    """
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as e:
        raise DataError(f"{path}, line {e.lineno}, column {e.colno}: broken JSON ({e.msg}); export it from the tool again") from e
    except RecursionError as e:
        raise DataError(f"{path}: the JSON is nested too deeply to be an export") from e
    if not isinstance(entries, list):
        raise DataError(f"{path} holds no list of tasks or records; export it as JSON, as docs/commands/review.md says")
    for n, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise DataError(f"{path}, entry {n}: not a task or record but {type(entry).__name__}")
    return entries


def words(value: Any) -> str:
    """A note, however the tool wrapped it."""
    if isinstance(value, dict):
        value = value.get("text")
    if isinstance(value, list):
        return "\n".join(words(v) for v in value)
    return "" if value is None else str(value)


def plain(value: Any) -> str:
    """An id or the like as text."""
    return "" if value is None else str(value)


def unanswered(where: str, row: Any, batch: Any, text: Any) -> Answer:
    """What an entry is before anybody answers it."""
    return Answer(where, plain(row), plain(batch), None, text=text if isinstance(text, str) else None)


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def careful(parse: Callable[[], list[Answer]], empty: Answer) -> list[Answer]:
    """The answers of one entry, or `empty` where it has none.

    An entry of another shape is one answer with a problem, not the end of the import.
    """
    try:
        return parse() or [empty]
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        return [replace(empty, problem=f"not of the tool's form ({type(e).__name__}: {e})")]
