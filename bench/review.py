"""How much a short queue for people brings: a weak student labels rows, `--n` of them get their true labels, and it learns again.

`found`: wrong labels among the rows shown. `settled`: wrong labels put right by carrying each answer to rows with the same text.
`accuracy`: of all labels after a student has learned from the answers (ten copies of each) and the surer half of the labels.
Orders: random; least sure first; by worth (least sure times copies); that with spread, as `llmlabel review export` does it.

    python bench/review.py --data banking77.parquet --label-column label
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression

from llmlabel.embedding import VectorCache, connect
from llmlabel.review.queue import order, worth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--taught", type=float, default=3.0, help="rows per label the student starts from")
    parser.add_argument("--copies", type=float, default=0.1, help="share of rows that stand there again, 2 to 30 times")
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--embedder", default="minilm")
    args = parser.parse_args()
    table = pl.read_parquet(args.data).select(args.text_column, args.label_column).drop_nulls().unique(maintain_order=True)
    cache = VectorCache(Path(gettempdir()) / "llmlabel-bench")
    results: dict[str, list[tuple[float, ...]]] = {}
    for seed in range(args.seeds):
        part = table.sample(min(args.rows, len(table)), shuffle=True, seed=seed)
        texts, gold = [str(t) for t in part[args.text_column]], part[args.label_column].cast(pl.String).to_numpy()
        vectors = cache.encode(connect(args.embedder, fit_on=texts, seed=seed), texts)
        for name, numbers in one(vectors, gold, args, seed).items():
            results.setdefault(name, []).append(numbers)
    print(f"{'order':18} {'found':>7} {'settled':>8} {'accuracy':>9}   (mean of {args.seeds} seeds; n = {args.n})")
    for name, rows in results.items():
        found, settled, accuracy = np.mean(rows, axis=0)
        print(f"{name:18} {found:7.1f} {settled:8.1f} {accuracy:9.4f}")


def one(vectors: np.ndarray, gold: np.ndarray, args: argparse.Namespace, seed: int) -> dict[str, tuple[float, ...]]:
    rng = np.random.default_rng(seed)
    copies = np.ones(len(gold), dtype=np.int64)
    again = rng.random(len(gold)) < args.copies
    copies[again] = rng.integers(2, 31, again.sum())
    taught = rng.permutation(len(gold))[: round(args.taught * len(set(gold)))]
    student = LogisticRegression(C=10, max_iter=300).fit(vectors[taught], gold[taught])
    probs = student.predict_proba(vectors)
    given, sure = student.classes_[probs.argmax(axis=1)], probs.max(axis=1)
    wrong = given != gold

    value = worth(sure, copies=copies)

    def spread() -> np.ndarray:
        candidates = np.array(order(value, 5 * args.n))
        return candidates[order(value[candidates], args.n, vectors[candidates])]

    orders: dict[str, Callable[[], np.ndarray]] = {
        "random": lambda: rng.permutation(len(gold))[: args.n],
        "least sure": lambda: np.array(order(1 - sure, args.n)),
        "worth": lambda: np.array(order(value, args.n)),
        "worth and spread": spread,
    }
    found = {"nobody looks": (0.0, 0.0, float(np.average(~wrong, weights=copies)))}
    for name, make in orders.items():
        rows = make()
        found[name] = (wrong[rows].sum(), (wrong * copies)[rows].sum(), learned(vectors, gold, given, sure, copies, rows))
    return found


def learned(
    vectors: np.ndarray, gold: np.ndarray, given: np.ndarray, sure: np.ndarray, copies: np.ndarray, rows: np.ndarray
) -> float:
    """Accuracy over all rows of a student that learned from the answers and from the surer half of the labels."""
    kept = np.setdiff1d(np.flatnonzero(sure >= np.median(sure)), rows)
    at, labels = np.r_[rows, kept], np.r_[gold[rows], given[kept]]
    weight = np.r_[np.full(len(rows), 10.0), np.ones(len(kept))]
    again = LogisticRegression(C=10, max_iter=300).fit(vectors[at], labels, sample_weight=weight)
    final = again.predict(vectors)
    final[rows] = gold[rows]
    return float(np.average(final == gold, weights=copies))


if __name__ == "__main__":
    main()
