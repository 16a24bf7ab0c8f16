"""Label any number of rows with the small classifier: streamed, with bounded memory."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llmlabel import embedding
from llmlabel.data import column, stream
from llmlabel.embedding import Embedder
from llmlabel.errors import DataError
from llmlabel.parts import Part, within, written
from llmlabel.records import Annotation, Status
from llmlabel.runs import load_run
from llmlabel.students.train import NONE_FITS, Classifier
from llmlabel.students.weights import FloatArray

MARK = "llmlabel"  # under which a file of labels tells what it was made from
OURS = ("label", "label_name", "confidence", "probs", "status")


def predict(classifier: Classifier, embedder: Embedder, texts: Sequence[str]) -> FloatArray:
    """(N, K) probabilities of the classifier's labels; texts of one length are embedded together."""
    order = np.argsort([len(t) for t in texts], kind="stable")
    proba = classifier.student.predict_proba(embedder.encode([texts[i] for i in order]))
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return proba[back]


def annotate(classifier: Classifier, proba: FloatArray, ids: Sequence[str], annotator: str) -> list[Annotation]:
    """Rows for labels.parquet from the student's probabilities."""
    rows = []
    for i, row in zip(ids, proba, strict=True):
        label, status = decide(classifier, row)
        rows.append(
            Annotation(
                i,
                label,
                status,
                [label] if label else [],
                float(row.max()),
                _named(classifier, row),
                "student",
                "student",
                annotator,
            )
        )
    return rows


def decide(classifier: Classifier, row: FloatArray) -> tuple[str | None, Status]:
    best = classifier.labels[int(row.argmax())]
    if best == NONE_FITS:
        return None, Status.NONE_FITS
    return best, Status.OK if row.max() > classifier.threshold else Status.LOW_CONFIDENCE


def _named(classifier: Classifier, row: FloatArray) -> dict[str, float]:
    return {label: round(float(p), 6) for label, p in zip(classifier.labels, row, strict=True) if label != NONE_FITS}


class Labeller:
    """A run's classifier, ready to label tables. `digest` tells it from every other one."""

    def __init__(self, run: Path) -> None:
        """Raises: ConfigError when there is no such run, DataError when it has no classifier."""
        opened = load_run(run)
        folder = opened.path / "classifier"
        self.classifier, self.embedder = Classifier.load(folder), embedding.load(folder)
        self.names = {label.id: label.name for label in opened.taxonomy.labels}
        self.digest = digest_of(folder)

    def table(self, table: pa.Table, text_column: str, data: str) -> pa.Table:
        """The table's own columns and label, label_name, confidence, probs and status (a column of such a name that was there
        before becomes `input_<name>`)."""
        texts = ["" if v is None else str(v) for v in column(table, text_column, "--text-column", data)]
        return _with_labels(table, self.classifier, predict(self.classifier, self.embedder, texts), texts, self.names)


def digest_of(folder: Path) -> str:
    """What tells a saved classifier from every other one: 16 hex digits over its files. Raises: DataError where there is none."""
    if not (folder / "classifier.json").is_file():
        raise DataError(f"there is no classifier in {folder}; a run of `taxonomy` or `annotate` that has ended has one")
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def apply(
    run: Path, data: str, out: str | Path, *, text_column: str = "text", on_done: Callable[[int], None] = lambda n: None
) -> Counter[str]:
    """Label a data set with a run's classifier and write it to one parquet file, in this process; columns as `Labeller.table`.

    Returns: rows by status.
    Raises: DataError when the run has no classifier, or the data cannot be read or written.
    """
    counts = write(Labeller(run), stream(data), str(out), text_column, data, {}, on_done)
    if not counts:
        raise DataError(f"{data} has no rows")
    return counts


def apply_part(run: Path, part: Part, out: str, text_column: str) -> Counter[str]:
    """Label one part into a file of the folder or URL `out`; the file tells what it was made from.

    Returns: rows by status.
    Raises: as `apply`.
    """
    labeller = _loaded(run.resolve(), digest_of(run / "classifier"))
    told = part.as_dict() | {"classifier": labeller.digest, "text_column": text_column}
    return write(labeller, part.tables(), within(out, f"{part.name}.parquet"), text_column, part.file, told)


@lru_cache(maxsize=1)
def _loaded(run: Path, digest: str) -> Labeller:
    """The classifier is read once by a process that labels many parts."""
    return Labeller(run)


def write(
    labeller: Labeller, tables: Iterable[pa.Table], out: str, text_column: str, data: str, told: Mapping[str, Any],
    on_done: Callable[[int], None] = lambda n: None,
) -> Counter[str]:  # fmt: skip
    """Label tables into one parquet file, there when it is whole; none where there is no table.

    Args:
        told: what the file was made from; it carries that and its rows by status beside its columns.
    Returns: rows by status.
    """
    counts: Counter[str] = Counter()
    rows = iter(tables)
    first = next(rows, None)
    if first is None:
        return counts
    with written(out) as sink:
        writer: pq.ParquetWriter | None = None
        for table in chain([first], rows):
            labelled = labeller.table(table, text_column, data)
            if writer is None:
                writer = pq.ParquetWriter(sink, labelled.schema, compression="zstd")
            writer.write_table(labelled.cast(writer.schema))
            counts.update(_counted(labelled))
            on_done(table.num_rows)
        if writer is not None:
            writer.add_key_value_metadata({MARK: json.dumps(dict(told) | {"counts": counts})} if told else {})
            writer.close()
    return counts


def _counted(labelled: pa.Table) -> dict[str, int]:
    found = labelled.column("status").value_counts().to_pylist()
    return {one["values"]: one["counts"] for one in found}


def _with_labels(
    table: pa.Table, classifier: Classifier, proba: FloatArray, texts: Sequence[str], names: dict[str, str]
) -> pa.Table:
    kept = [f"input_{name}" if name in OURS else name for name in table.column_names]
    full = np.array([bool(text.strip()) for text in texts], dtype=bool)
    best, confidence = proba.argmax(axis=1), proba.max(axis=1)
    unfit = np.array([label == NONE_FITS for label in classifier.labels], dtype=bool)[best]
    status = np.select(
        [~full, unfit, confidence <= classifier.threshold], [Status.ERROR, Status.NONE_FITS, Status.LOW_CONFIDENCE], Status.OK
    )
    named = pa.array(best, mask=unfit | ~full)
    ours: dict[str, Any] = {
        "label": pa.array(classifier.labels, pa.string()).take(named),
        "label_name": pa.array([names.get(label) for label in classifier.labels], pa.string()).take(named),
        "confidence": pa.array(confidence, pa.float64()),
        "probs": _distributions(classifier, proba),
        "status": pa.array(status.astype(str), pa.string()),
    }
    result = table.rename_columns(kept)
    for name, values in ours.items():
        result = result.append_column(name, values)
    return result


def _distributions(classifier: Classifier, proba: FloatArray) -> pa.Array:
    """(N, K) probabilities as lists of {label, p}, without a Python object per number."""
    real = [k for k, label in enumerate(classifier.labels) if label != NONE_FITS]
    ids = pa.array([classifier.labels[k] for k in real], pa.string())
    flat = pa.array(np.ascontiguousarray(proba[:, real], dtype=np.float64).ravel())
    repeated = ids.take(pa.array(np.tile(np.arange(len(real)), len(proba))))
    pairs = pa.StructArray.from_arrays([repeated, flat], names=["label", "p"])
    return pa.ListArray.from_arrays(pa.array(np.arange(len(proba) + 1) * len(real), pa.int32()), pairs)
