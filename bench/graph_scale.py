"""Large graphs, everything but the LLM: seconds by part and the peak of memory.

Synthetic graphs (`synthetic_graph.py`), made in another process that does not count. A share of 0.7 of the annotations is right.

    python bench/graph_scale.py --shape arxiv       # 169,343 nodes, 1,166,243 edges, 128 features: to labels of all nodes
    python bench/graph_scale.py --shape products    # 2,449,029 nodes, 61,859,140 edges, 100 features: selected and propagated
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llmlabel.graph.gnns import gnn
from llmlabel.graph.graph import FloatArray, Graph, IntArray, adjacency
from llmlabel.graph.selectors import selector

SHAPES = {"arxiv": (169_343, 1_166_243, 40, 128, 800), "products": (2_449_029, 61_859_140, 47, 100, 940)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="arxiv")
    parser.add_argument("--select", nargs="*", default=["stratified"])
    parser.add_argument("--gnn", nargs="*", default=["sgc"])
    args = parser.parse_args()
    nodes, edges, communities, dim, budget = SHAPES[args.shape]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        made(Path(folder), nodes=nodes, edges=edges, communities=communities, dim=dim)
        print(f"{args.shape}: {nodes:,} nodes, {edges:,} edges, {dim} features, budget {budget}")
        start = time.perf_counter()
        source, target, gold, x = (np.load(Path(folder) / f"{n}.npy") for n in ("source", "target", "community", "features"))
    with part("read"):
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    with part("adjacency"):
        both = adjacency(nodes, source, target)
    del source, target
    graph = Graph(both, x, communities, np.ones(nodes, bool))
    for name in args.select:
        with part(f"select {name}"):
            rows = selector(name).select(graph, budget, np.random.default_rng(0))
    if args.shape == "products":
        with part("propagate, 2 hops"):
            graph.propagated(2)
    else:
        labelled(graph, gold, rows, args.gnn)
    print(f"{'in all':24} {time.perf_counter() - start:7.1f} s")


def made(folder: Path, **shape: int) -> None:
    script = Path(__file__).with_name("synthetic_graph.py")
    options = [str(part) for name, value in shape.items() for part in (f"--{name}", value)]
    subprocess.run([sys.executable, str(script), *options, "--out", str(folder)], check=True)


@contextmanager
def part(name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name:24} {time.perf_counter() - start:7.1f} s   peak so far {peak:5.1f} GiB", flush=True)


def labelled(graph: Graph, gold: IntArray, rows: IntArray, names: list[str]) -> None:
    rng = np.random.default_rng(1)
    right = rng.random(len(rows)) < 0.7
    said = np.where(right, gold[rows], rng.integers(0, graph.classes, len(rows)))
    rest = np.setdiff1d(np.arange(graph.size), rows)
    for name in names:
        with part(f"train, predict {name}"):
            probs = gnn(name)(graph, rows, np.eye(graph.classes)[said], np.where(right, 0.9, 0.6), seed=0)
        print(f"  accuracy of the rest {(probs[rest].argmax(axis=1) == gold[rest]).mean():.3f}")
    with part("write"):
        written(probs)


def written(probs: FloatArray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = pa.table({"id": np.arange(len(probs)), "label": probs.argmax(axis=1), "confidence": probs.max(axis=1)})
        pq.write_table(table, Path(folder) / "labels.parquet")


if __name__ == "__main__":
    main()
