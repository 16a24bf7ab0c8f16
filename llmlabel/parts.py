"""A data set cut into parts that can be worked on side by side, on disks and object stores alike (fsspec)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from llmlabel.data import BATCH_ROWS, file_system, files_of, stream
from llmlabel.errors import DataError

PARQUET = ".parquet"


@dataclass(frozen=True)
class Part:
    """Rows of one file. `name`: of the files made of it, in the order of the data; `first`, `last`: row groups of a parquet file,
    the last one not included, and None where the whole file is meant; `rows`: how many, where that is known; `size`: of the
    file in bytes, which tells that it has changed."""

    name: str
    file: str
    size: int
    first: int | None = None
    last: int | None = None
    rows: int | None = None

    def tables(self, batch_rows: int = BATCH_ROWS) -> Iterator[pa.Table]:
        """Its rows as Arrow tables, in order. Raises: DataError."""
        if self.first is None or self.last is None:
            yield from stream(self.file, batch_rows)
            return
        try:
            with opened(self.file) as source:
                groups = range(self.first, self.last)
                for batch in pq.ParquetFile(source).iter_batches(batch_rows, row_groups=groups, use_threads=False):
                    yield pa.Table.from_batches([batch])
        except (OSError, pa.ArrowInvalid) as e:
            raise DataError(f"cannot read {self.file}: {e}") from e

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def parts_of(spec: str, rows: int) -> list[Part]:
    """The parts of a data set: runs of whole row groups of a parquet file, at most `rows` rows unless one group holds more;
    files of other kinds stay whole.

    Raises: DataError when there is none, or a file cannot be read.
    """
    if spec == "env:" or spec.startswith("hf://"):
        raise DataError(f"--data {spec}: only files can be worked on in parts; name a .parquet file to write instead of a folder")
    return [part for file in files_of(spec) for part in _of_file(file, rows)]


def _of_file(file: str, rows: int) -> list[Part]:
    system, path = file_system(file)
    size, stem = int(system.size(path) or 0), _stem(file)
    if not file.lower().endswith(PARQUET):
        return [Part(f"{stem}-00000", file, size)]
    try:
        with opened(file) as source:
            footer = pq.ParquetFile(source).metadata
    except (OSError, pa.ArrowInvalid) as e:
        raise DataError(f"cannot read {file}: {e}. Check that the file is complete.") from e
    counts = [footer.row_group(n).num_rows for n in range(footer.num_row_groups)]
    return [
        Part(f"{stem}-{n:05}", file, size, first, last, sum(counts[first:last]))
        for n, (first, last) in enumerate(_runs(counts, rows))
    ]


def _runs(counts: list[int], most: int) -> Iterator[tuple[int, int]]:
    """First and last (not included) of neighbours that together hold at most so much."""
    start = held = 0
    for n, count in enumerate(counts):
        if n > start and held + count > most:
            yield start, n
            start, held = n, 0
        held += count
    if counts:
        yield start, len(counts)


def _stem(file: str) -> str:
    """Name of a file without its endings, and what tells it from one of the same name in another folder."""
    folder, _, name = file.rpartition("/")
    return f"{name.split('.')[0]}-{hashlib.blake2b(folder.encode(), digest_size=3).hexdigest()}"


@contextmanager
def opened(file: str) -> Iterator[IO[bytes]]:
    """A file or URL, to be read."""
    system, path = file_system(file)
    with system.open(path, "rb") as source:
        yield source


@contextmanager
def written(file: str) -> Iterator[IO[bytes]]:
    """A file or URL, to be written: it is there when it is whole, or not at all.

    Raises: DataError when it cannot be written.
    """
    system, path = file_system(file)
    place = PurePosixPath(path)
    temporary = str(place.with_name(f".{place.name}.tmp"))
    try:
        system.makedirs(str(place.parent), exist_ok=True)
        with system.open(temporary, "wb") as sink:
            yield sink
        system.mv(temporary, path)
    except (OSError, pa.ArrowInvalid) as e:
        raise DataError(f"cannot write {file}: {e}") from e
    finally:
        if system.exists(temporary):
            system.rm(temporary)


def within(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"
