"""One door for data: parquet, jsonl(.gz), csv, hf:// ids and env: in; Arrow batches and examples out.

Files are read and streamed through `datasets`; nothing is copied into its cache.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa

from llmlabel.errors import ConfigError, DataError
from llmlabel.records import NONE_FITS, Annotation, Example

BATCH_ROWS = 4096
READERS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".jsonl": "json",
    ".jsonl.gz": "json",
    ".json": "json",
    ".csv.gz": "csv",
}

LABELS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("confidence", pa.float64()),
        ("probs", pa.list_(pa.struct([("label", pa.string()), ("p", pa.float64())]))),
        ("status", pa.string()),
        ("source", pa.string()),
        ("annotator", pa.string()),
        ("prompt", pa.string()),
        ("prompt_hash", pa.string()),
        ("suspect", pa.bool_()),
    ]
)


def stream(spec: str, batch_rows: int = BATCH_ROWS, option: str = "--data") -> Iterator[pa.Table]:
    """Yield a data set as Arrow tables of at most `batch_rows` rows, in order, with bounded memory.

    Args:
        spec: a .parquet, .jsonl(.gz), .json, .csv(.gz) file, a pattern of them or a folder that holds files of one of these
            kinds, `hf://id[:split]`, or `env:`.
        option: what to call it in messages.
    Raises: DataError when it cannot be found or read.
    """
    if spec == "env:":
        yield from _chunks(environment(), batch_rows)
        return
    dataset = _open(spec, option)
    try:
        for table in dataset.with_format("arrow").iter(batch_size=batch_rows):
            yield table
    except Exception as e:  # whatever the reader of this format raises
        if "BatchSize must be greater than 0" in _cause(e):  # how the parquet reader puts an empty file
            return
        raise DataError(f"cannot read {spec}: {_cause(e)}. {_advice(e)}") from e


def read_rows(spec: str) -> list[dict[str, Any]]:
    """All rows of a file with all columns. Raises: as `stream`."""
    return [row for table in stream(spec) for row in table.to_pylist()]


def _chunks(table: pa.Table, size: int) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, size):
        yield table.slice(start, size)


def _open(spec: str, option: str) -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import datasets

    datasets.disable_progress_bars()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # else every file that is read is told to the hub
    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # its errors come back as exceptions
    if spec.startswith("hf://"):
        name, _, split = spec[5:].partition(":")
        try:
            return datasets.load_dataset(name, split=split or "train", streaming=True)
        except Exception as e:
            raise DataError(f"cannot open {spec}: {_cause(e)}. Check the id and the split, and that the hub answers.") from e
    files = files_of(spec, option)
    reader = READERS[_kind(files[0])]
    options: dict[str, Any] = {"keep_default_na": False} if reader == "csv" else {}
    try:
        return datasets.load_dataset(reader, data_files=files, split="train", streaming=True, **options)
    except Exception as e:
        raise DataError(f"cannot open {spec}: {_cause(e)}. {_advice(e)}") from e


def files_of(spec: str, option: str = "--data") -> list[str]:
    """The files a spec stands for, sorted by name: one file; a pattern with `*`, `?` or `[...]`, `**` for folders below; or all
    data files in a folder; paths, or URLs such as s3:// and gs:// (fsspec). Names that begin with a dot or an underscore are
    left out: files that are still being written.

    Raises: DataError where there is no file, an unknown kind, or kinds are mixed.
    """
    found, named, folder = _on_store(spec, option) if "://" in spec else _on_disk(spec)
    files = sorted(f for f in found if named or (not _hidden(f) and (_kind(f) or not folder)))
    kinds = ", ".join(sorted(READERS))
    if not files and not folder and not _kind(spec):
        raise DataError(
            f"{option} {spec!r}: unknown kind of file. Known: {kinds}, a folder or a pattern of them, hf://id[:split], env:"
        )
    if not files:
        what = "no such file" if not glob.has_magic(spec) and not folder else f"no file of a known kind ({kinds}) in"
        raise DataError(f"{option}: {what}: {spec}")
    readers = {READERS.get(_kind(f)) for f in files}
    if None in readers:
        strange = next(f for f in files if not _kind(f))
        raise DataError(f"{option} {strange!r}: unknown kind of file. Known: {kinds}, hf://id[:split], env:")
    if len(readers) > 1:
        raise DataError(
            f"{option} {spec}: files of several kinds ({files[0]}, {files[-1]}); name one, as in {spec.rstrip('/')}/*.parquet"
        )
    return files


def _on_disk(spec: str) -> tuple[list[str], bool, bool]:
    """The files of a path or pattern, whether it is a file, whether it is a folder."""
    path = Path(spec)
    named, folder = path.is_file(), path.is_dir()
    found = [spec] if named else map(str, path.iterdir()) if folder else glob.glob(spec, recursive=True)
    return [f for f in found if Path(f).is_file()], named, folder


def _on_store(spec: str, option: str) -> tuple[list[str], bool, bool]:
    """The same of a URL."""
    system, path = file_system(spec, option)
    try:
        named, folder = system.isfile(path), system.isdir(path)
        found = (
            [path] if named else system.ls(path, detail=False) if folder else system.glob(path) if glob.has_magic(path) else []
        )
        return [system.unstrip_protocol(f) for f in found if system.isfile(f)], named, folder
    except Exception as e:  # of a store that does not answer, or does not let one in
        raise DataError(f"{option} {spec}: {_cause(e)}") from e


def file_system(place: str, option: str = "--data") -> tuple[Any, str]:
    """The fsspec file system of a path or URL, and what the place is called there.

    Raises: ConfigError where the package for this kind of URL is missing, DataError for an unknown kind.
    """
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(place)
    except ImportError as e:
        raise ConfigError(f"{option} {place}: {e} (pip install s3fs for s3://, gcsfs for gs://, adlfs for abfs://)") from e
    except ValueError as e:
        raise DataError(f"{option} {place}: {e}") from e
    return system, str(path)


def _hidden(file: str) -> bool:
    return Path(file).name.startswith((".", "_"))


def _kind(name: str) -> str:
    """The ending that says how a file is read, such as `.csv.gz`; "" for an unknown one."""
    return next((end for end in sorted(READERS, key=len, reverse=True) if name.lower().endswith(end)), "")


def _cause(e: BaseException) -> str:
    while e.__cause__ or e.__context__:
        e = e.__cause__ or e.__context__  # type: ignore[assignment]
    return f"{type(e).__name__}: {str(e)[:300]}"


def _advice(e: BaseException) -> str:
    text = _cause(e)
    if "codec can't decode" in text:
        return "The file is not UTF-8: convert it first, for example `iconv -f WINDOWS-1252 -t UTF-8 IN > OUT`."
    if "tokenizing" in text or "Expected" in text:
        return "A row does not have the columns of the first one; check quotes and separators near the line named."
    return "Check that the file is complete and of the kind its name says."


def read_examples(
    spec: str, *, text_column: str, id_column: str | None = None, gold_column: str | None = None, repeats: bool = False
) -> list[Example]:
    """Read all rows as examples, in input order.

    Ids come from `id_column`, else a unique column `id`, else a hash of the text and its occurrence number.
    A null text becomes "" (and later a counted status), a null gold stays None.

    Args:
        repeats: rows may be there again, as where a file is delivered twice: of rows with one id and one text the last counts,
            and of rows with one id in `id_column` whatever their text.
    Raises: DataError for a missing column, no rows, no text at all, or ids that are not unique.
    """
    texts: list[str] = []
    golds: list[str | None] = []
    ids: list[str | None] = []
    for table in stream(spec):
        texts += [as_text(v) for v in column(table, text_column, "--text-column", spec)]
        golds += optional(table, gold_column, "--gold-column", spec)
        if id_column or "id" in table.column_names:
            ids += [None if v is None else str(v) for v in column(table, id_column or "id", "--id-column", spec)]
    if not texts:
        raise DataError(f"{spec} has no rows")
    if not any(text.strip() for text in texts):
        raise DataError(f"{spec}: every text in column {text_column!r} is empty")
    if repeats and len(ids) == len(texts):
        last = _last(ids, texts, by_id=id_column is not None)
        texts, golds, ids = [texts[n] for n in last], [golds[n] for n in last], [ids[n] for n in last]
    row_ids = _row_ids(texts, ids, explicit=id_column, spec=spec)
    return [Example(i, t, g) for i, t, g in zip(row_ids, texts, golds, strict=True)]


def _last(ids: list[str | None], texts: list[str], by_id: bool) -> list[int]:
    """Places of the rows that count, in order, where rows are there again; a row without an id is no other one's repetition."""
    last: dict[tuple[str | int, str], int] = {}
    for n, (i, text) in enumerate(zip(ids, texts, strict=True)):
        last[(n if i is None else i, "" if by_id else text)] = n
    return sorted(last.values())


