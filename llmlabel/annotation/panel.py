"""The answers of several annotators to the same texts, side by side, as rows and as arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmlabel.errors import DataError
from llmlabel.records import NONE_FITS, Annotation, Example, Label, Status, Taxonomy

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Column:
    """One annotator: its settled answers by row id. `way`: how it was asked, a file of `annotators`, or `given`."""

    name: str
    way: str
    rows: Mapping[str, Annotation]
    spec: str = ""
    step: str = ""  # under which the books have its requests

    @property
    def kind(self) -> str:
        """Where most of its distributions come from; "" for none."""
        kinds = Counter(row.probs_kind for row in self.rows.values() if row.probs)
        return kinds.most_common(1)[0][0] if kinds else ""


@dataclass(frozen=True)
class Panel:
    """A annotators on N texts. `classes`: L ids, `-` for none fits stands last."""

    ids: Sequence[str]
    classes: Sequence[str]
    columns: Sequence[Column]

    @cached_property
    def place(self) -> dict[str, int]:
        return {label: k for k, label in enumerate(self.classes)}

    @cached_property
    def votes(self) -> IntArray:
        """(N, A) class index, -1 for no usable answer."""
        found = np.full((len(self.ids), len(self.columns)), -1, dtype=np.int64)
        for a, column in enumerate(self.columns):
            for i, row in self._usable(column):
                found[i, a] = self.place[row.label or NONE_FITS]
        return found

    @cached_property
    def probs(self) -> list[FloatArray | None]:
        """By annotator (N, L), or None where it tells no distributions; NaN rows where a row has none."""
        return [self._distributions(column) if column.kind else None for column in self.columns]

    def _distributions(self, column: Column) -> FloatArray:
        found = np.full((len(self.ids), len(self.classes)), np.nan)
        for i, row in self._usable(column):
            if row.probs:
                found[i] = 0.0
                for label, p in row.probs.items():
                    found[i, self.place[label]] = p
                found[i, -1] = max(0.0, 1.0 - found[i].sum()) if NONE_FITS not in row.probs else found[i, -1]
                found[i] /= found[i].sum()
        return found

    @cached_property
    def said(self) -> BoolArray:
        """(N, A, L) the labels each annotator named; of multi-label answers."""
        found = np.zeros((len(self.ids), len(self.columns), len(self.classes)), dtype=bool)
        for a, column in enumerate(self.columns):
            for i, row in self._usable(column):
                found[i, a, [self.place[label] for label in row.labels]] = True
        return found

    @cached_property
    def marginals(self) -> FloatArray:
        """(N, A, L) each label's own probability as the annotator told it; NaN where it told none."""
        found = np.full((len(self.ids), len(self.columns), len(self.classes)), np.nan)
        for a, column in enumerate(self.columns):
            for i, row in self._usable(column):
                if row.probs:
                    found[i, a] = [row.probs.get(label, 0.0) for label in self.classes]
        return found

    def _usable(self, column: Column) -> list[tuple[int, Annotation]]:
        rows = ((i, column.rows.get(row)) for i, row in enumerate(self.ids))
        return [(i, row) for i, row in rows if row is not None and not row.status.failed]


def classes_of(taxonomy: Taxonomy) -> list[str]:
    """What texts are labelled with: ids of the leaves, and `-`."""
    return [*(label.id for label in taxonomy.leaves), NONE_FITS]


@dataclass(frozen=True)
class Gold:
    """What is known to be true. `labels`: row id -> label ids, none where no label fits. `strange`: values that are no label
    of the taxonomy, with their rows; they are left out."""

    labels: Mapping[str, tuple[str, ...]]
    strange: Mapping[str, int] = field(default_factory=dict)

    def one(self, panel: Panel) -> IntArray:
        """(N,) class index of the first true label, -1 where unknown."""
        return np.array([self._first(row, panel) for row in panel.ids], dtype=np.int64)

    def _first(self, row: str, panel: Panel) -> int:
        if row not in self.labels:
            return -1
        return panel.place[self.labels[row][0]] if self.labels[row] else len(panel.classes) - 1

    def many(self, panel: Panel) -> IntArray:
        """(N, L) 1 for a true label, 0 for another, -1 where unknown; the last column, none fits, stands for no label."""
        found = np.full((len(panel.ids), len(panel.classes)), -1, dtype=np.int64)
        for i, row in enumerate(panel.ids):
            if row in self.labels:
                found[i] = 0
                found[i, [panel.place[label] for label in self.labels[row]] or [-1]] = 1
        return found


def read_gold(examples: Sequence[Example], taxonomy: Taxonomy) -> Gold:
    """Gold labels as leaf ids; ids or names, compared after trimming and case-folding."""
    known = {label.id for label in taxonomy.leaves}
    labels: dict[str, tuple[str, ...]] = {}
    strange: Counter[str] = Counter()
    for example in examples:
        if example.gold is None:
            continue
        found = [(said, taxonomy.find(said)) for said in example.golds]
        off = [said for said, label in found if label is None or label.id not in known]
        strange.update(off)
        if not off:
            labels[example.id] = tuple(dict.fromkeys(label.id for _, label in found if label is not None))
    return Gold(labels, strange)


def read_given(table: Sequence[Mapping[str, Any]], ids: Sequence[str], taxonomy: Taxonomy, source: str) -> list[Column]:
    """Labels somebody already gave, one column per annotator.

    Args:
        table: rows of `id, label[, confidence][, annotator]`; an empty label: the annotator abstained; `-`: none fits;
            several labels with `|` between them.
    Raises: DataError when a column is missing, or no row is one of the data.
    """
    for needed in ("id", "label"):
        if table and needed not in table[0]:
            raise DataError(f"--annotations {source}: no column {needed!r}; it has: {', '.join(table[0])}")
    known, found = set(ids), dict[str, dict[str, Annotation]]()
    leaves = {label.id for label in taxonomy.leaves}
    find = cache(taxonomy.find)
    for row in table:
        if str(row["id"]) in known and row["label"] not in (None, ""):
            who = str(row.get("annotator") or "given")
            found.setdefault(who, {})[str(row["id"])] = _given(row, who, find, leaves)
    if not found:
        raise DataError(f"--annotations {source}: none of its {len(table)} rows has a label and an id of the data")
    return [Column(who, "given", rows) for who, rows in found.items()]


def _given(row: Mapping[str, Any], who: str, find: Callable[[str], Label | None], leaves: set[str]) -> Annotation:
    said = Example("", "", str(row["label"])).golds
    labels = [find(part) for part in said]
    sure = row.get("confidence")
    confidence = min(max(float(sure), 0.0), 1.0) if isinstance(sure, int | float) and sure == sure else None
    if any(label is None or label.id not in leaves for label in labels):
        return Annotation(
            str(row["id"]), None, Status.OFF_LIST, annotator=who, reason=f"{row['label']!r} is no label of the taxonomy"
        )
    ids = [label.id for label in labels if label is not None]
    status = Status.OK if ids else Status.NONE_FITS
    return Annotation(str(row["id"]), ids[0] if ids else None, status, ids, confidence, annotator=who)
