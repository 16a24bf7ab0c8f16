"""Local clustering with noisy labels: does it recover a class, and does its work grow with the graph?

First table, --data: F1 of recovering each class of a graph from `--seed-nodes` nodes of it (the mean over classes, and over seeds
with its standard deviation). The noisy labels are true ones flipped, so that a share a1 of the class and a0 of the rest are
right (`flips`), or a logistic regression's that saw 25 nodes of the class and 25 others (`learned`, for graphs with features; its
25 are the seed nodes too). Mass: `--mass` times the true volume of the class. Rows: the labels alone; diffusion without them and
with them, as all it reached, and cut by conductance.

Second table: a block model that grows while the cluster stays as it is (200 nodes, 10 edges a node within, 2 to anywhere).
--plot draws it. Third, --repair, for graphs with recorded labels of a model: what `repair` proposes, and how often it is right.

    python bench/local_cluster.py --data graph/cora graph/pubmed --plot work.svg --repair graph/cora graph/citeseer_text
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import graph_data
import numpy as np
from graph_vectors import structure
from scipy import sparse

from llmlabel.graph.graph import BoolArray, FloatArray, IntArray, adjacency
from llmlabel.graph.local_cluster import local_cluster, volume
from llmlabel.graph.repair import repair

METHODS = {"plain": (False, False), "plain, cut": (False, True), "weighted": (True, False), "weighted, cut": (True, True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--seed-nodes", type=int, nargs="*", default=[1, 25])
    parser.add_argument("--a1", type=float, default=0.7)
    parser.add_argument("--a0", type=float, default=0.9)
    parser.add_argument("--mass", type=float, default=1.5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 30_000, 100_000, 300_000, 1_000_000])
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--repair", type=Path, nargs="*", default=[])
    args = parser.parse_args()
    for folder in args.data:
        both, gold = structure(folder)
        for n in args.seed_nodes:
            recovered(f"{folder.name}, {n} seed nodes, flips a1 {args.a1} a0 {args.a0}", both, gold, n, args, None)
        if (folder / "features.npz").exists():
            recovered(f"{folder.name}, learned from 25 + 25", both, gold, 25, args, graph_data.features(folder, None))
    if args.sizes:
        rows = [growth(n, args.seeds) for n in args.sizes]
        if args.plot:
            plot(rows, args.plot)
    for folder in args.repair:
        repaired(folder)


def recovered(title: str, both: sparse.csr_array, gold: IntArray, n: int, args: argparse.Namespace, x: FloatArray | None) -> None:
    degree = np.diff(both.indptr)
    scores = defaultdict(list)
    for seed in range(args.seeds):
        rng = np.random.default_rng(seed)
        for label in np.unique(gold):
            truth = gold == label
            own = rng.choice(np.flatnonzero(truth & (degree > 0)), n, replace=False)
            noisy = flipped(truth, args, rng) if x is None else learned(x, truth, own, rng)
            scores["labels alone"].append(f1(np.flatnonzero(noisy), truth))
            for name, (with_labels, sweep) in METHODS.items():
                said = noisy if with_labels else None
                mass = args.mass * volume(both, np.flatnonzero(truth), said)
                found = local_cluster(both, own, said, mass=mass, sweep=sweep)
                scores[name].append(f1(found.nodes, truth))
    print(f"\n{title}")
    for name, values in scores.items():
        by_seed = np.reshape(values, (args.seeds, -1)).mean(axis=1)
        print(f"  {name:16} {by_seed.mean():.3f} +- {by_seed.std(ddof=1):.3f}", flush=True)


def flipped(truth: BoolArray, args: argparse.Namespace, rng: np.random.Generator) -> BoolArray:
    return np.where(rng.random(len(truth)) < np.where(truth, args.a1, args.a0), truth, ~truth)


def learned(x: FloatArray, truth: BoolArray, own: IntArray, rng: np.random.Generator) -> BoolArray:
    from sklearn.linear_model import LogisticRegression

    rows = np.r_[own, rng.choice(np.flatnonzero(~truth), len(own), replace=False)]
    return LogisticRegression(max_iter=1000).fit(x[rows], truth[rows]).predict(x)


def f1(found: IntArray, truth: BoolArray) -> float:
    return 2 * truth[found].sum() / (len(found) + truth.sum())


def growth(nodes: int, seeds: int, block: int = 200) -> tuple[int, float, float, float]:
    """Nodes, and the means of touched volume, work and milliseconds over 10 clusters."""
    rng = np.random.default_rng(0)
    near, far = rng.integers(0, nodes, 5 * nodes), rng.integers(0, nodes, nodes)
    source = np.r_[near, far]
    target = np.r_[near // block * block + rng.integers(0, block, len(near)), rng.integers(0, nodes, nodes)]
    both = adjacency(nodes, source, target)
    labels = rng.random(nodes) < 0.1
    rows = []
    for start in rng.choice(nodes // block, 2 * seeds, replace=False) * block:
        labels[start : start + block] = rng.random(block) < 0.7
        begin = time.perf_counter()
        mass = 1.5 * volume(both, np.arange(start, start + block), labels)
        found = local_cluster(both, [int(start)], labels, mass=mass)
        rows.append((found.touched, found.work, 1000 * (time.perf_counter() - begin)))
        rows[-1] += (f1(found.nodes, np.arange(nodes) // block == start // block),)
        labels[start : start + block] = rng.random(block) < 0.1
    touched, work, milliseconds, score = np.mean(rows, axis=0)
    print(
        f"{nodes:>10,} nodes {both.nnz // 2:>11,} edges: touched volume {touched:8,.0f}, edges gone over {work:9,.0f}, "
        f"{milliseconds:6.1f} ms, F1 {score:.3f}",
        flush=True,
    )
    return nodes, float(touched), float(work), float(milliseconds)


def plot(rows: list[tuple[int, float, float, float]], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", xlabel="nodes of the graph", ylabel="per cluster")
    for column, name in enumerate(("touched volume", "edges gone over", "milliseconds"), start=1):
        axes.plot([row[0] for row in rows], [row[column] for row in rows], marker="o", label=name)
    axes.legend()
    figure.savefig(file)


def repaired(folder: Path) -> None:
    graph, gold, said = graph_data.read(folder, 120)
    found = repair(graph.adjacency, said.labels, said.confidence)
    before, after = said.labels[found.nodes] == gold[found.nodes], found.labels == gold[found.nodes]
    right = (said.labels == gold).mean()
    print(
        f"{folder.name}: {len(found.nodes)} proposals; right before {before.mean():.3f}, after {after.mean():.3f}; "
        f"all labels {right:.4f} -> {right + (after.sum() - before.sum()) / len(gold):.4f}"
    )


if __name__ == "__main__":
    main()
