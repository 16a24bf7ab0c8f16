"""Do the intervals of `label_shares` hold the true shares, and how long are they beside those from gold rows alone?

    python bench/shares.py --data clinc150.parquet --gold-column label_coarse --train 200 --skew 0.03
    python bench/shares.py --data cfpb_llm_annotators.parquet --gold-column label --annotator majority

The predictions are of one annotator of the file (or the majority of all), or of logistic regression on sentence vectors that
learns from `--train` rows, which are left out after. Gold rows are drawn anew for every resample; truth is the share in the
whole file. `--skew S` thins the classes geometrically, down to the share S of the rarest, so that there are rare ones.
`--unequal` draws gold rows where the student is unsure, five times as often, and tells `label_shares`.
"""

from __future__ import annotations

import argparse

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llmlabel import embedding
from llmlabel.annotation.truth.shares import label_shares
from llmlabel.students.logistic_regression import LogisticRegressionStudent

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def of_annotator(args: argparse.Namespace, classes: list[str]) -> Floats:
    """(N, L) 0/1 labels of one annotator, or the share of annotators for every class."""
    table = pq.read_table(args.data, columns=["annotators", "annotations"]).to_pydict()
    code = {c: k for k, c in enumerate(classes)}
    votes = np.array([[code.get(a, -1) for a in row] for row in table["annotations"]])
    if args.annotator != "majority":
        votes = votes[:, [table["annotators"][0].index(args.annotator)]]
    counts = (votes[:, :, None] == np.arange(len(classes))).sum(axis=1)
    return np.asarray(counts, float) if votes.shape[1] == 1 else np.eye(len(classes))[counts.argmax(axis=1)]


def of_student(args: argparse.Namespace, gold: Ints, classes: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """(N, L) probabilities, and the rows it did not learn from."""
    texts = [t or "" for t in pq.read_table(args.data, columns=[args.text_column]).column(0).to_pylist()]
    vectors = embedding.VectorCache().encode(embedding.connect(args.embedder, fit_on=texts), texts)
    train = rng.choice(len(gold), args.train, replace=False)
    student = LogisticRegressionStudent()
    student.fit(vectors[train], gold[train], classes, args.seed)
    return student.predict_proba(vectors), np.setdiff1d(np.arange(len(gold)), train)


def skewed(gold: Ints, rows: Ints, rarest: float, rng: np.random.Generator) -> Ints:
    share = np.geomspace(1, rarest, int(gold.max()) + 1)
    parts = [(k, rows[gold[rows] == k]) for k in range(len(share))]
    return np.sort(np.concatenate([rng.choice(r, max(5, round(share[k] * len(r))), replace=False) for k, r in parts]))


def inclusion_of(predicted: Floats, size: int, unequal: bool) -> Floats:
    if not unequal:
        return np.full(len(predicted), size / len(predicted))
    weight = np.where(predicted.max(axis=1) < np.median(predicted.max(axis=1)), 5.0, 1.0)
    return np.minimum(size * weight / weight.sum(), 1.0)


def measure(args: argparse.Namespace, predicted: Floats, gold: Ints, classes: list[str], size: int) -> None:
    truth = np.bincount(gold, minlength=len(classes)) / len(gold)
    rng = np.random.default_rng((args.seed, size))
    inclusion = inclusion_of(predicted, size, args.unequal)
    hits, gold_hits, lengths = [], [], []
    for _ in range(args.resamples):
        rows = rng.choice(len(gold), size, replace=False)
        if args.unequal:
            rows = np.flatnonzero(rng.random(len(gold)) < inclusion)
        known = np.full(len(gold), -1)
        known[rows] = gold[rows]
        found = label_shares(classes, predicted, known, inclusion=inclusion if args.unequal else None)
        low, high, c_low, c_high = np.array([(s.low, s.high, s.classical_low, s.classical_high) for s in found]).T
        hits.append((low <= truth) & (truth <= high))
        gold_hits.append((c_low <= truth) & (truth <= c_high))
        lengths.append((high - low, c_high - c_low))
    each, (mine, classical) = np.mean(hits, axis=0), np.mean(lengths, axis=(0, 2))
    print(
        f"{size:9} {np.mean(hits):9.3f} {each.min():11.3f} {np.mean(gold_hits):10.3f} {mine:8.3f} {classical:10.3f} "
        f"{mine / classical:7.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--gold-column", default="label")
    parser.add_argument("--annotator")
    parser.add_argument("--train", type=int, default=200)
    parser.add_argument("--hard", action="store_true", help="labels and not probabilities")
    parser.add_argument("--embedder", default="auto")
    parser.add_argument("--skew", type=float)
    parser.add_argument("--unequal", action="store_true")
    parser.add_argument("--gold-rows", type=int, nargs="+", default=[50, 100, 200, 500])
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    names, gold = np.unique(pq.read_table(args.data, columns=[args.gold_column]).column(0).to_pylist(), return_inverse=True)
    if args.annotator:
        predicted, rows = of_annotator(args, names.tolist()), np.arange(len(gold))
    else:
        predicted, rows = of_student(args, gold, len(names), rng)
    rows = skewed(gold, rows, args.skew, rng) if args.skew else rows
    predicted, gold = predicted[rows], gold[rows]
    if args.hard:
        predicted = np.eye(len(names))[predicted.argmax(axis=1)]
    truth = np.bincount(gold, minlength=len(names)) / len(gold)
    print(f"{len(gold)} rows, {len(names)} classes with shares {truth.min():.4f} to {truth.max():.3f}")
    naive = np.abs(predicted.mean(axis=0) - truth)
    right = (predicted.argmax(axis=1) == gold).mean()
    print(f"accuracy {right:.3f}; naive shares are off by {naive.mean():.3f}, at most {naive.max():.3f}")
    print("gold rows  coverage  worst class  gold-only    length  gold-only   ratio")
    for size in args.gold_rows:
        measure(args, predicted, gold, names.tolist(), size)


if __name__ == "__main__":
    main()
