"""The rows that came since, and those they are compared with, out of labelled runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from llmlabel.flows.rounds import seen

from llmlabel import embedding
from llmlabel.annotation.drift.check import check
from llmlabel.annotation.drift.sample import NONE, Side
from llmlabel.data import read_examples, text_digest
from llmlabel.records import NONE_FITS, Example, Status
from llmlabel.runs import Run, load_run

EXCERPT = 300  # characters of a text that is shown
Encode = Callable[[list[str]], embedding.Vectors]


def compare(
    run: Path, examples: Sequence[Example], reference: Path, since: Path | None, checked: Path, encode: Encode, *, alarms: float,
    seed: int,
) -> dict[str, Any]:  # fmt: skip
    """What metrics.json says of drift.

    Args:
        run: the labels of all rows now; `examples` has their texts. reference, since: new rows are compared with those of the
            first that are not in the second. checked: rows that are not in this run are new.
    """
    now, digests = load_run(run), {e.id: text_digest(e.text) for e in examples}
    classes = [NONE_FITS, *(label.id for label in now.taxonomy.leaves)]
    known, earlier = seen(checked), seen(since)
    told = {i: d for i, d in seen(reference).items() if earlier.get(i) != d}
    new = [e for e in examples if known.get(e.id) != digests[e.id]]
    old, rows = [e for e in examples if told.get(e.id) == digests[e.id]], now
    if 2 * len(old) < len(told):  # most have left the data since
        rows, old = load_run(reference), [e for e in texts_of(reference) if told.get(e.id) == text_digest(e.text)]
    names = {label.id: label.name for label in now.taxonomy.labels}
    before, after = _side(rows, old, classes), _side(now, new, classes)
    found = asdict(check(classes, before, after, encode, names=names, alarms=alarms, seed=seed))
    text, label = {e.id: e.text for e in new}, dict(zip(after.ids, after.labels.tolist(), strict=True))
    shown = [{"id": i, "text": text[i][:EXCERPT], "label": _named(label[i], classes, names)} for i in found["rows"]]
    return found | {"rows": shown, "reference": reference.parent.name if reference.name == "annotate" else reference.name}


def _named(place: int, classes: Sequence[str], names: Mapping[str, str]) -> str:
    return "no usable label" if place < 0 else "no label fits" if place == NONE else names[classes[place]]


def texts_of(run: Path) -> list[Example]:
    """The rows a run labelled: those its round kept, else what its data holds now."""
    if (run.parent / "data.parquet").is_file():
        return read_examples(str(run.parent / "data.parquet"), text_column="text", id_column="id")
    config = load_run(run).info["config"]
    return read_examples(config["data"], text_column=config["text_column"], id_column=config["id_column"])


def _side(run: Run, examples: Sequence[Example], classes: Sequence[str]) -> Side:
    """Rows as labels.parquet of a run has them."""
    columns = run.columns("labels.parquet", "id", "label", "status", "confidence", "source")
    said = {row[0]: row[1:] for row in columns}
    place = {label: k for k, label in enumerate(classes)}
    rows = [e for e in examples if e.id in said]
    told = [said[e.id] for e in rows]
    labels = [NONE if status == Status.NONE_FITS else place.get(label, -1) for label, status, _, _ in told]
    sure = [np.nan if confidence is None or source == "human" else confidence for _, _, confidence, source in told]
    return Side(
        [e.id for e in rows], [e.text for e in rows], np.array(labels, dtype=np.int64),
        np.array([source != "student" for *_, source in told], dtype=bool), np.array(sure, dtype=np.float64),
        np.array([status == Status.LOW_CONFIDENCE for _, status, _, _ in told], dtype=bool),
    )  # fmt: skip
