"""Label any number of rows with the small classifier: streamed, with bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llmlabel import embedding
from llmlabel.data import column, stream
from llmlabel.embedding import Embedder
from llmlabel.errors import DataError
from llmlabel.records import Annotation, Status
from llmlabel.runs import load_run
from llmlabel.students.train import NONE_FITS, Classifier
from llmlabel.students.weights import FloatArray

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


def apply(
    run: Path, data: str, out: Path, *, text_column: str = "text", on_done: Callable[[int], None] = lambda n: None
) -> Counter[str]:
    """Label a data set with a run's classifier and write it as parquet: its own columns and label, label_name,
    confidence, probs and status (a column of such a name that was there before becomes `input_<name>`).

    Returns: rows by status.
    Raises: DataError when the run has no classifier, or the data cannot be read or written.
    """
    folder = load_run(run).path / "classifier"
    classifier, embedder = Classifier.load(folder), embedding.load(folder)
    names = {label.id: label.name for label in load_run(run).taxonomy.labels}
    counts: Counter[str] = Counter()
    writer: pq.ParquetWriter | None = None
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        for table in stream(data):
            texts = ["" if v is None else str(v) for v in column(table, text_column, "--text-column", data)]
            labelled = _with_labels(table, classifier, predict(classifier, embedder, texts), texts, names)
            if writer is None:
                out.parent.mkdir(parents=True, exist_ok=True)
                writer = pq.ParquetWriter(temporary, labelled.schema, compression="zstd")
            writer.write_table(labelled.cast(writer.schema))
            counts.update(labelled.column("status").to_pylist())
            on_done(table.num_rows)
        if writer is None:
            raise DataError(f"{data} has no rows")
        writer.close()
        temporary.replace(out)
    except (OSError, pa.ArrowInvalid) as e:
        raise DataError(f"cannot write {out}: {e}") from e
    finally:
        temporary.unlink(missing_ok=True)
    return counts


def _with_labels(
    table: pa.Table, classifier: Classifier, proba: FloatArray, texts: Sequence[str], names: dict[str, str]
) -> pa.Table:
    kept = [f"input_{name}" if name in OURS else name for name in table.column_names]
    decided = [decide(classifier, row) if text.strip() else (None, Status.ERROR) for row, text in zip(proba, texts, strict=True)]
    ours: dict[str, Any] = {
        "label": pa.array([label for label, _ in decided], pa.string()),
        "label_name": pa.array([names.get(label) if label else None for label, _ in decided], pa.string()),
        "confidence": pa.array(proba.max(axis=1), pa.float64()),
        "probs": _distributions(classifier, proba),
        "status": pa.array([str(status) for _, status in decided], pa.string()),
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
