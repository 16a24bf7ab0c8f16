"""Which learner to train on a few annotated nodes of a graph, with which loss and weights? All annotations are kept.

    python bench/graph_training.py --data graph/citeseer_text --budget 120
    python bench/graph_training.py --data graph/cora_text --budget 140 --simulate 0.68   # no annotations: made from gold labels

Random nodes, accuracy on all others: mean +- standard deviation over seeds, paired difference to `plain` (features as they are
read) with a 95% t interval. `plain on unit rows` is the same on features of length 1. Then seconds for one training; expected
calibration error on nodes not annotated, as the learner is (raw) and at the temperature that `calibrated` sets to the estimated
accuracy; that estimate less the truth, its standard deviation, and how many intervals hold the truth. Only learners named by
--estimate, which trains six times, get these last columns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import graph_data
import numpy as np
import pyarrow.parquet as pq
from scipy import stats

from llmlabel.annotation.calibration.fitting import ece
from llmlabel.errors import ConfigError
from llmlabel.graph.accuracy import estimate
from llmlabel.graph.calibration import calibrated, out_of_fold
from llmlabel.graph.correct_and_smooth import correct_and_smooth
from llmlabel.graph.features import unit
from llmlabel.graph.gnns import gnn, names
from llmlabel.graph.graph import Annotated, FloatArray, Graph, IntArray, adjacency
from llmlabel.graph.losses import confidence_weights
from llmlabel.graph.plain import plain
from llmlabel.graph.reliability import reliability

Fit = Callable[[Graph, Annotated, int], FloatArray]


def simulated(folder: Path, accuracy: float) -> tuple[Graph, IntArray, Annotated]:
    """Wrong labels by class: each class has its own accuracy and leaks most to one other class, whatever the text says."""
    nodes, edges = pq.read_table(folder / "nodes.parquet"), pq.read_table(folder / "edges.parquet")
    place = {i: n for n, i in enumerate(nodes["id"].to_pylist())}
    both = adjacency(len(place), *(np.array([place[i] for i in edges[name].to_pylist()]) for name in ("source", "target")))
    gold = np.unique(nodes["label"].to_pylist(), return_inverse=True)[1]
    classes, rng = int(gold.max()) + 1, np.random.default_rng(7)
    noise = np.zeros((classes, classes))
    for k in range(classes):
        right, others = np.clip(rng.normal(accuracy, 0.15), 0.25, 0.97), rng.permutation([j for j in range(classes) if j != k])
        noise[k, others] = 0.4 * (1 - right) / (classes - 1)
        noise[k, others[0]] += 0.6 * (1 - right)
        noise[k, k] = right
    said = np.array([rng.choice(classes, p=noise[k] / noise[k].sum()) for k in gold])
    graph = Graph(both, graph_data.features(folder, nodes), classes, np.ones(len(gold), bool))
    return graph, gold, Annotated(np.arange(len(gold)), said, np.full(len(gold), np.nan), [str(k) for k in range(classes)])


def learned(
    name: str, loss: str, weigh: Callable[[Graph, Annotated, int], FloatArray], graph: Graph, known: Annotated, seed: int
) -> FloatArray:
    return gnn(name, loss)(graph, known.nodes, known.one_hot, weigh(graph, known, seed), seed=seed)


def even(graph: Graph, known: Annotated, seed: int) -> FloatArray:
    return np.ones(len(known.nodes))


def stated(graph: Graph, known: Annotated, seed: int) -> FloatArray:
    return confidence_weights(known.confidence)


def reliable(graph: Graph, known: Annotated, seed: int) -> FloatArray:
    return reliability(graph, known, seed=seed)


def both(graph: Graph, known: Annotated, seed: int) -> FloatArray:
    return stated(graph, known, seed) * reliable(graph, known, seed)


def spread(graph: Graph, known: Annotated, seed: int, correct: float) -> FloatArray:
    probs = gnn("sgc")(graph, known.nodes, known.one_hot, even(graph, known, seed), seed=seed)
    return correct_and_smooth(graph, probs, known.nodes, known.one_hot, correct=correct)


def softened(graph: Graph, known: Annotated, seed: int) -> FloatArray:
    """Half the annotation, half what the learner says of the node out of fold."""
    w = even(graph, known, seed)
    found = out_of_fold(graph, known.nodes, known.one_hot, w, gnn("sgc"), seed=seed)
    return gnn("sgc")(graph, known.nodes, (known.one_hot + found) / 2, w, seed=seed)


def methods(raw: FloatArray, chosen: list[str]) -> Iterator[tuple[str, Fit]]:
    yield "plain", lambda graph, known, seed: plain(graph, known, raw)
    yield "plain on unit rows", lambda graph, known, seed: plain(graph, known)
    weighings = {"": even, "stated": stated, "reliability": reliable, "stated x reliability": both}
    for name in chosen:
        for loss in ("self-training", "ce", "gce", "sce", "forward", "unbalanced"):
            try:
                gnn(name, loss)
            except ConfigError:
                continue
            for title, weigh in (
                weighings.items() if (name, loss) in (("sgc", "self-training"), ("gcn", "ce")) else {"": even}.items()
            ):
                yield " ".join(filter(None, [name, loss, title])), partial(learned, name, loss, weigh)
    if "sgc" in chosen:
        yield "sgc, correct and smooth", partial(spread, correct=0.8)
        yield "sgc, smooth", partial(spread, correct=0.0)
        yield "sgc, half out-of-fold answers", softened


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--budget", type=int, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--gnn", action="append", choices=names())
    parser.add_argument("--estimate", action="append", default=[], help="a row's name, such as 'sgc self-training'")
    parser.add_argument("--simulate", type=float, metavar="ACCURACY")
    args = parser.parse_args()
    read = simulated(args.data, args.simulate) if args.simulate else graph_data.read(args.data, args.budget)
    graph, gold, every = replace(read[0], x=unit(read[0].x)), read[1], read[2]
    print(f"{args.data.name}, {args.budget} nodes, {args.seeds} seeds from {args.first_seed}\n")
    print(
        "| learner, loss, weights | accuracy | - plain [95%] | s | ECE raw | ECE | estimate - truth | intervals |\n|" + "---|" * 8
    )
    base: list[float] = []
    for name, fit in methods(read[0].x, args.gnn or names()):
        rows = np.array([measure(graph, gold, every, args, fit, seed, name in args.estimate)
                         for seed in range(args.first_seed, args.first_seed + args.seeds)])  # fmt: skip
        base = base or rows[:, 0].tolist()
        print(line(name, rows, np.array(base)), flush=True)


def measure(
    graph: Graph, gold: IntArray, every: Annotated, args: argparse.Namespace, fit: Fit, seed: int, estimated: bool
) -> list[float]:
    labelled = np.flatnonzero(every.labels >= 0)
    known = every.some(np.isin(every.nodes, np.random.default_rng(seed).choice(labelled, args.budget, replace=False)))
    rest = np.setdiff1d(every.nodes, known.nodes)
    started = time.perf_counter()
    probs = fit(graph, known, seed)[rest]
    seconds = time.perf_counter() - started
    right = probs.argmax(axis=1) == gold[rest]
    found = [float(right.mean()), seconds, ece(probs.max(axis=1), right)]
    if not estimated:
        return [*found, np.nan, np.nan, np.nan]

    def again(g: Graph, nodes: IntArray, targets: FloatArray, weights: FloatArray, *, seed: int) -> FloatArray:
        place = np.searchsorted(known.nodes, nodes)
        return fit(g, Annotated(nodes, known.labels[place], known.confidence[place], known.classes), seed)

    guess = estimate(graph, known, again, seed=seed)
    return [*found, ece(calibrated(probs, guess.value).max(axis=1), right), guess.value - right.mean(),
            guess.low <= right.mean() <= guess.high]  # fmt: skip


def line(name: str, rows: FloatArray, base: FloatArray) -> str:
    gain, n = rows[:, 0] - base, len(rows)
    half = stats.t.ppf(0.975, n - 1) * gain.std(ddof=1) / np.sqrt(n)
    cells = [name, f"{rows[:, 0].mean():.3f} +- {rows[:, 0].std(ddof=1):.3f}"]
    cells += [
        f"{gain.mean():+.3f} [{gain.mean() - half:+.3f}, {gain.mean() + half:+.3f}]",
        f"{rows[:, 1].mean():.2f}",
        f"{rows[:, 2].mean():.3f}",
    ]
    if np.isfinite(rows[0, 4]):
        cells += [
            f"{rows[:, 3].mean():.3f}",
            f"{rows[:, 4].mean():+.3f} +- {rows[:, 4].std(ddof=1):.3f}",
            f"{rows[:, 5].sum():.0f} of {n}",
        ]
    return "| " + " | ".join(cells) + " |" + "  |" * (8 - len(cells))


if __name__ == "__main__":
    main()
