"""Label Studio: tasks with predictions out, and its exports JSON, JSON-MIN and CSV in.

Format: https://labelstud.io/guide/task_format, https://labelstud.io/guide/predictions, https://labelstud.io/tags/choices.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from xml.sax.saxutils import quoteattr

from llmlabel.review.answers import Answer, careful, mapping, plain, unanswered, words
from llmlabel.review.batch import NOT_XML, Batch, Row

RENAMED = "an annotation without choices under `label`: was the labelling interface changed?"
MANY = 30  # choices from which a searchable list is handier than radio buttons


def files(batch: Batch) -> dict[str, str]:
    """`.json`: tasks to import; `.xml`: the labelling interface to paste into the project's settings."""
    tasks = [
        {"data": {"text": row.text, "row_id": row.id, "batch": batch.id}, "predictions": _predictions(batch, row)}
        for row in batch.rows
    ]
    return {".json": json.dumps(tasks, ensure_ascii=False, indent=1) + "\n", ".xml": interface(batch)}


def _predictions(batch: Batch, row: Row) -> list[dict[str, Any]]:
    chosen = batch.suggested(row)
    if not chosen:
        return []
    result = [{"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": chosen}}]
    score = {} if row.confidence is None else {"score": row.confidence}
    return [{"model_version": batch.model, **score, "result": result}]


def interface(batch: Batch) -> str:
    """The labelling interface as XML."""
    said = {label.id: label.description for label in batch.taxonomy.labels}
    choices = [f"    <Choice value={_attribute(text)}{_hint(said.get(label, ''))}/>" for text, label in batch.options.items()]
    kind = "multiple" if batch.multi else "single"
    layout = "select" if len(choices) > MANY else "vertical"
    return "\n".join([
        "<View>",
        f"  <Header value={_attribute(batch.taxonomy.use_case or 'Which label fits?')}/>",
        '  <Text name="text" value="$text" valueType="text"/>',
        f'  <Choices name="label" toName="text" choice="{kind}" layout="{layout}" required="true">',
        *choices,
        "  </Choices>",
        '  <TextArea name="note" toName="text" rows="1" maxSubmissions="1" placeholder="Note (may stay empty)"/>',
        "</View>\n",
    ])  # fmt: skip


def _attribute(text: str) -> str:
    return quoteattr(NOT_XML.sub("", text), {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def _hint(description: str) -> str:
    return f" hint={_attribute(description)}" if description else ""


def is_task(entry: Mapping[str, Any]) -> bool:
    return "data" in entry


def is_short(entry: Mapping[str, Any]) -> bool:
    """An entry of JSON-MIN, or a line of the CSV export."""
    return "row_id" in entry or "annotation_id" in entry


def parse(entry: Mapping[str, Any], where: str) -> list[Answer]:
    """The answers in one task of the export JSON: one for each person; one without choices where nobody gave any."""
    data = mapping(entry["data"])
    empty = unanswered(where, data.get("row_id"), data.get("batch"), data.get("text"))
    return careful(lambda: [_annotation(one, empty) for one in entry.get("annotations", entry.get("completions")) or []], empty)


def _annotation(one: Mapping[str, Any], empty: Answer) -> Answer:
    results = one.get("result") or []
    choices = [str(c) for r in results if r.get("type") == "choices" for c in r["value"]["choices"]]
    note = "\n".join(words(r["value"]) for r in results if r.get("type") == "textarea")
    by, at = _person(one.get("completed_by")), _time(one)
    if one.get("was_cancelled") or one.get("skipped"):
        return replace(empty, by=by, at=at, note=note)
    strange = results and not choices and any(r.get("type") != "textarea" for r in results)
    return replace(empty, choices=choices or None, by=by, at=at, note=note, problem=RENAMED if strange else "")


def parse_short(entry: Mapping[str, Any], where: str) -> list[Answer]:
    """The answer in one entry of JSON-MIN, or in one line of the CSV export."""
    empty = unanswered(where, entry.get("row_id"), entry.get("batch"), entry.get("text"))

    def read() -> list[Answer]:
        by, note, choices = _person(entry.get("annotator")), words(entry.get("note")), _chosen(entry.get("label"))
        strange = not choices and entry.get("annotation_id") not in (None, "")
        problem = RENAMED if strange else ""
        return [replace(empty, choices=choices or None, by=by, at=_time(entry), note=note, problem=problem)]

    return careful(read, empty)


def _time(one: Mapping[str, Any]) -> str | None:
    return plain(one.get("updated_at") or one.get("created_at")) or None


def _chosen(value: Any) -> list[str]:
    """A choice alone stands as text, several as `{"choices": [...]}`, in CSV as the JSON of that."""
    if isinstance(value, str) and value.startswith('{"choices"'):
        value = json.loads(value)
    if isinstance(value, dict):
        value = value["choices"]
    if isinstance(value, list):
        return [c for v in value for c in _chosen(v)]
    return [str(value)] if value else []


def _person(value: Any) -> str:
    """An e-mail address where there is one, else the number Label Studio gave the person."""
    if isinstance(value, dict):
        value = value.get("email") or value.get("id")
    return plain(value) if not str(value or "").isdigit() else f"label-studio:{value}"
