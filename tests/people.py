"""A small run folder, and people who answer in Label Studio, Argilla or a spreadsheet as those tools would export it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llmlabel.data import fingerprint, labels_table, read_examples
from llmlabel.records import Annotation, Label, Status, Taxonomy
from llmlabel.review.batch import Batch

TAXONOMY = Taxonomy(
    use_case="why <people> & \"firms\" write",
    labels=[
        Label(id="refund", name='Refund & "money" <back>', description="Wants money\nback: 'now'"),
        Label(id="delay", name="=Late | delayed"),
        Label(id="praise", name="مديح 👍"),
        Label(id="other", name="None of these"),
    ],
)  # fmt: skip
Person = Callable[[str], list[str] | None]  # row id -> ids of labels, [] for none, None: skips the row
USER = "7f8a1b5e-94a0-4b0e-9f1c-0d8f4d8a2a01"


def make_run(
    folder: Path, texts: Sequence[str], rows: Sequence[Annotation] = (), *, multi: bool = False, taxonomy: Taxonomy = TAXONOMY
) -> Path:
    """A finished run; rows that are not given are labelled `refund`, less and less surely."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data.parquet"
    pq.write_table(pa.table({"id": [f"r{i}" for i in range(len(texts))], "text": list(texts)}), data)
    plain = [Annotation(f"r{i}", "refund", Status.OK, ["refund"], 1 - i / len(texts)) for i in range(len(texts))]
    pq.write_table(labels_table(rows or plain), folder / "labels.parquet")
    (folder / "taxonomy.yaml").write_text(taxonomy.dump(), encoding="utf-8")
    seen = fingerprint(read_examples(str(data), text_column="text"))
    config = {"data": str(data), "text_column": "text", "multi_label": multi, "embedder": "tfidf"}
    info = {"schema": 1, "id": "0123456789abcdef", "definition": {"data": {"fingerprint": seen}}, "config": config, "exit": 0}
    (folder / "run.json").write_text(json.dumps(info))
    return folder


def _texts(batch: Batch, labels: Sequence[str]) -> list[str]:
    shown = {label: text for text, label in batch.options.items()}
    return [shown[label] for label in labels or ["-"]]


def label_studio(files: dict[str, str], batch: Batch, person: Person, note: str = "", by: int = 1) -> str:
    """Label Studio's export `JSON`."""
    tasks = json.loads(files[".json"])
    for n, task in enumerate(tasks, 1):
        labels = person(task["data"]["row_id"])
        result = [{"value": {"choices": _texts(batch, labels or [])}, "from_name": "label", "to_name": "text", "type": "choices"}]
        if note:
            result.append({"value": {"text": [note]}, "from_name": "note", "to_name": "text", "type": "textarea"})
        task |= {"id": n, "meta": {}, "drafts": [], "annotations": [{
            "id": n, "completed_by": by, "result": result if labels is not None else [], "was_cancelled": labels is None,
            "created_at": "2026-11-20T10:00:00.000000Z", "updated_at": "2026-11-20T10:00:00.000000Z", "lead_time": 3.1,
        }]}  # fmt: skip
    return json.dumps(tasks)


def label_studio_min(files: dict[str, str], batch: Batch, person: Person, note: str = "", by: int = 1) -> str:
    """Label Studio's export `JSON-MIN`."""
    entries = []
    for n, task in enumerate(json.loads(files[".json"]), 1):
        labels = person(task["data"]["row_id"])
        if labels is None:  # cancelled annotations are left out there
            continue
        chosen = _texts(batch, labels)
        entries.append(task["data"] | {
            "id": n, "label": chosen[0] if len(chosen) == 1 else {"choices": chosen}, **({"note": note} if note else {}),
            "annotator": by, "annotation_id": n, "created_at": "2026-11-20T10:00:00Z", "updated_at": "2026-11-20T10:00:00Z",
        })  # fmt: skip
    return json.dumps(entries, indent=2, ensure_ascii=False)


def argilla(files: dict[str, str], batch: Batch, person: Person, note: str = "", by: str = USER) -> str:
    """Argilla's `records.to_json`."""
    records = json.loads(files["/records.json"])
    for record in records:
        labels = person(record["id"])
        if labels is not None:
            chosen = labels or ["-"]
            given = {"label": chosen if batch.multi else chosen[0]} | ({"note": note} if note else {})
            record["responses"] = {k: [{"value": v, "user_id": by}] for k, v in given.items()}
            record["status"] = "completed"
    return json.dumps(records)


def argilla_flat(files: dict[str, str], batch: Batch, person: Person, note: str = "", by: str = USER) -> str:
    """Argilla's `records.to_list(flatten=True)`, as JSON."""
    flat = []
    for record in json.loads(argilla(files, batch, person, note, by)):
        responses = record.pop("responses")
        record |= record.pop("fields") | record.pop("metadata") | record.pop("vectors")
        record.pop("suggestions")
        for question, said in responses.items():
            record[f"{question}.responses"] = [r["value"] for r in said]
            record[f"{question}.responses.users"] = [r["user_id"] for r in said]
            record[f"{question}.responses.status"] = ["submitted" for r in said]
        flat.append(record)
    return json.dumps(flat)


def spreadsheet(
    files: dict[str, str], batch: Batch, person: Person, note: str = "", by: str = "Ann", separator: str = ","
) -> str:
    """The CSV file, filled in and saved again by a spreadsheet, which shows and keeps cells as they are."""
    rows = list(csv.DictReader(io.StringIO(files[".csv"].removeprefix("\ufeff"), newline="")))
    for row in rows:
        ids = {batch.key(n): r.id for n, r in enumerate(batch.rows)}
        labels = person(ids[row["row"]])
        if labels is not None:
            row |= {"label": " | ".join(_texts(batch, labels)), "note": note, "by": by}
    return to_csv(rows, separator)


def to_csv(rows: Sequence[dict[str, Any]], separator: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=separator, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


TOOLS: dict[str, tuple[str, Callable[..., str]]] = {
    "label-studio": ("label-studio", label_studio),
    "label-studio min": ("label-studio", label_studio_min),
    "argilla": ("argilla", argilla),
    "argilla flat": ("argilla", argilla_flat),
    "csv": ("csv", spreadsheet),
}
