"""The rows that came since, and those they are compared with, out of labelled runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from llmlabel.flows.steps.annotation.labelling import table_of
from llmlabel.flows.steps.daily.rounds import seen

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
    now = load_run(run)
    classes = [NONE_FITS, *(label.id for label in now.taxonomy.leaves)]
    known, earlier = seen(checked), seen(since)
    told = {i: d for i, d in (known if reference == checked else seen(reference)).items() if earlier.get(i) != d}
    new, old, rows = [], [], now
    for e in examples:
        digest = text_digest(e.text)
        new += [e] if known.get(e.id) != digest else []
        old += [e] if told.get(e.id) == digest else []
    del known, earlier
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
    told = table_of(run, "labels.parquet", columns=["id", "label", "status", "confidence", "source"])
    place = {row: n for n, row in enumerate(told["id"].to_pylist())}
    rows = [e for e in examples if e.id in place]
    order = np.array([place[e.id] for e in rows], dtype=np.int64)

    def column(name: str) -> pa.ChunkedArray:
        return told[name].take(order)

    status, source = column("status"), column("source")
    labels = pc.fill_null(pc.index_in(column("label"), pa.array(classes[1:])), -2).to_numpy() + 1
    sure = pc.if_else(pc.equal(source, "human"), None, column("confidence"))
    return Side(
        [e.id for e in rows], [e.text for e in rows],
        np.where(pc.equal(status, Status.NONE_FITS).to_numpy(), NONE, labels).astype(np.int64),
        pc.not_equal(source, "student").to_numpy(), pc.fill_null(sure, np.nan).to_numpy(),
        pc.equal(status, Status.LOW_CONFIDENCE).to_numpy(),
    )  # fmt: skip
