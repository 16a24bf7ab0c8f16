"""The file formats by name, and reading a file whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmlabel.errors import ConfigError, DataError
from llmlabel.review import argilla, csv_file, label_studio
from llmlabel.review.answers import Answer, parse_json
from llmlabel.review.batch import Batch
from llmlabel.runs import write_atomic

Parse = Callable[[Mapping[str, Any], str], list[Answer]]
FORMATS: dict[str, Callable[[Batch], dict[str, str]]] = {
    "label-studio": label_studio.files,
    "argilla": argilla.files,
    "csv": csv_file.files,
}
KINDS: list[tuple[Callable[[Mapping[str, Any]], bool], Parse]] = [
    (argilla.is_record, argilla.parse),
    (argilla.is_flat, argilla.parse_flat),
    (label_studio.is_task, label_studio.parse),
    (label_studio.is_short, label_studio.parse_short),
]


def write(batch: Batch, kind: str, base: Path) -> list[Path]:
    """Write a batch as `base` with the endings of the format (`argilla`: a folder). The first path is the one to open.

    Raises: ConfigError when one of the files is there with other content: people may have answered in it.
    """
    files = {Path(f"{base}{ending}"): content for ending, content in FORMATS[kind](batch).items()}
    new = [path for path, content in files.items() if not _is_there(path, content)]
    for path in new:
        write_atomic(path, files[path])
    return [base] if kind == "argilla" else list(files)


def _is_there(path: Path, content: str) -> bool:
    if not path.exists():
        return False
    if path.is_file() and path.read_bytes() == content.encode():
        return True
    raise ConfigError(f"{path} is there and holds something else, maybe answers: import it, move it, or name another --out")


def read(path: Path) -> list[Answer]:
    """The answers in a file (or folder) that came back from Label Studio, Argilla or a spreadsheet; told by its content.

    Raises: DataError when it is missing, broken or of no known form; the message names the line or entry.
    """
    file = path / "records.json" if path.is_dir() else path
    try:
        content = file.read_bytes().decode("utf-8-sig")
    except OSError as e:
        raise DataError(f"cannot read {file}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise DataError(
            f"{file} is not UTF-8 (byte {e.start}): save it as 'CSV UTF-8', or `iconv -f WINDOWS-1252 -t UTF-8 IN > OUT`"
        ) from e
    if not content.strip():
        raise DataError(f"{file} is empty")
    if content.lstrip()[0] not in "[{":
        return csv_file.read(content, file)
    return [a for n, entry in enumerate(parse_json(content, file), 1) for a in _kind(entry, n, file)(entry, f"entry {n}")]


def _kind(entry: Mapping[str, Any], n: int, file: Path) -> Parse:
    for fits, parse in KINDS:
        if fits(entry):
            return parse
    raise DataError(
        f"{file}, entry {n}: neither a Label Studio task (`data`; in JSON-MIN `row_id`) nor an Argilla record (`fields`). "
        f"It has: {', '.join(map(str, entry)) or 'nothing'}"
    )