def column(table: pa.Table, name: str, option: str, spec: str) -> list[Any]:
    if name not in table.column_names:
        raise DataError(f"{option} {name!r}: {spec} has no such column. It has: {', '.join(table.column_names)}")
    values: list[Any] = table.column(name).to_pylist()
    return values


def optional(table: pa.Table, name: str | None, option: str, spec: str) -> list[str | None]:
    if name is None:
        return [None] * table.num_rows
    return [as_label(v) for v in column(table, name, option, spec)]


def as_label(value: Any) -> str | None:
    """A cell with a label as text; a list of labels with `|` between them."""
    if isinstance(value, list):
        return "|".join(str(v) for v in value if v is not None) or NONE_FITS
    return None if value is None or str(value) == "" else str(value)


def as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int | float | bool):
        return str(value)
    raise DataError(f"--text-column holds {type(value).__name__} values, not text; name a column of texts")


def _row_ids(texts: list[str], ids: list[str | None], *, explicit: str | None, spec: str) -> list[str]:
    unique = len(ids) == len(texts) and None not in ids and len(set(ids)) == len(ids)
    if unique:
        return [str(i) for i in ids]
    if explicit:
        twice = next((i for i, n in Counter(ids).items() if n > 1), None)
        raise DataError(f"--id-column {explicit!r}: {spec} has the id {twice!r} more than once (or a row without one)")
    return list(hashed_ids(texts, Counter()))


