"""Does `back_off` answer better than the most probable leaf, and than a rule with a threshold?

    python bench/backoff.py --data clinc150.parquet --rows 3 5 10
    python bench/backoff.py --data newsgroups20.parquet --rows 5 20 --dots

A student learns from a few rows of every leaf (`--gold-column`); with `--hide`, of some leaves none. The tree has two levels
(`--parent-column` above), or with `--dots` those that dots in the leaves' names make. Probabilities go through one temperature
learned on `--gold` rows. The rules answer with the leaf where its probability reaches t, else with its parent where the
parent's does, else with the leaf; or else with the likeliest top label; t of least mean squared distance on the gold rows.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llmlabel import embedding
from llmlabel.annotation.backoff import back_off, distances
from llmlabel.annotation.consensus.ballots import best_temperature, sharpened
from llmlabel.records import Label, Taxonomy
from llmlabel.students.logistic_regression import LogisticRegressionStudent

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
THRESHOLDS = np.arange(1, 20) / 20


def plain(name: str) -> str:
    return name.replace(" ", "_")


def read(args: argparse.Namespace) -> tuple[Floats, list[str], Taxonomy]:
    """Vectors (N, D), leaves, and the tree."""
    table = pq.read_table(args.data, columns=[args.text_column, args.gold_column, args.parent_column]).to_pylist()
    rows, kept, count = np.random.default_rng(0).permutation(len(table)), [], Counter[str]()
    for row in (table[k] for k in rows):
        count[row[args.gold_column]] += 1
        if row[args.gold_column] not in (None, "oos") and count[row[args.gold_column]] <= args.per_leaf:
            kept.append(row)
    above: dict[str, str | None] = {}
    for row in kept:
        parts = row[args.gold_column].split(".")
        inner = [".".join(parts[:k]) + ".*" for k in range(len(parts) - 1, 0, -1)]
        path = [row[args.gold_column], *(inner if args.dots else [f"{row[args.parent_column]}.*"])]
        above |= dict(zip(map(plain, path), [*map(plain, path[1:]), None], strict=True))
    tree = Taxonomy(labels=[Label(id=i, name=i, parent=above[i]) for i in sorted(above)])
    texts = [row[args.text_column] or "" for row in kept]
    vectors = embedding.VectorCache().encode(embedding.connect(args.embedder, fit_on=texts), texts)
    return vectors.astype(np.float64), [plain(row[args.gold_column]) for row in kept], tree


class Trial:
    """One student, its calibrated probabilities on gold and test rows, and what every way of answering is worth."""

    def __init__(self, vectors: Floats, leaf: list[str], tree: Taxonomy, rows: int, args: argparse.Namespace, seed: int) -> None:
        self.tree, self.names = tree, [label.id for label in tree.labels]
        self.index = {n: k for k, n in enumerate(self.names)}
        self.cost = distances(tree)[:-1, :-1] ** 2
        self.above = np.array([[a in tree.path(n) for a in self.names] for n in self.names])
        self.leaves = np.isin(self.names, [x.id for x in tree.leaves])
        truth = np.array([self.index[x] for x in leaf])
        rng = np.random.default_rng((seed, rows))
        self.hidden = self._hide(rng, args.hide)
        order = rng.permutation(len(truth))
        self.seen = np.setdiff1d(np.flatnonzero(self.leaves), self.hidden)
        train = np.concatenate([order[truth[order] == c][:rows] for c in self.seen])
        rest = rng.permutation(np.setdiff1d(order, train))
        self.gold, self.test = truth[rest[: args.gold]], truth[rest[args.gold : args.gold + args.test]]
        student = LogisticRegressionStudent()
        student.fit(vectors[train], np.searchsorted(self.seen, truth[train]), len(self.seen), seed)
        raw = student.predict_proba(vectors[rest[: args.gold + args.test]])
        known = np.isin(self.gold, self.seen)
        heat = best_temperature(raw[: args.gold][known], np.searchsorted(self.seen, self.gold[known]))
        soft = sharpened(raw, heat)
        self.gold_probs, self.test_probs = soft[: args.gold], soft[args.gold :]

    def _hide(self, rng: np.random.Generator, share: float) -> Ints:
        """Leaves without training rows; of every parent at least one keeps its own."""
        taken: list[int] = []
        for k in rng.permutation(np.flatnonzero(self.leaves)):
            siblings = [self.index[s.id] for s in self.tree.labels if s.parent == self.tree[self.names[k]].parent]
            if len(taken) < round(share * self.leaves.sum()) and len(set(siblings) - set(taken)) > 1:
                taken.append(int(k))
        return np.array(taken, dtype=np.int64)

    def rule(self, probs: Floats, t: float, top: bool) -> Ints:
        mass = probs @ self.above[self.seen]
        leaf = self.seen[probs.argmax(axis=1)]
        roots = np.array([self.index[r.id] for r in self.tree.roots])
        if top:
            return np.where(probs.max(axis=1) >= t, leaf, roots[mass[:, roots].argmax(axis=1)])
        parent = np.array([self.index[self.tree[n].parent or n] for n in self.names])[leaf]
        return np.where((probs.max(axis=1) < t) & (mass[np.arange(len(leaf)), parent] >= t), parent, leaf)

    def tuned(self, top: bool) -> Ints:
        best = min(THRESHOLDS, key=lambda t: float(self.cost[self.rule(self.gold_probs, t, top), self.gold].mean()))
        return self.rule(self.test_probs, float(best), top)

    def measured(self) -> dict[str, Floats]:
        classes = [self.names[c] for c in self.seen]
        answers = {
            "top leaf": self.seen[self.test_probs.argmax(axis=1)],
            "back_off": np.array([self.index[x] for x in back_off(self.test_probs, classes, self.tree)[0]]),
            "rule, else leaf": self.tuned(top=False),
            "rule, else top": self.tuned(top=True),
        }
        return {name: self._row(answer) for name, answer in answers.items()}

    def _row(self, answer: Ints) -> Floats:
        cost, fits, new = self.cost[answer, self.test], self.above[self.test, answer], np.isin(self.test, self.hidden)
        never = [fits[new].mean(), (answer == self.test)[new].mean()] if new.any() else [np.nan, np.nan]
        return np.array([cost.mean(), fits.mean(), self.leaves[answer].mean(), (answer == self.test).mean(), *never])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--gold-column", default="label")
    parser.add_argument("--parent-column", default="label_coarse")
    parser.add_argument("--dots", action="store_true")
    parser.add_argument("--rows", type=int, nargs="+", default=[3, 5, 10])
    parser.add_argument("--hide", type=float, default=0.0, help="share of leaves without training rows")
    parser.add_argument("--gold", type=int, default=200)
    parser.add_argument("--test", type=int, default=3000)
    parser.add_argument("--per-leaf", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--embedder", default="auto")
    args = parser.parse_args()
    vectors, leaf, tree = read(args)
    print(
        "mean squared distance (less back_off's); shares: true or above it, leaves, true leaf; of the never trained: above, leaf"
    )
    for rows in args.rows:
        found = [Trial(vectors, leaf, tree, rows, args, seed).measured() for seed in range(args.seeds)]
        for name in found[0]:
            values = np.array([f[name] for f in found])
            gap = values[:, 0] - np.array([f["back_off"][0] for f in found])
            error = gap.std(ddof=1) / np.sqrt(len(gap))
            m = values.mean(axis=0)
            cells = " ".join(f"{v:9.3f}" for v in m[1:])
            print(f"{rows:4}  {name:16} {m[0]:7.3f} ({gap.mean():+.3f} +- {error:.3f}) {cells}", flush=True)


if __name__ == "__main__":
    main()
