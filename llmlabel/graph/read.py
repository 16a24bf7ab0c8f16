"""Nodes and edges from files: tables, edge lists, adjacency matrices, and graph files of networkx and PyG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmlabel.data import as_text, column, optional, stream
from llmlabel.errors import DataError
from llmlabel.events import emit
from llmlabel.graph.convert import GRAPH_FILES, Tables, load
from llmlabel.graph.graph import FloatArray, IntArray
from llmlabel.records import Example

ROWS = 200_000
PAIRS = (("source", "target"), ("src", "dst"), ("from", "to"))  # how edge tables name their columns
LISTS = (".txt", ".tsv", ".edgelist", ".edges")
WEIGHTS = ("weight", "weights")


@dataclass(frozen=True)
class Edges:
    """E edges between rows of N nodes.

    Args:
        source, target: (E,) node rows. weight: (E,) above 0, or None. unknown: edges left out since a node of theirs is not
            there. loops, repeated: self-loops and repetitions there are among the rest.
    """

    source: IntArray
    target: IntArray
    weight: FloatArray | None
    unknown: int = 0
    loops: int = 0
    repeated: int = 0

    def notes(self) -> dict[str, int]:
        """What is not an ordinary edge, counted; only what there is."""
        found = {"to_unknown_nodes": self.unknown, "self_loops": self.loops, "repeated": self.repeated}
        return {name: n for name, n in found.items() if n}


def read_graph(
    nodes: str, edges: str | None, *, text_column: str, id_column: str | None, gold_column: str | None, edges_column: str | None
) -> tuple[list[Example], Edges, FloatArray | None]:
    """Nodes as examples in input order, edges between them, and the features a graph file brings.

    Args:
        nodes: a table (anything `data.stream` reads) or a graph file (.graphml, .gexf, .gml, .net; .pt of PyG). edges: see
            `read_edges`; None: of the graph file, or of `edges_column`, a column of the nodes that lists the ids a node links to
            (in `env:` it is `requires`).
    Raises: DataError when there are no nodes or no edges, ids are not unique, or most edges name unknown nodes.
    """
    found = load(Path(nodes)) if Path(nodes).suffix.lower() in GRAPH_FILES else None
    tables = [found.nodes] if found else list(stream(nodes, option="--nodes"))
    examples = _nodes(tables, nodes, text_column, id_column, gold_column)
    ids = [e.id for e in examples]
    if edges is not None:
        listed = read_edges(edges)
    elif found:
        listed = found.edges
    else:
        listed = _linked(tables, nodes, ids, edges_column or ("requires" if nodes == "env:" else None))
    return examples, placed(listed, ids, edges or nodes), found.x if found else None


def _nodes(
    tables: Sequence[pa.Table], spec: str, text_column: str, id_column: str | None, gold_column: str | None
) -> list[Example]:
    """A node without a text has the text ""; a node without an id column has its row number."""
    texts: list[str] = []
    golds: list[str | None] = []
    ids: list[str] = []
    for table in tables:
        bare = text_column == "text" and "text" not in table.column_names
        texts += [""] * table.num_rows if bare else [as_text(v) for v in column(table, text_column, "--text-column", spec)]
        golds += optional(table, gold_column, "--gold-column", spec)
        if id_column or "id" in table.column_names:
            ids += ["" if v is None else str(v) for v in column(table, id_column or "id", "--id-column", spec)]
    if not texts:
        raise DataError(f"--nodes: {spec} has no rows")
    ids = ids or [str(n) for n in range(len(texts))]
    if len(set(ids)) < len(ids) or "" in ids:
        seen: set[str] = set()
        twice = next(i for i in ids if i == "" or i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise DataError(f"--nodes: {spec} has the id {twice!r} more than once (or a row without one); edges go by it")
    return [Example(i, t, g) for i, t, g in zip(ids, texts, golds, strict=True)]


def read_edges(spec: str) -> pa.Table:
    """An edge list as a table with the columns source, target (strings) and, where there is one, weight (float64).

    Args:
        spec: a parquet, csv or jsonl file whose columns are called source and target, src and dst or from and to, else the first
            two, and `weight`; a text file with two or three columns and no header (.txt, .tsv, .edgelist; # starts a comment); a
            .npy array (2, E); or a scipy sparse matrix (.npz), whose rows and columns are row numbers of the nodes.
    Raises: DataError when it cannot be read, or a weight is no number above 0.
    """
    suffix = Path(spec).suffix.lower()
    if suffix in (*LISTS, ".npy", ".npz") and not Path(spec).is_file():
        raise DataError(f"--edges: no such file: {spec}")
    if suffix in LISTS:
        table = _text(spec)
    elif suffix in (".npy", ".npz"):
        table = _array(spec)
    else:
        table = pa.concat_tables(list(stream(spec, ROWS, "--edges")) or [pa.table({"source": [], "target": []})])
    return _checked(table, spec)


def _text(spec: str) -> pa.Table:
    import polars as pl

    with open(spec, encoding="utf-8", errors="replace") as lines:
        first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    separator = next((mark for mark in "\t,; " if mark in first.strip()), "\t")
    try:
        found = pl.read_csv(spec, has_header=False, separator=separator, comment_prefix="#")
    except pl.exceptions.PolarsError as e:
        raise DataError(f"--edges {spec}: cannot be read as an edge list: {str(e)[:200]}") from e
    return found.to_arrow()


def _array(spec: str) -> pa.Table:
    from scipy import sparse

    try:
        if spec.endswith(".npz"):
            matrix = sparse.load_npz(spec).tocoo()
            return pa.table({"source": matrix.coords[0], "target": matrix.coords[1], "weight": matrix.data})
        pairs = np.load(spec, allow_pickle=False)
    except (ValueError, OSError, KeyError) as e:
        raise DataError(f"--edges {spec}: neither a (2, E) array nor a scipy sparse matrix: {e}") from e
    if pairs.ndim != 2 or pairs.shape[0] != 2:
        raise DataError(f"--edges {spec}: shape {pairs.shape}; an edge index has the shape (2, E)")
    return pa.table({"source": pairs[0], "target": pairs[1]})


def _checked(table: pa.Table, spec: str) -> pa.Table:
    names = table.column_names
    if len(names) < 2:
        raise DataError(f"--edges {spec}: one column; an edge needs two, source and target. It has: {', '.join(names)}")
    pair = next((p for p in PAIRS if set(p) <= set(names)), (names[0], names[1]))
    columns = {name: pc.cast(table[own], pa.string()) for name, own in zip(("source", "target"), pair, strict=True)}
    own = next((n for n in names if n in WEIGHTS), names[2] if len(names) == 3 and Path(spec).suffix in LISTS else None)
    if own is not None:
        try:
            columns["weight"] = pc.cast(table[own], pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as e:
            raise DataError(f"--edges {spec}: column {own!r} holds something that is no number: {e}") from e
        if not pc.all(pc.and_(pc.greater(columns["weight"], 0), pc.is_finite(columns["weight"])), skip_nulls=False).as_py():
            raise DataError(f"--edges {spec}: column {own!r} holds weights that are 0, negative, infinite or missing")
    return pa.table(columns)


def _linked(tables: Sequence[pa.Table], spec: str, ids: Sequence[str], name: str | None) -> pa.Table:
    """Edges out of a column that lists, for each node, the ids it links to."""
    if name is None:
        raise DataError("no edges: name --edges FILE, or a column of the nodes that lists linked ids, --set edges_column=NAME")
    lists = [row for table in tables for row in column(table, name, "edges_column", spec)]
    if any(row is not None and not isinstance(row, list) for row in lists):
        raise DataError(f"edges_column {name!r}: {spec} holds single values there; it takes a list of ids for each node")
    pairs = [(i, str(other)) for i, row in zip(ids, lists, strict=True) for other in row or []]
    return pa.table({"source": [a for a, _ in pairs], "target": [b for _, b in pairs]}, schema=TEXTS)


TEXTS = pa.schema([("source", pa.string()), ("target", pa.string())])


def placed(edges: pa.Table, ids: Sequence[str], spec: str) -> Edges:
    """Edges by node rows. Those that name an unknown node are left out and counted; a note says so.

    Raises: DataError when there are none, or most of them name unknown nodes.
    """
    if not edges.num_rows:
        raise DataError(f"--edges {spec}: there are no edges; without any, `llmlabel run annotate` labels texts")
    known = pa.array(ids, pa.string())
    ends = [pc.index_in(edges[name], known) for name in ("source", "target")]
    there = pc.and_(pc.is_valid(ends[0]), pc.is_valid(ends[1]))
    kept = int(pc.sum(there).as_py() or 0)
    unknown = edges.num_rows - kept
    if 2 * unknown > edges.num_rows:
        strange = next(v for name, end in zip(("source", "target"), ends, strict=True) for v in _first(edges[name], end))
        raise DataError(
            f"--edges {spec}: {unknown:,} of {edges.num_rows:,} edges name a node that is not there, such as {strange!r}; "
            f"ids of nodes look like {ids[0]!r}. Is --id-column the column that edges go by?"
        )
    source, target = (np.asarray(pc.filter(end, there), dtype=np.int64) for end in ends)
    weight = np.asarray(pc.filter(edges["weight"], there)) if "weight" in edges.column_names else None
    found = Edges(source, target, weight, unknown, int((source == target).sum()), _repeated(source, target, len(ids)))
    if found.notes():
        emit("note", text=f"edges: {', '.join(f'{n:,} {name}' for name, n in found.notes().items()).replace('_', ' ')} left out")
    return found


def _first(values: Any, end: Any) -> list[str]:
    """The first value that has no place, if there is one."""
    return [str(v) for v in pc.filter(values, pc.is_null(end)).slice(0, 1).to_pylist()]


def _repeated(source: IntArray, target: IntArray, nodes: int) -> int:
    keys = np.sort(source * nodes + target)
    return int((np.diff(keys) == 0).sum())


__all__ = ["Edges", "Tables", "placed", "read_edges", "read_graph"]