def hashed_ids(texts: Iterable[str], seen: Counter[str]) -> Iterator[str]:
    """Row ids made from content: 16 hex digits of the text's hash, and `-n` from its second occurrence on."""
    for digest in map(text_digest, texts):
        seen[digest] += 1
        yield digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def text_digest(text: str) -> str:
    """What tells that a row has the text it had: 16 hex digits."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def fingerprint(examples: Iterable[Example]) -> str:
    """What says that two runs saw the same data: a hash over every id, text and gold label in order."""
    digest = hashlib.blake2b(digest_size=16)
    for example in examples:
        for part in (example.id, example.text, example.gold or ""):
            digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def labels_table(annotations: Iterable[Annotation]) -> pa.Table:
    """Annotations as the Arrow table that labels.parquet holds."""
    names = [name for name in LABELS_SCHEMA.names if name != "probs"]
    rows = [
        {name: getattr(a, name) for name in names}
        | {"status": str(a.status), "probs": [{"label": k, "p": p} for k, p in a.probs.items()]}
        for a in annotations
    ]
    return pa.Table.from_pylist(rows, schema=LABELS_SCHEMA)


def environment() -> pa.Table:
    """`env:`: the Python distributions installed here. Columns id, text, label, requires.

    text = summary and the opening paragraph of the description; label = the second level of the first Trove topic
    that has one, else null; requires = ids of the installed distributions it depends on (the edges of a graph).
    """
    found = {_canonical(d.metadata["Name"]): d for d in metadata.distributions() if d.metadata["Name"]}
    rows = []
    for name in sorted(found):
        meta = found[name].metadata
        text = ". ".join(filter(None, [(meta["Summary"] or "").strip().rstrip("."), _opening(_body(meta))]))
        needs = {_canonical(re.split(r"[^\w.-]", r, maxsplit=1)[0]) for r in found[name].requires or []}
        if text.strip():
            rows.append({"id": name, "text": text, "label": _topic(meta), "requires": sorted(needs & found.keys())})
    schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("label", pa.string()), ("requires", pa.list_(pa.string()))])
    return pa.Table.from_pylist(rows, schema=schema)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _topic(meta: Any) -> str | None:
    topics = [c.split(" :: ") for c in meta.get_all("Classifier") or [] if c.startswith("Topic :: ")]
    return next((parts[1] for parts in topics), None)


def _body(meta: Any) -> str:
    payload = meta.get_payload() if hasattr(meta, "get_payload") else ""
    return str(payload or meta["Description"] or "")


def _opening(readme: str) -> str:
    """The first paragraph of a readme that is prose: no badge, heading, directive, list or code."""
    text = re.sub(r"<[^>]+>|!\[[^\]]*\]\([^)]*\)|\.\. \|?[^\n]*", " ", readme)
    for paragraph in re.split(r"\n\s*\n", text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(paragraph.split())).replace("`", "").strip("*_ ")
        words = plain.split()
        if len(words) >= 8 and plain[:1].isalpha() and not re.search(r"[=\-~]{4,}|\$ |::|https?://\S+$", plain):
            return " ".join(words[:60])
    return ""
