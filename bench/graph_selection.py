"""Which nodes to have labelled? Accuracy on the other nodes, for every selection strategy.

    python bench/graph_selection.py --data graph/citeseer_text --budget 120
    python bench/graph_selection.py --data graph/debian_packages --budget 360   # no annotations: nearest class names
    python bench/graph_selection.py --data graph/pubmed --budget 60             # no texts: true labels only

Per strategy, mean +- standard deviation over seeds: accuracy on the nodes not picked of two learners, both two hops and logistic
regression. `plain` is the package's baseline; `unit` takes GCN propagation with rows of unit length before and after, and C = 10,
so that it fits as well whatever the scale of the features is. Taught by the annotations or by the true labels. Then how many of
the annotations picked are right, classes among the picks, seconds per selection. Differences are to `random`, paired by seed,
with a 95% t interval; for a strategy without chance it holds only the variation of `random`. In the row `disagreement` it picks
the second half, after `stratified` the first, from what `unit` predicts when taught by the first half's annotations; in other
rows all is picked at once.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import graph_data
import numpy as np
import pyarrow.parquet as pq
from scipy import stats
from sklearn.linear_model import LogisticRegression

from llmlabel import embedding
from llmlabel.graph.fastrp import fastrp
from llmlabel.graph.graph import Annotated, FloatArray, Graph, IntArray, adjacency
from llmlabel.graph.plain import plain
from llmlabel.graph.selectors import names, selector

TABLES = ["plain, annotations", "unit, annotations", "unit, true labels"]


def read(folder: Path, budget: int) -> tuple[Graph, IntArray, IntArray | None]:
    """A graph, (N,) gold labels, (N,) recorded annotations; where there are none those of `nearest_name`, without texts None."""
    nodes = pq.read_table(folder / "nodes.parquet")
    if (folder / "gpt4omini.parquet").exists() or "gpt35_top1" in nodes.column_names:
        graph, gold, said = graph_data.read(folder, budget)
        return graph, gold, said.labels
    edges = pq.read_table(folder / "edges.parquet")
    place = {i: n for n, i in enumerate(nodes["id"].to_pylist())}
    source, target = (np.array([place[i] for i in edges[name].to_pylist()]) for name in ("source", "target"))
    both = adjacency(len(place), source, target)
    gold = np.unique(nodes["label"].to_pylist(), return_inverse=True)[1]
    text = "text" in nodes.column_names and nodes["text"].null_count == 0
    x = graph_data.features(folder, nodes) if text else unit(fastrp(both))
    said = nearest_name(x, gold, nodes["label_name"].to_pylist()) if text else None
    return Graph(both, x, int(gold.max()) + 1, np.ones(len(place), bool)), gold, said


def nearest_name(x: FloatArray, gold: IntArray, label_names: list[str]) -> IntArray:
    """(N,) the class whose name is nearest in MiniLM vectors: a weak annotator, wrong where texts are hard, as an LLM is."""
    names_of = [label_names[int(np.flatnonzero(gold == k)[0])].replace("_", " ") for k in range(int(gold.max()) + 1)]
    vectors = embedding.VectorCache().encode(embedding.connect("minilm"), names_of)
    return np.asarray((x @ np.asarray(vectors).T).argmax(axis=1))


def unit(x: FloatArray) -> FloatArray:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def by_plain(graph: Graph, given: FloatArray, labels: IntArray, picks: IntArray, classes: int) -> IntArray:
    known = Annotated(picks, labels[picks], np.full(len(picks), np.nan), [str(k) for k in range(classes)])
    return np.asarray(plain(graph, known, given).argmax(axis=1))


def by_unit(x: FloatArray, labels: IntArray, picks: IntArray) -> IntArray:
    if len(set(labels[picks])) < 2:
        return np.full(len(x), labels[picks][0])
    return np.asarray(LogisticRegression(C=10, max_iter=1000).fit(x[picks], labels[picks]).predict(x))


def accuracy(found: IntArray | FloatArray, gold: IntArray) -> float:
    """NaN where nothing was found."""
    return float("nan") if np.isnan(found).any() else float(np.mean(found == gold))


def pick(name: str, graph: Graph, budget: int, seed: int, x: FloatArray, labels: IntArray) -> IntArray:
    """(B,) rows; of `labels` only those of nodes picked in a first round are read."""
    rng = np.random.default_rng(seed)
    if name != "disagreement":
        return np.asarray(selector(name).select(graph, budget, rng))
    first = selector("stratified").select(graph, budget // 2, rng)
    model = LogisticRegression(C=10, max_iter=1000).fit(x[first], labels[first])
    more = selector(name).select(graph, budget - len(first), rng, probs=model.predict_proba(x), taken=first)
    return np.concatenate([first, more])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--budget", type=int, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--strategy", action="append", help="repeatable; default: all")
    args = parser.parse_args()
    graph, gold, said = read(args.data, args.budget)
    given, classes = graph.x, int(gold.max()) + 1
    graph = replace(graph, x=unit(given))
    even = unit(graph.propagated(2))
    print(f"{args.data.name}: {graph.size} nodes, {graph.classes} classes, budget {args.budget}, {args.seeds} seeds")
    heads = [cell for table in TABLES for cell in (table, "- random [95%]")]
    print("| strategy | " + " | ".join([*heads, "annotations right", "classes", "seconds"]) + " |")
    print("|---" * (len(heads) + 4) + "|")
    base: list[tuple[float, ...]] = []
    for name in ["random", *(n for n in args.strategy or names() if n != "random")]:
        rows: list[tuple[float, ...]] = []
        for seed in range(args.seeds):
            fresh = replace(graph)  # without what an earlier strategy computed
            began = time.perf_counter()
            picks = pick(name, fresh, args.budget, seed, even, gold if said is None else said)
            took = time.perf_counter() - began
            rest = np.setdiff1d(np.arange(graph.size), picks)
            found = [np.full(graph.size, np.nan)] * 2
            if said is not None:
                found = [by_plain(graph, given, said, picks, classes), by_unit(even, said, picks)]
            scores = [accuracy(f[rest], gold[rest]) for f in (*found, by_unit(even, gold, picks))]
            right = float("nan") if said is None else float(np.mean(said[picks] == gold[picks]))
            rows.append((*scores, right, len(set(gold[picks])), took))
        base = base or rows
        print(row(name, np.array(rows), np.array(base)), flush=True)


def row(name: str, rows: FloatArray, base: FloatArray) -> str:
    cells = [name]
    for k in range(len(TABLES)):
        known = np.isfinite(rows[:, k]).all()
        cells += [f"{rows[:, k].mean():.3f} +- {rows[:, k].std(ddof=1):.3f}" if known else ""]
        cells += [difference(rows[:, k] - base[:, k]) if known and name != "random" else ""]
    right, classes, seconds = rows[:, len(TABLES) :].mean(axis=0)
    return "| " + " | ".join([*cells, f"{right:.3f}" if np.isfinite(right) else "", f"{classes:.1f}", f"{seconds:.2f}"]) + " |"


def difference(values: FloatArray) -> str:
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.3f} [{values.mean() - half:+.3f}, {values.mean() + half:+.3f}]"


if __name__ == "__main__":
    main()
