"""Conformal label sets: are the true sets kept as often as promised, how many sets are left, and how long does it take?

    python bench/label_sets.py --data goemotions.parquet

Marginals: one-vs-rest logistic regression on MiniLM vectors of `--train` rows. The rest is split `--splits` times into
`--rows` calibration rows and test rows. Timing: simulated marginals, 10,000 rows by 62 labels.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmlabel.annotation.deferral.label_sets import LabelSets, certainty
from llmlabel.annotation.deferral.threshold import choose_threshold
from llmlabel.embedding import VectorCache, connect

NAMES = (
    "true set kept", "sets left, median", "sets left, mean (cap 1000)", "capped", "no set left", "exactly one set",
    "right where one set", "best set right, all rows", "labels in the union", "labels in the core",
    "accepted by a threshold", "right where accepted",
)  # fmt: skip


def mean_known(rows: list[list[float]]) -> NDArray[np.float64]:
    """Column means; splits without such a row are left out."""
    table = np.ma.masked_invalid(np.array(rows, dtype=float))
    return np.ma.filled(table.mean(axis=0), np.nan)


def marginals(args: argparse.Namespace) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of the rows that were not trained on: (N, L) probabilities and true sets."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import MultiLabelBinarizer

    data = pl.read_parquet(args.data).sample(args.train + args.rest, seed=args.seed, shuffle=True)
    truth = MultiLabelBinarizer().fit_transform(data[args.column].to_list())
    vectors = VectorCache(args.cache).encode(connect("minilm"), data["text"].to_list())
    model = OneVsRestClassifier(LogisticRegression(C=3, max_iter=300)).fit(vectors[: args.train], truth[: args.train])
    return model.predict_proba(vectors[args.train :]), truth[args.train :].astype(bool)


def one_split(
    probs: NDArray[np.float64], truth: NDArray[np.bool_], r: float, args: argparse.Namespace, rng: np.random.Generator
) -> list[float]:
    drawn = rng.permutation(len(probs))
    fit, test = drawn[: args.rows], drawn[args.rows :]
    found = LabelSets.fit(probs[fit], truth[fit], args.epsilon, r)
    kept = found.p_value(probs[test], truth[test]) > args.epsilon
    answer = found.predict(probs[test])
    alone = answer.single
    right = (answer.best == truth[test]).all(axis=1)
    some = answer.count > 0
    all_right = (probs[fit] >= 0.5) == truth[fit]
    accepted = choose_threshold(certainty(probs[fit]), all_right.all(axis=1), alpha=args.alpha).accepts(certainty(probs[test]))
    return [
        kept.mean(),
        np.median(answer.count),
        answer.count.mean(),
        answer.capped.mean(),
        (~some).mean(),
        alone.mean(),
        right[alone].mean() if alone.any() else np.nan,
        right.mean(),
        answer.union[some].sum(axis=1).mean(),
        answer.core[some].sum(axis=1).mean(),
        accepted.mean(),
        right[accepted].mean() if accepted.any() else np.nan,
    ]


def timing(rng: np.random.Generator) -> None:
    for name, beta in (("sparse", (0.02, 0.6)), ("sure", (0.05, 0.75)), ("vague", (2.0, 30.0))):
        probs = rng.beta(*beta, (10_500, 62))
        truth = rng.random(probs.shape) < probs
        found = LabelSets.fit(probs[:500], truth[:500], 0.1)
        start = time.perf_counter()
        answer = found.predict(probs[500:])
        print(
            f"10,000 x 62, {name}: {time.perf_counter() - start:.2f} s; sets left {answer.count.mean():.0f} (mean), "
            f"capped at 1000 {answer.capped.mean():.2f}, one set {answer.single.mean():.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--column", default="labels", help="`labels_coarse` has 7 groups")
    parser.add_argument("--train", type=int, default=3000)
    parser.add_argument("--rest", type=int, default=4000)
    parser.add_argument("--rows", type=int, default=500, help="calibration rows")
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--epsilon", type=float, default=0.1)
    parser.add_argument("--alpha", type=float, default=0.2, help="errors allowed by the threshold on certainty, delta .1")
    parser.add_argument("--r", type=float, nargs="+", default=[1.0, 2.0, 4.0, 8.0])
    parser.add_argument("--cache", type=Path, default=Path("/tmp/llmlabel-bench"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    probs, truth = marginals(args)
    print(f"{args.data.stem}, {args.column}: {truth.shape[1]} labels, {args.rows} calibration rows, {args.splits} splits")
    print(f"epsilon {args.epsilon}, alpha {args.alpha}, seed {args.seed}\n{'r':<30}" + "".join(f"{r:8g}" for r in args.r))
    columns = []
    for r in args.r:
        rng = np.random.default_rng(args.seed)
        columns.append(mean_known([one_split(probs, truth, r, args, rng) for _ in range(args.splits)]))
    for name, values in zip(NAMES, np.transpose(columns), strict=True):
        print(f"{name:<30}" + "".join(f"{value:8.3f}" for value in values))
    timing(np.random.default_rng(args.seed))


if __name__ == "__main__":
    main()
