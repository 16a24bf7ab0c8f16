"""Who labels the chosen nodes of a graph run: models, or a file of labels somebody already gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from llmlabel.flows.steps.annotation import annotators as asking_of
from llmlabel.flows.steps.annotation.annotators import Asking, read_annotators

from llmlabel.annotation.decide import Decision, decide
from llmlabel.annotation.panel import Column, Gold, Panel, classes_of, read_given
from llmlabel.config import GraphConfig
from llmlabel.data import stream
from llmlabel.errors import DataError
from llmlabel.events import emit
from llmlabel.graph.graph import Annotated
from llmlabel.graph.neighbours import with_neighbours
from llmlabel.records import NONE_FITS, Example, Taxonomy


def look_up(config: GraphConfig, ids: Sequence[str] | None) -> list[dict[str, Any]]:
    """Rows of the file of annotations: those of the nodes named and no others; all of them for None. An empty label, and a number
    below 0, stand for no label."""
    source, found = str(config.annotations), []
    wanted = None if ids is None else pa.array(list(ids), pa.string())
    for table in stream(source, option="--annotations"):
        if "id" not in table.column_names or "label" not in table.column_names:
            raise DataError(f"--annotations {source}: needs the columns id and label; it has: {', '.join(table.column_names)}")
        table = table.set_column(table.column_names.index("id"), "id", pc.cast(table["id"], pa.string()))
        found += (table if wanted is None else table.filter(pc.is_in(table["id"], wanted))).to_pylist()
    return [row for row in found if not (row["label"] in (None, "") or (isinstance(row["label"], int) and row["label"] < 0))]


@dataclass
class Said:
    """All that was said of nodes so far, round by round.

    Args:
        taxonomy: the one given; None: the distinct labels of the file. given: rows looked up. columns: models' answers by name.
        asked, rounds: ids of the nodes annotated, in order, and the round of each.
    """

    taxonomy: Taxonomy | None
    given: list[dict[str, Any]] = field(default_factory=list)
    columns: dict[str, Column] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)

    @property
    def tree(self) -> Taxonomy:
        return self.taxonomy or Taxonomy.of(str(row["label"]) for row in self.given)

    def add_given(self, rows: list[dict[str, Any]], ids: Sequence[str], number: int = 1) -> None:
        self.given += rows
        self._note(ids, number)

    def add(self, columns: Sequence[Column], ids: Sequence[str], number: int = 1) -> None:
        for column in columns:
            before = self.columns.get(column.name)
            rows = {**(before.rows if before else {}), **column.rows}
            self.columns[column.name] = replace(column, rows=rows)
        self._note(ids, number)

    def _note(self, ids: Sequence[str], number: int) -> None:
        self.asked += ids
        self.rounds += [number] * len(ids)

    def decided(self, config: GraphConfig) -> Decision:
        """One label for each annotated node. Gold is not looked at: it is for measuring."""
        tree = self.tree
        given = read_given(self.given, self.asked, tree, str(config.annotations)) if self.given else []
        columns = [*given, *self.columns.values()]
        answered = {i for column in columns for i in column.rows}
        ids = [i for i in self.asked if i in answered]
        return decide(Panel(ids, classes_of(tree), columns), Gold({}), several=False, method=config.consensus, seed=config.seed)


def annotated(made: Decision, place: dict[str, int]) -> Annotated:
    """The nodes with a usable label. A confidence that came with a bare label is taken as it is.

    Args:
        place: row of each node. Raises: DataError with reasons when no node has a usable label.
    """
    classes = [c for c in made.panel.classes if c != NONE_FITS]
    index = {c: k for k, c in enumerate(classes)}
    rows = [row for row in made.rows.values() if row.label in index]
    if not rows:
        reasons = sorted({f"{row.status}: {row.reason[:120]}" for row in made.rows.values()})[:3]
        raise DataError(
            f"none of the {len(made.rows)} annotated nodes has a usable label. Reasons: {reasons or ['nothing fits']}"
        )
    sole = made.panel.columns[0].rows if len(made.panel.columns) == 1 else {}
    sure = [row.confidence if row.confidence is not None or row.id not in sole else sole[row.id].confidence for row in rows]
    return Annotated(
        np.array([place[row.id] for row in rows]), np.array([index[str(row.label)] for row in rows]),
        np.array([np.nan if value is None else value for value in sure]), classes,
    )  # fmt: skip


def ask(asking: Asking, config: GraphConfig, rows: Sequence[Example], number: int) -> list[Column]:
    """Every annotator's answers about the nodes chosen in a round."""
    part = "" if number == 1 else f"-round-{number}"
    return [asking_of.answers(asking, one, n, rows, part) for n, one in enumerate(read_annotators(config))]


def shown(config: GraphConfig, examples: Sequence[Example], picked: Sequence[int], adjacency: Any) -> list[Example]:
    """The chosen nodes as they are asked about; with the texts of linked nodes where that is wanted."""
    if not config.neighbour_context:
        return [examples[i] for i in picked]
    return with_neighbours(examples, adjacency, picked, seed=config.seed)


def only_known(rows: list[dict[str, Any]], place: dict[str, int], source: str) -> list[dict[str, Any]]:
    """Rows whose id is a node. Raises: DataError when there is none."""
    known = [row for row in rows if row["id"] in place]
    if not known:
        strange = f", such as {rows[0]['id']!r}; ids of nodes look like {next(iter(place))!r}" if rows else ""
        raise DataError(f"--annotations {source}: none of its {len(rows)} rows has a label and the id of a node{strange}")
    if len(known) < len(rows):
        emit("note", text=f"annotations: {len(rows) - len(known):,} of {len(rows):,} rows are of no node and are not used")
    return known


__all__ = ["Said", "annotated", "ask", "look_up", "only_known", "shown"]
