"""What people said of a run's rows: `corrections.jsonl`, which only grows.

One line per answer, in order of import. What a person says later about the same row replaces what they said before; where
the tool tells when an answer was given, the later answer counts whatever the order of import.
"""

from __future__ import annotations

import fcntl
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from llmlabel.errors import DataError
from llmlabel.review.batch import Drawn
from llmlabel.runs import write_atomic

FILE = "corrections.jsonl"


@dataclass(frozen=True)
class Correction:
    """One person's label for one row.

    Args:
        id: of the row. label: id of the (first) label; None: the person said that none fits. labels: ids of all of them.
        by: who; at: when, ISO 8601, None where the tool does not say. batch: what it was exported in.
        drawn: `random` rows are a uniform draw of all rows; only they may be used for estimates. "": not known.
    """

    id: str
    label: str | None
    labels: list[str]
    by: str = ""
    at: str | None = None
    drawn: Drawn = ""
    batch: str = ""
    note: str = ""


@dataclass(frozen=True)
class Resolved:
    """By row id: what holds where people agree, or most of them do; `disputed`: the rows people differ about, and
    `unresolved`: those of them without a majority."""

    corrections: dict[str, Correction]
    disputed: list[str]
    unresolved: list[str]


def load_corrections(run: Path) -> dict[str, Correction]:
    """What people said of the rows of a run folder, one per row: the last word of each person, then the majority of people.

    Rows without a majority are left out. Empty where nothing was imported. Raises: DataError when the file is damaged.
    """
    return resolve(history(run)).corrections


def history(run: Path) -> list[Correction]:
    """All corrections of a run folder in order of import, those that were replaced too."""
    return list(_read(run / FILE))


def _read(path: Path) -> Iterator[Correction]:
    if not path.is_file():
        return
    names = Correction.__dataclass_fields__
    with path.open(encoding="utf-8", newline="\n") as lines:
        for n, line in enumerate(lines, 1):
            try:
                yield Correction(**{k: v for k, v in json.loads(line).items() if k in names})
            except (ValueError, TypeError, AttributeError) as e:
                raise DataError(f"{path}, line {n} is damaged ({e}); mend or delete that line, then import its file again") from e


def append(run: Path, corrections: Sequence[Correction], file: str = "") -> list[Correction]:
    """Add what is new to corrections.jsonl: all of it or, after a crash, nothing.

    Args:
        file: where they come from, kept for people.
    Returns: those that were added; what stands there already is not added again.
    """
    path = run / FILE
    with locked(run):
        known = history(run)
        new = _news(known, corrections)
        if new:
            old = path.read_bytes().rstrip(b"\n") + b"\n" if known else b""
            about = {"imported": datetime.now(UTC).isoformat(timespec="seconds"), "file": file}
            write_atomic(path, old + b"".join(line(asdict(c) | about) for c in new))
        return new


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """One import into a run folder at a time; another one waits."""
    (run / "review").mkdir(exist_ok=True)
    with (run / "review" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def line(values: Mapping[str, object]) -> bytes:
    """A JSON line. Half characters (lone surrogates), which UTF-8 does not have, stand there escaped."""
    try:
        return json.dumps(values, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(values).encode() + b"\n"


def _news(known: Sequence[Correction], incoming: Iterable[Correction]) -> list[Correction]:
    """An answer with a time is new when nobody gave it then; one without, when it is not that person's last word."""
    seen, last, new = {_event(c) for c in known if c.at}, last_words(known), []
    for c in incoming:
        if _event(c) not in seen if c.at else _event(c) != _event(last.get((c.id, c.by))):
            new.append(c)
            seen.add(_event(c))
            last[c.id, c.by] = c
    return new


def _event(c: Correction | None) -> tuple[object, ...]:
    return () if c is None else (c.id, c.by, c.at, tuple(c.labels), c.note, c.batch)


def last_words(corrections: Iterable[Correction]) -> dict[tuple[str, str], Correction]:
    """By row id and person: what counts of what they said."""
    last: dict[tuple[str, str], Correction] = {}
    for c in corrections:
        before = last.get((c.id, c.by))
        if not (before and before.at and c.at and c.at < before.at):
            last[c.id, c.by] = c
    return last


def resolve(corrections: Iterable[Correction]) -> Resolved:
    """One correction per row: the majority of the people's last words."""
    by_row: dict[str, list[Correction]] = defaultdict(list)
    for c in last_words(corrections).values():
        by_row[c.id].append(c)
    found, disputed, unresolved = {}, [], []
    for row, said in by_row.items():
        votes: dict[frozenset[str], list[Correction]] = defaultdict(list)
        for c in said:
            votes[frozenset(c.labels)].append(c)
        first, *others = sorted(votes.values(), key=len, reverse=True)
        if others:
            disputed.append(row)
        if others and len(others[0]) == len(first):
            unresolved.append(row)
        else:
            found[row] = first[-1]
    return Resolved(found, disputed, unresolved)
