"""Argilla 2: a folder for `rg.Dataset.from_disk` out; what `to_disk`, `records.to_json` or `records.to_list` leave, in.

Format: argilla 2.8, `datasets/_io/_disk.py` and `records/_io/_generic.py`. `records.to_json` drops the status of a response;
`records.to_list(flatten=True)` keeps it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmlabel.records import NONE_FITS, Label
from llmlabel.review.answers import Answer, careful, mapping, plain, unanswered, words
from llmlabel.review.batch import Batch, Row

UNFINISHED = (
    "Argilla does not call the record completed: a draft, a discarded answer, or too few submissions; "
    "export with records.to_list(flatten=True), which says which"
)
MOST_TEXT = 500  # characters Argilla takes for the text of an option


def files(batch: Batch) -> dict[str, str]:
    """Files of the folder: `records.json`, and `.argilla/settings.json` and `dataset.json`, by path in it."""
    records = [
        {
            "id": row.id, "fields": {"text": row.text}, "metadata": {"batch": batch.id}, "suggestions": _suggestion(batch, row),
            "responses": {}, "vectors": {}, "status": "pending", "_server_id": None,
        }
        for row in batch.rows
    ]  # fmt: skip
    dataset = {"name": f"llmlabel-{batch.id}", "status": "draft", "allow_extra_metadata": True}
    parts = {"records.json": records, ".argilla/settings.json": settings(batch), ".argilla/dataset.json": dataset}
    return {f"/{name}": json.dumps(part, ensure_ascii=False, indent=1) + "\n" for name, part in parts.items()}


def _suggestion(batch: Batch, row: Row) -> dict[str, Any]:
    if not batch.suggested(row):
        return {}
    chosen = row.labels or [NONE_FITS]
    score = None if batch.multi else row.confidence  # of several labels Argilla wants a score each
    return {"label": {"value": chosen if batch.multi else chosen[0], "score": score, "agent": batch.model}}


def settings(batch: Batch) -> dict[str, Any]:
    """What `rg.Settings.from_json` reads. Options have label ids as values."""
    said = {label.id: label for label in batch.taxonomy.labels}
    options = [{"value": label, "text": text[:MOST_TEXT]} for text, label in batch.options.items()]
    kind = {"type": "multi_label_selection", "options_order": "natural"} if batch.multi else {"type": "label_selection"}
    asked = batch.taxonomy.use_case or ("Which labels fit?" if batch.multi else "Which label fits?")
    label = {"name": "label", "title": asked[:MOST_TEXT], "required": True, "settings": kind | {"options": options}}
    note = {"name": "note", "title": "Note", "required": False, "settings": {"type": "text", "use_markdown": False}}
    text = {"name": "text", "title": "Text", "required": True, "settings": {"type": "text", "use_markdown": False}}
    lines = [_guideline(text, said.get(i)) for text, i in batch.options.items()]
    return {
        "guidelines": "\n".join(lines), "fields": [text], "questions": [label, note], "vectors": [], "metadata": [],
        "allow_extra_metadata": True, "distribution": {"strategy": "overlap", "min_submitted": 1}, "mapping": None,
    }  # fmt: skip


def _guideline(text: str, label: Label | None) -> str:
    return f"{text}: {label.description}" if label and label.description else text


def is_record(entry: Mapping[str, Any]) -> bool:
    return "fields" in entry and "responses" in entry


def is_flat(entry: Mapping[str, Any]) -> bool:
    return "_server_id" in entry


def parse(entry: Mapping[str, Any], where: str) -> list[Answer]:
    """The answers in one record of `records.to_json`: one for each person; one without choices where nobody gave any."""
    batch, text = mapping(entry.get("metadata")).get("batch"), mapping(entry["fields"]).get("text")
    empty = unanswered(where, entry.get("id"), batch, text)

    def read() -> list[Answer]:
        responses = entry.get("responses") or {}
        notes = {plain(r["user_id"]): words(r["value"]) for r in responses.get("note") or []}
        return [_response(r, notes, entry.get("status"), empty) for r in responses.get("label") or []]

    return careful(read, empty)


def _response(one: Mapping[str, Any], notes: Mapping[str, str], record: Any, empty: Answer) -> Answer:
    user = plain(one["user_id"])
    status = one.get("status") or ("submitted" if record in ("completed", None) else "?")
    choices = _chosen(one["value"]) if status in ("submitted", "?") else []
    problem = UNFINISHED if status == "?" and choices else ""
    return replace(empty, choices=choices or None, by=f"argilla:{user}", note=notes.get(user, ""), problem=problem)


def parse_flat(entry: Mapping[str, Any], where: str) -> list[Answer]:
    """The answers in one record of `records.to_list(flatten=True)`."""
    empty = unanswered(where, entry.get("id"), entry.get("batch"), entry.get("text"))

    def read() -> list[Answer]:
        notes = {plain(user): words(value) for value, user, _ in _responses(entry, "note")}
        return [
            _response({"value": value, "user_id": user, "status": status}, notes, None, empty)
            for value, user, status in _responses(entry, "label")
        ]

    return careful(read, empty)


def _responses(entry: Mapping[str, Any], question: str) -> list[tuple[Any, Any, Any]]:
    lists = [entry.get(f"{question}.responses{part}") or [] for part in ("", ".users", ".status")]
    return list(zip(*lists, strict=True))


def _chosen(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else [str(value)] if value else []
