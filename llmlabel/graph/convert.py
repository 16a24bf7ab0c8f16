"""Graphs of networkx and PyTorch Geometric, to tables and back."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llmlabel.errors import ConfigError, DataError
from llmlabel.graph.graph import FloatArray

NETWORKX = {".graphml": "read_graphml", ".gexf": "read_gexf", ".gml": "read_gml", ".net": "read_pajek"}
NAMES = {"y": "label", "raw_text": "text", "raw_texts": "text"}  # of PyG, and ours
GRAPH_FILES = (*NETWORKX, ".pt")


@dataclass(frozen=True)
class Tables:
    """A graph as `llmlabel run graph` reads it.

    Args:
        nodes: `id` (string) and whatever the nodes carry. edges: source, target (strings) and weight (float64) if there is one.
        x: (N, F) float32 features, or None.
    """

    nodes: pa.Table
    edges: pa.Table
    x: FloatArray | None = None

    def write(self, folder: Path | str) -> None:
        """nodes.parquet, edges.parquet and features.npy, for `--nodes`, `--edges` and `--features`."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        pq.write_table(self.nodes, path / "nodes.parquet")
        pq.write_table(self.edges, path / "edges.parquet")
        if self.x is not None:
            np.save(path / "features.npy", self.x, allow_pickle=False)


def load(path: Path) -> Tables:
    """A graph file by its suffix. Raises: ConfigError when the package that reads it is missing; DataError when it is damaged."""
    if not path.is_file():
        raise DataError(f"--nodes: no such file: {path}")
    suffix = path.suffix.lower()
    need = "torch_geometric" if suffix == ".pt" else "networkx"
    if find_spec(need) is None:
        raise ConfigError(f"--nodes {path}: reading {suffix} needs {need}: pip install 'llmlabel[graph]'")
    return _pyg_file(path) if suffix == ".pt" else _networkx_file(path, suffix)


def _networkx_file(path: Path, suffix: str) -> Tables:
    import networkx as nx

    try:
        return from_networkx(getattr(nx, NETWORKX[suffix])(path))
    except Exception as e:  # each reader raises what its parser raises
        raise DataError(f"--nodes {path}: networkx cannot read it: {type(e).__name__}: {str(e)[:200]}") from e


def _pyg_file(path: Path) -> Tables:
    import torch
    from torch_geometric.data import Data
    from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
    from torch_geometric.data.storage import EdgeStorage, GlobalStorage, NodeStorage

    plain = [Data, DataEdgeAttr, DataTensorAttr, GlobalStorage, NodeStorage, EdgeStorage]
    try:
        with torch.serialization.safe_globals(plain):  # nothing else in the file is run
            return from_pyg(torch.load(path, weights_only=True))
    except DataError:
        raise
    except Exception as e:  # whatever torch raises; a pickle with code in it is refused here too
        raise DataError(f"--nodes {path}: no PyG Data of plain tensors and lists: {type(e).__name__}: {str(e)[:120]}") from e


def from_networkx(graph: Any) -> Tables:
    """A networkx graph of any kind: node attributes become columns, the edge attribute `weight` a weight."""
    kept = [{"id": str(node)} | {str(k): v for k, v in data.items() if k != "id"} for node, data in graph.nodes(data=True)]
    names = dict.fromkeys(key for row in kept for key in row)
    nodes = pa.table({name: _column([row.get(name) for row in kept]) for name in names})
    links = list(graph.edges(data=True))
    columns: dict[str, Any] = {
        "source": pa.array([str(a) for a, _, _ in links], pa.string()),
        "target": pa.array([str(b) for _, b, _ in links], pa.string()),
    }
    if any("weight" in data for _, _, data in links):
        columns["weight"] = pa.array([float(data.get("weight", 1.0)) for _, _, data in links], pa.float64())
    return Tables(nodes, pa.table(columns))


def _column(values: list[Any]) -> Any:
    """A column of one type; mixed values as texts."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if v is None else str(v) for v in values], pa.string())


def from_pyg(data: Any) -> Tables:
    """A PyG `Data`: `edge_index`, and where they are there `x`, `edge_weight`, and per node `text` (or raw_text), `y` (as the
    column label) and any other list or one-dimensional tensor of N values.

    Raises: DataError when it has no edge_index.
    """
    given = data if isinstance(data, dict) else data.to_dict()
    if given.get("edge_index") is None:
        raise DataError("the PyG data has no edge_index")
    index = np.asarray(given["edge_index"])
    size = int(getattr(data, "num_nodes", None) or given.get("num_nodes") or index.max() + 1)
    columns: dict[str, Any] = {"id": pa.array([str(n) for n in range(size)], pa.string())}
    for name, value in given.items():
        flat = value if isinstance(value, list) else np.asarray(value) if hasattr(value, "ndim") and value.ndim == 1 else None
        if flat is not None and len(flat) == size and name != "edge_weight":
            columns[NAMES.get(name, str(name))] = _column(list(flat))
    edges: dict[str, Any] = {end: pa.array([str(n) for n in index[k]], pa.string()) for k, end in enumerate(("source", "target"))}
    if given.get("edge_weight") is not None:
        edges["weight"] = pa.array(np.asarray(given["edge_weight"], dtype=np.float64).ravel())
    x = given.get("x")
    return Tables(pa.table(columns), pa.table(edges), None if x is None else np.asarray(x, dtype=np.float32))


def to_pyg(path: Path) -> Any:
    """A run's graph.safetensors as a PyG `Data`; see `llmlabel.graph.load_data`."""
    if find_spec("torch_geometric") is None:
        raise ConfigError("loading a graph needs torch_geometric: pip install 'llmlabel[graph]'")
    if not path.is_file():
        raise DataError(f"{path} is not there: {path.parent} holds no finished graph run")
    from safetensors import safe_open
    from torch_geometric.data import Data

    with safe_open(path, framework="pt") as file:
        found = Data(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  # no mapping
        found.classes = file.metadata()["classes"].split("\n")
    return found
