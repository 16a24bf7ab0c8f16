"""Read a graph data set for the benches: a folder with nodes.parquet, edges.parquet, and features.npz or a text column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy import sparse

from llmlabel import embedding
from llmlabel.graph.graph import Annotated, FloatArray, Graph, IntArray, adjacency


def read(folder: Path, budget: int) -> tuple[Graph, IntArray, Annotated]:
    """A graph, (N,) gold labels, and an LLM's recorded annotations of all its nodes.

    The annotations are in `gpt4omini.parquet` (id, label, confidence), else in the column gpt35_top1 of the nodes.
    The graph expects budget / 20 classes, as a run without a taxonomy does.
    """
    nodes, edges = pq.read_table(folder / "nodes.parquet"), pq.read_table(folder / "edges.parquet")
    place = {i: n for n, i in enumerate(nodes["id"].to_pylist())}
    source, target = (np.array([place[i] for i in edges[name].to_pylist()]) for name in ("source", "target"))
    both = adjacency(len(place), source, target)
    gold = np.array(nodes["label"].to_pylist())
    graph = Graph(both, features(folder, nodes), max(2, round(budget / 20)), np.ones(len(place), bool))
    recorded = folder / "gpt4omini.parquet"
    said = pq.read_table(recorded).to_pylist() if recorded.exists() else []
    labels, sure = np.full(len(place), -1), np.full(len(place), np.nan)
    for row in said:
        labels[place[row["id"]]], sure[place[row["id"]]] = row["label"], row["confidence"]
    if not said:
        labels = np.array(nodes["gpt35_top1"].to_pylist())
    classes = [str(k) for k in range(int(gold.max()) + 1)]
    return graph, gold, Annotated(np.arange(len(place)), labels, sure, classes)


def features(folder: Path, nodes: object) -> FloatArray:
    if (folder / "features.npz").exists():
        return np.asarray(sparse.load_npz(folder / "features.npz").toarray(), dtype=np.float32)
    texts = nodes["text"].to_pylist()  # type: ignore[index]
    return embedding.VectorCache().encode(embedding.connect("minilm"), texts)
