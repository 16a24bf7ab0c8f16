"""The folder of a daily run: numbered rounds, the rows each has seen, and which of them is in force.

OUT/current.json            which run, classifier and reference are in force; replaced in one step when a round is done
OUT/taxonomy.yaml           the taxonomy in force, where --taxonomy names no other file
OUT/rounds/0007-2026-11-23  one round; numbers only grow, whatever the clock says
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from llmlabel.flows.steps.annotation.known import known_before
from llmlabel.flows.steps.annotation.labelling import ROWS, digests_of

from llmlabel.config import DailyConfig
from llmlabel.data import read_examples, text_digest
from llmlabel.errors import ConfigError, DataError
from llmlabel.records import Example
from llmlabel.review import load_corrections
from llmlabel.runs import DONE, PARTIAL, load_run, lock_folder, read_json, write_json, write_parquet

NAME = re.compile(r"(\d{4,})-")
SAME = 0.5  # of the earlier rows' texts that have another id now: then ids are not what they were


@dataclass(frozen=True)
class Current:
    """What is in force. Paths of run folders, those of rounds relative to OUT.

    Args:
        run: the annotate run with the labels. student: the one whose classifier is to be applied. reference, since: new rows are
            compared with those of the first that are not in the second. checked: rows that are not in this one are still to be
            compared. round: the name of the round they come from. moved: the taxonomy or classifier is another one, and too few
            rows have come since to be the next reference.
    """

    run: str = ""
    student: str = ""
    reference: str = ""
    since: str = ""
    checked: str = ""
    round: str = ""
    moved: bool = False


class Rounds:
    """The rounds in OUT; `root`: its absolute path."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        if (self.root / "run.json").is_file():
            raise ConfigError(
                f"{root} is a run folder: --out names the folder of all rounds. To ask failed rows of a round again: "
                f"`llmlabel retry {root}/annotate`"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One round at a time. Raises: ConfigError when another process is at work here."""
        handle = lock_folder(self.root)
        try:
            yield
        finally:
            handle.close()

    @property
    def current(self) -> Current:
        try:
            told = read_json(self.root / "current.json")
        except FileNotFoundError:
            return Current()
        return Current(**{k: v for k, v in told.items() if k in Current.__dataclass_fields__})

    def put_in_force(self, current: Current) -> None:
        write_json(self.root / "current.json", asdict(current))

    def path(self, name: str) -> Path:
        """Of a run that `Current` names."""
        return self.root / name

    def told(self, run: Path) -> str:
        """How `Current` names a run."""
        run = run.resolve()
        return str(run.relative_to(self.root)) if run.is_relative_to(self.root) else str(run)

    @property
    def all(self) -> list[Path]:
        """Round folders, the oldest first."""
        found = [(int(m[1]), p) for p in self.root.glob("rounds/*") if p.is_dir() and (m := NAME.match(p.name))]
        return [p for _, p in sorted(found)]

    def unfinished(self) -> Path | None:
        """The last round, if it has begun and not ended."""
        last = self.all[-1:]
        return last[0] if last and state(last[0]) == "open" else None

    def begin(self) -> Path:
        """The folder of a new round."""
        number = int(NAME.match(self.all[-1].name)[1]) + 1 if self.all else 1  # type: ignore[index]
        path = self.root / "rounds" / f"{number:04d}-{datetime.now(UTC):%Y-%m-%d}"
        path.mkdir(parents=True)
        return path


def state(path: Path) -> str:
    """Of a round folder: `open`, `done` or `given up`."""
    if (path / "given_up.json").is_file():
        return "given up"
    try:
        return "done" if read_json(path / "run.json").get("exit") in (DONE, PARTIAL) else "open"
    except FileNotFoundError:
        return "open"


def read_rows(config: DailyConfig) -> list[Example]:
    """All rows of the data. A row that is there twice with the same id and text, as when a file was delivered again, counts
    once."""
    return read_examples(
        config.data, text_column=config.text_column, id_column=config.id_column, gold_column=config.gold_column, repeats=True
    )


def keep(path: Path, examples: Sequence[Example]) -> None:
    """The rows of a round as a file of its own: files that come in or change while it runs belong to the next one."""
    columns = {"id": [e.id for e in examples], "text": [e.text for e in examples], "gold": [e.gold for e in examples]}
    write_parquet(path, pa.table(columns, schema=pa.schema([(name, pa.string()) for name in columns])))


class Kept(Sequence[Example]):
    """The rows that `keep` wrote, read anew whenever they are gone through: held, they would stand beside those of the parts."""

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, pq.read_metadata(path).num_rows

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Example]:
        with pq.ParquetFile(self._path) as file:
            for part in file.iter_batches(ROWS, columns=["id", "text", "gold"]):
                yield from map(Example, *(column.to_pylist() for column in part.columns))

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


def seen(run: Path | None) -> dict[str, str]:
    """Row id -> digest of its text, of the rows of a run; empty for None."""
    return digests_of(load_run(run)) if run else {}


def unseen(examples: Sequence[Example], before: dict[str, str]) -> list[Example]:
    """Rows that are new, or whose text has changed.

    Raises: DataError when texts are known under other ids: every row would be asked about again.
    """
    new = [e for e in examples if before.get(e.id) != text_digest(e.text)]
    if before and not any(e.id in before for e in examples):
        known = set(before.values())
        moved = sum(text_digest(e.text) in known for e in new)
        if moved >= SAME * min(len(before), len(examples)):
            raise DataError(
                f"row ids have changed: {moved} texts are known under other ids, and would all be paid for again. Are ids unique "
                "over all files? Name a column of ids that are (--id-column), as in the rounds before"
            )
    return new


def people(run: Path | None) -> dict[str, Any]:
    """What people have said of a run's rows since it began: by row id."""
    if run is None:
        return {}
    before = known_before(run)
    return {i: c.labels for i, c in load_corrections(run).items() if before.get(i) != c.labels}


def after(current: Current, run: str, *, round: str, checked: bool, acted: bool, retrained: bool, grow: bool) -> Current:
    """What is in force after a round.

    Args:
        run: the run with its labels. checked: there were new rows enough to compare. acted: the taxonomy or the classifier is
            another one now, so the next rounds are compared with what was new in this. grow: nothing has changed, and the
            reference is small; it takes in what was new.
    """
    now = replace(current, run=run, round=round, moved=current.moved or acted)
    if not current.run:
        return replace(now, student=run, reference=run, checked=run)
    if retrained:
        now = replace(now, student=run)
    if not checked:
        return now
    if now.moved:
        return replace(now, reference=run, since=current.checked, checked=run, moved=False)
    return replace(now, reference=run if grow else current.reference, checked=run)


def taxonomy_file(config: DailyConfig, rounds: Rounds) -> Path:
    return config.taxonomy or rounds.root / "taxonomy.yaml"
