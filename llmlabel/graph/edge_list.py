"""What can be done with an edge list alone: vectors, the cluster of some nodes, other labels. From files to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy import sparse

from llmlabel.data import column, optional, stream
from llmlabel.errors import ConfigError, DataError
from llmlabel.graph.fastrp import fastrp
from llmlabel.graph.graph import FloatArray, adjacency
from llmlabel.graph.local_cluster import MASS, Cluster, local_cluster, volume
from llmlabel.graph.read import read_edges
from llmlabel.graph.repair import repair


def read(spec: str) -> tuple[list[str], sparse.csr_array]:
    """Ids of the N nodes that edges name, in order of appearance, and the (N, N) adjacency. Raises: DataError."""
    edges = read_edges(spec)
    if not edges.num_rows:
        raise DataError(f"--edges {spec}: there are no edges")
    ends = pa.chunked_array([*edges["source"].chunks, *edges["target"].chunks]).combine_chunks()
    if ends.null_count:
        raise DataError(f"--edges {spec}: {ends.null_count:,} ends of edges are empty")
    coded = ends.dictionary_encode()
    source, target = np.split(np.asarray(coded.indices, dtype=np.int64), 2)
    weight = np.asarray(edges["weight"]) if "weight" in edges.column_names else None
    return coded.dictionary.to_pylist(), adjacency(len(coded.dictionary), source, target, weight)


def embed_file(edges: str, out: Path, *, dim: int, weights: Sequence[float], beta: float, seed: int) -> dict[str, Any]:
    """FastRP vectors of all nodes: `ids` and `vectors` in an .npz, or columns id and vector in a .parquet."""
    if out.suffix not in (".npz", ".parquet"):
        raise ConfigError(f"--out {out}: name a .npz or a .parquet file")
    ids, both = read(edges)
    vectors = fastrp(both, dim=dim, weights=weights, beta=beta, seed=seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".npz":
        np.savez(out, ids=np.array(ids, dtype=np.str_), vectors=vectors)
    else:
        rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim)
        pq.write_table(pa.table({"id": pa.array(ids, pa.string()), "vector": rows}), out)
    return {"out": str(out), "nodes": len(ids), "edges": both.nnz // 2, "dim": dim}


def cluster_file(
    edges: str, out: Path, seeds: Sequence[str], *, labels: str | None, label: str | None, size: int | None, epsilon: float,
    cut: bool,
) -> dict[str, Any]:  # fmt: skip
    """The cluster of some nodes, with labels that may be wrong or without any.

    Writes id, x (how high the mass stood), in_cluster, and label_agrees (null where a node has no label), for the nodes that were
    reached, highest first, and those that the label says belong and were not.
    """
    ids, both = read(edges)
    rows = _rows(ids, seeds, edges)
    known = np.array([None] * len(ids)) if labels is None else _labels(labels, ids)[0]
    wanted = _wanted(label, known[rows], known, labels)
    said = None if labels is None else known == wanted
    found = local_cluster(both, rows, said, mass=_mass(both, said, size, epsilon), epsilon=epsilon, sweep=cut)
    table = _table(found, ids, said, known)
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, out)
    counts = {} if said is None else {"label": wanted, "label_agrees": int(pc.sum(table["label_agrees"]).as_py() or 0)}
    return {
        "out": str(out), "nodes": len(ids), "reached": len(found.reached), "in_cluster": len(found.nodes),
        "conductance": round(found.conductance, 4), **counts,
    }  # fmt: skip


def repair_file(edges: str, out: Path, labels: str, *, below: float) -> dict[str, Any]:
    """Other labels for nodes that another class's cluster claims: id, label, proposed, confidence."""
    ids, both = read(edges)
    known, sure = _labels(labels, ids)
    names = sorted({str(name) for name in known if name is not None})
    place = {name: k for k, name in enumerate(names)}
    found = repair(both, np.array([place.get(name, -1) for name in known]), sure, below=below)
    table = pa.table(
        {
            "id": pa.array([ids[n] for n in found.nodes], pa.string()),
            "label": pa.array([known[n] for n in found.nodes], pa.string()),
            "proposed": pa.array([names[k] for k in found.labels], pa.string()),
            "confidence": pa.array(sure[found.nodes], pa.float64(), from_pandas=True),
        }
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, out)
    return {"out": str(out), "nodes": len(ids), "labels": len(names), "proposals": table.num_rows}


