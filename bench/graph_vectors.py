"""FastRP: seconds on a graph of ogbn-arxiv's shape, and what its vectors are worth, beside the PyPI package `fastrp`.

The package (Rust) has no degree exponent and does not bring rows to length 1; all get the same dimension, powers and weights.
`beta -0.64`: what the authors found for BlogCatalog. Accuracy: logistic regression on the vectors, scaled to unit variance, 10%
of the nodes given (mean over seeds, standard deviation); `majority`: the largest class.

    pip install fastrp && python bench/graph_vectors.py --data graph/pubmed graph/cora graph/cora_text graph/debian_packages
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy import sparse
from synthetic_graph import edges

from llmlabel.graph.fastrp import WEIGHTS, fastrp
from llmlabel.graph.graph import FloatArray, IntArray, adjacency


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="folders with nodes.parquet and edges.parquet")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=169_343)
    parser.add_argument("--edges", type=int, default=1_166_243)
    args = parser.parse_args()
    source, target, _ = edges(args.nodes, args.edges, 40)
    both = adjacency(args.nodes, source, target)
    ours, theirs = (timed(embed, both, args.dim) for embed in (fastrp_here, package))
    print(f"{args.nodes:,} nodes, {args.edges:,} edges, dim {args.dim}, weights {WEIGHTS}, best of 5:")
    print(f"  llmlabel {ours:.2f} s, package fastrp {theirs:.2f} s, ratio {ours / theirs:.2f}\n")
    print(f"{'graph':18} {'majority':>8} {'llmlabel':>15} {'beta -0.64':>15} {'package':>15}")
    for folder in args.data:
        both, gold = structure(folder)
        found = [
            [accuracy(e(both, args.dim, seed), gold, seed) for seed in range(args.seeds)] for e in (fastrp_here, damped, package)
        ]
        cells = " ".join(f"{np.mean(f):.3f} +- {np.std(f, ddof=1):.3f}".rjust(15) for f in found)
        print(f"{folder.name:18} {np.bincount(gold).max() / len(gold):8.3f} {cells}", flush=True)


def structure(folder: Path) -> tuple[sparse.csr_array, IntArray]:
    """The adjacency of a graph data set, and (N,) its gold classes from 0."""
    nodes, links = pq.read_table(folder / "nodes.parquet"), pq.read_table(folder / "edges.parquet")
    place = {i: n for n, i in enumerate(nodes["id"].to_pylist())}
    source, target = (np.array([place[i] for i in links[name].to_pylist()]) for name in ("source", "target"))
    gold = np.unique([str(label) for label in nodes["label"].to_pylist()], return_inverse=True)[1]
    return adjacency(len(place), source, target), gold


def fastrp_here(both: sparse.csr_array, dim: int, seed: int) -> FloatArray:
    return fastrp(both, dim=dim, seed=seed)


def damped(both: sparse.csr_array, dim: int, seed: int) -> FloatArray:
    return fastrp(both, dim=dim, beta=-0.64, seed=seed)


def package(both: sparse.csr_array, dim: int, seed: int) -> FloatArray:
    import fastrp as rust

    weights = [0.0, *WEIGHTS]  # its first weight is of no step at all
    return np.asarray(rust.fit_csr(both.indptr, both.indices, both.data, both.shape[0], dim, weights, seed, undirected=False))


def timed(embed: Callable[[sparse.csr_array, int, int], FloatArray], both: sparse.csr_array, dim: int) -> float:
    seconds = []
    for seed in range(5):
        start = time.perf_counter()
        embed(both, dim, seed)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def accuracy(vectors: FloatArray, gold: IntArray, seed: int) -> float:
    from sklearn.linear_model import LogisticRegression

    vectors = vectors / vectors.std()
    rows = np.random.default_rng(seed).permutation(len(gold))
    given, rest = np.split(rows, [len(rows) // 10])
    model = LogisticRegression(max_iter=1000).fit(vectors[given], gold[given])
    return float(model.score(vectors[rest], gold[rest]))


if __name__ == "__main__":
    main()
