"""Which annotations are wrong, and does it pay to drop them or to weigh them less?

    python bench/graph_filters.py --data graph/citeseer_text --budget 120
    python bench/graph_filters.py --data graph/cora --budget 140 --learner balanced

Nodes at random, their recorded annotations. First table: how well scores tell right from wrong annotations. Second: accuracy on
all other nodes, mean +- standard deviation over seeds; difference to no filter, paired by seed, with a 95% t interval; how many
of the dropped were wrong. `random`: as many dropped by chance; `oracle`: the wrong ones go first. Learners on features after two
steps of GCN propagation: `plain`, scikit-learn's logistic regression as it comes (the baseline of graph runs); `unit`, rows of
unit length and C = 10; `balanced`, that with classes weighing the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import graph_data
import numpy as np
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.model_selection import KFold
from sklearn.preprocessing import normalize

from llmlabel.graph.filters import _dropping, filter, names
from llmlabel.graph.graph import Annotated, BoolArray, FloatArray, Graph, IntArray
from llmlabel.graph.reliability import CLUSTERS_PER_CLASS, reliability
from llmlabel.graph.selectors._clusters import kmeans

SHARES = (0.1, 0.2, 0.3)


class Learner:
    def __init__(self, graph: Graph, name: str) -> None:
        self.x = graph.propagated(2) if name == "plain" else normalize(graph.propagated(2))
        self.strength, self.balance = (1.0 if name == "plain" else 10.0), ("balanced" if name == "balanced" else None)

    def probs(self, known: Annotated, rows: IntArray, weight: FloatArray | None = None) -> FloatArray:
        model = LogisticRegression(max_iter=1000, C=self.strength, class_weight=self.balance)
        found = np.zeros((len(rows), len(known.classes)))
        model.fit(self.x[known.nodes], known.labels, weight if weight is None else weight / weight.mean())
        found[:, model.classes_] = model.predict_proba(self.x[rows])
        return found

    def out_of_fold(self, known: Annotated, seed: int) -> FloatArray:
        """(n,) probability of each node's own label by a model that did not see it."""
        found = np.zeros(len(known.nodes))
        for train, test in KFold(10, shuffle=True, random_state=seed).split(found):
            inside = np.isin(np.arange(len(found)), train)
            found[test] = self.probs(known.some(inside), known.nodes[test])[np.arange(len(test)), known.labels[test]]
        return found


def blended(a: FloatArray, b: FloatArray) -> FloatArray:
    """Mean on the logit scale."""
    a, b = (np.clip(p, 0.02, 0.98) for p in (a, b))
    return np.asarray(1 / (1 + np.exp(-(np.log(a / (1 - a)) + np.log(b / (1 - b))) / 2)))


def oracle_cells(graph: Graph, every: Annotated, gold: IntArray) -> FloatArray:
    """(N,) share of right annotations in a node's (feature cluster, class) cell, over the whole graph."""
    x = normalize(graph.propagated(2))
    cell = (
        kmeans(x, CLUSTERS_PER_CLASS * len(every.classes), np.random.default_rng(0))[0] * (len(every.classes) + 1) + every.labels
    )
    right = np.bincount(cell, weights=every.labels == gold)
    return np.asarray(right / np.maximum(np.bincount(cell), 1))[cell]


def line(name: str, values: list[float], base: list[float], wrong: list[float], dropped: float) -> str:
    gain = np.array(values) - np.array(base)
    half = stats.t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
    spread, mean = f"{np.mean(values):.3f} +- {np.std(values, ddof=1):.3f}", gain.mean()
    bad = f"{np.mean(wrong):.2f}" if wrong else ""
    return f"| {name} | {dropped or ''} | {spread} | {mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}] | {bad} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--budget", type=int, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--learner", choices=["plain", "unit", "balanced"], default="plain")
    args = parser.parse_args()
    graph, gold, every = graph_data.read(args.data, args.budget)
    learner, labelled = Learner(graph, args.learner), np.flatnonzero(every.labels >= 0)
    other, best = Learner(graph, "unit"), oracle_cells(graph, every, gold)
    told: dict[str, list[tuple[float, float, float]]] = {}
    accuracy: dict[tuple[str, float], list[float]] = {}
    wrong: dict[tuple[str, float], list[float]] = {}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        rng = np.random.default_rng(seed)
        known = every.some(np.isin(every.nodes, rng.choice(labelled, args.budget, replace=False)))
        right, rest = known.labels == gold[known.nodes], np.setdiff1d(every.nodes, known.nodes)
        scores = {"reliability": reliability(graph, known, seed=seed), "out-of-fold": other.out_of_fold(known, seed)}
        scores["reliability and out-of-fold"] = blended(*scores.values())
        if not np.isnan(known.confidence).any():
            scores["stated"] = known.confidence
            scores["reliability and stated"] = blended(scores["reliability"], known.confidence)
        for name, score in (scores | {"oracle cells": best[known.nodes]}).items():
            alike = np.corrcoef(score, best[known.nodes])[0, 1]
            told.setdefault(name, []).append((roc_auc_score(right, score), alike, brier_score_loss(right, score)))
        told.setdefault("always the same", []).append((0.5, np.nan, float(right.mean() * (1 - right.mean()))))

        def measure(
            key: tuple[str, float], keep: BoolArray | None = None, weight: FloatArray | None = None,
            known: Annotated = known, rest: IntArray = rest, right: BoolArray = right,
        ) -> None:  # fmt: skip
            stay = np.ones(len(right), bool) if keep is None else keep
            probs = learner.probs(known.some(stay), rest, None if weight is None else weight[stay])
            accuracy.setdefault(key, []).append(float(np.mean(probs.argmax(axis=1) == gold[rest])))
            if not stay.all():
                wrong.setdefault(key, []).append(float(np.mean(~right[~stay])))

        measure(("none", 0.0))
        for name in [n for n in scores if "and" not in n]:
            measure((f"weights: {name}", 0.0), weight=scores[name])
        for share in SHARES:
            measure(("random", share), _dropping.lowest(rng.random(len(right)), known, share))
            for name in names():
                stay = filter(name).keep(graph, known, share)
                measure((name, share), stay)
                measure((f"{name}, rest weighted", share), stay, scores["reliability"])
            measure(("oracle", share), _dropping.lowest(right + rng.random(len(right)) / 2, known, share))
        measure(("only the right ones", 0.0), right)
    print(f"{args.data.name}, {args.budget} nodes, {args.seeds} seeds from {args.first_seed}, learner {args.learner}\n")
    print("| score | AUROC | correlation with the oracle cells | Brier |\n|---|---|---|---|")
    for name, found in told.items():
        a = np.array(found)
        print(f"| {name} | {a[:, 0].mean():.3f} +- {a[:, 0].std(ddof=1):.3f} | {a[:, 1].mean():.2f} | {a[:, 2].mean():.3f} |")
    print("\n| filter | share | accuracy | - none [95%] | wrong among the dropped |\n|---|---|---|---|---|")
    for key in sorted(accuracy, key=lambda k: (k[1], list(accuracy).index(k))):
        print(line(key[0], accuracy[key], accuracy["none", 0.0], wrong.get(key, []), key[1]))


if __name__ == "__main__":
    main()