def _rows(ids: Sequence[str], seeds: Sequence[str], edges: str) -> list[int]:
    place = {i: n for n, i in enumerate(ids)}
    if unknown := [s for s in seeds if s not in place]:
        raise ConfigError(f"--seed-nodes {unknown[0]}: no edge of {edges} names it; ids look like {ids[0]!r}")
    if not seeds:
        raise ConfigError("name one node at least that is in the cluster: --seed-nodes ID")
    return [place[s] for s in seeds]


def _labels(spec: str, ids: Sequence[str]) -> tuple[Any, FloatArray]:
    """(N,) object array: the label of each node, None where there is none; (N,) its confidence, NaN where there is none."""
    said: dict[str, str | None] = {}
    sure: dict[str, float | None] = {}
    for table in stream(_file(spec), option="--labels"):
        names = [None if v is None else str(v) for v in column(table, "id", "--labels", spec)]
        said.update(zip(names, optional(table, "label", "--labels", spec), strict=True))  # type: ignore[arg-type]
        if "confidence" in table.column_names:
            sure.update(zip(names, table["confidence"].to_pylist(), strict=True))  # type: ignore[arg-type]
    if not any(said.get(i) for i in ids):
        raise DataError(f"--labels {spec}: no node of the edges has a label there; ids of nodes look like {ids[0]!r}")
    return np.array([said.get(i) for i in ids], dtype=object), np.array([sure.get(i) for i in ids], dtype=np.float64)


def _file(spec: str) -> str:
    return str(Path(spec) / "labels.parquet") if Path(spec).is_dir() else spec


def _wanted(label: str | None, of_seeds: Any, known: Any, spec: str | None) -> str | None:
    """The label to recover: the one that was named, else the one of the seeds."""
    if spec is None:
        if label is not None:
            raise ConfigError(f"--label {label}: name the file or run folder with the labels too, --labels")
        return None
    there = sorted({name for name in known if name is not None})
    if label is None and len(set(of_seeds)) == 1 and of_seeds[0] is not None:
        return str(of_seeds[0])
    if label is None:
        raise ConfigError(
            f"the seed nodes have not one label in {spec}: name the one to recover, --label. There are: {there[:20]}"
        )
    if label not in there:
        raise ConfigError(f"--label {label}: no node has it in {spec}. There are: {there[:20]}")
    return label


def _mass(both: sparse.csr_array, said: Any, size: int | None, epsilon: float) -> float:
    if said is None:
        if size is None:
            raise ConfigError("how many nodes is the cluster expected to have? Give --size, or --labels")
        return MASS * size * float(both.sum()) / int(both.shape[0])
    own = np.flatnonzero(said)
    return MASS * volume(both, own, said, epsilon=epsilon) * (1 if size is None else size / len(own))


def _table(found: Cluster, ids: Sequence[str], said: Any, known: Any) -> pa.Table:
    inside = np.zeros(len(ids), bool)
    inside[found.nodes] = True
    x = np.zeros(len(ids))
    x[found.reached] = found.x
    missed = np.zeros(0, np.int64) if said is None else np.setdiff1d(np.flatnonzero(said), found.reached)
    nodes = np.r_[found.reached, missed]
    agrees = [None if known[n] is None else bool(said[n] == inside[n]) for n in nodes]
    return pa.table(
        {
            "id": pa.array([ids[n] for n in nodes], pa.string()),
            "x": x[nodes],
            "in_cluster": inside[nodes],
            "label_agrees": pa.array(agrees, pa.bool_()),
        }
    )
