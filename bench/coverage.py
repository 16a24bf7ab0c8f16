"""What does a taxonomy miss? Two checks of `annotation.coverage` against gold labels.

    python bench/coverage.py --data banking77.parquet --gold-column label
    python bench/coverage.py --data clinc150.parquet --gold-column label_coarse --rest banking travel oos --finer label

The first draws rows, takes their gold labels for open-ended ones and looks whether the interval of `missing_mass` holds the
true share of the labels not drawn. With `--rest` a taxonomy without these labels is played: their rows are the rest, and the
groups of `clusters_of_rest` are scored by the labels of the rows in them.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llmlabel import embedding
from llmlabel.annotation.truth.coverage import clusters_of_rest, missing_mass


def column(args: argparse.Namespace, name: str) -> NDArray[np.str_]:
    return np.array([str(v or "") for v in pq.read_table(args.data, columns=[name]).column(0).to_pylist()])


def top(counts: Counter[str]) -> str:
    return ", ".join(f"{c} {n}" for c, n in counts.most_common(2))


def seen_and_missing(args: argparse.Namespace, labels: NDArray[np.str_]) -> None:
    print("rows    coverage   estimate   true      length   labels   unseen   Chao1")
    for size in args.sizes:
        rng, found = np.random.default_rng((args.seed, size)), []
        for _ in range(args.resamples):
            drawn = rng.random(len(labels)).argsort()
            seen, rest = labels[drawn[:size]], labels[drawn[size:]]
            true = float((~np.isin(rest, np.unique(seen))).mean())
            m = missing_mass(seen.tolist())
            unseen = len(np.unique(labels)) - m.labels
            found.append((m.low <= true <= m.high, m.share, true, m.high - m.low, m.labels, unseen, m.unseen_labels))
        hit, share, true, length, seen_labels, unseen, chao = np.mean(found, axis=0)
        print(f"{size:5} {hit:10.3f} {share:10.3f} {true:6.3f} {length:10.3f} {seen_labels:8.1f} {unseen:8.1f} {chao:7.1f}")


def rest(args: argparse.Namespace, gold: NDArray[np.str_]) -> None:
    texts, rows = column(args, args.text_column), np.flatnonzero(np.isin(gold, args.rest))
    rng = np.random.default_rng(args.seed)
    rows = np.sort(rng.choice(rows, min(args.sample, len(rows)), replace=False))
    vectors = embedding.VectorCache().encode(embedding.connect(args.embedder, fit_on=texts.tolist()), texts[rows].tolist())
    fine = column(args, args.finer)[rows] if args.finer else gold[rows]
    groups = clusters_of_rest(vectors, min_size=args.min_size, seed=args.seed)
    inside, pure, pure_fine = [], 0, 0
    for group in groups:
        coarse, finer = Counter(gold[rows][group.rows]), Counter(fine[group.rows])
        pure, pure_fine = pure + coarse.most_common(1)[0][1], pure_fine + finer.most_common(1)[0][1]
        inside += group.rows
        print(f"{len(group.rows):5} cohesion {group.cohesion:.2f}  {top(coarse)}  {top(finer)}")
    named = [c for c in np.unique(fine) if np.isin(gold[rows][fine == c], args.rest).all() and c != "oos"]
    found = {Counter(fine[g.rows]).most_common(1)[0][0] for g in groups}
    print(f"{len(rows)} rows, {len(groups)} groups hold {len(inside) / len(rows):.2f} of them")
    print(f"purity {pure / max(1, len(inside)):.3f}, by {args.finer or args.gold_column} {pure_fine / max(1, len(inside)):.3f}")
    print(f"{len(found & set(named))} of {len(named)} labels lead a group; by label in a group: ", end="")
    print({str(c): round(float(np.isin(np.flatnonzero(gold[rows] == c), inside).mean()), 2) for c in args.rest})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--gold-column", default="label")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 100, 200, 400])
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--rest", nargs="+", default=[])
    parser.add_argument("--finer")
    parser.add_argument("--sample", type=int, default=2000)
    parser.add_argument("--min-size", type=int, default=10)
    parser.add_argument("--embedder", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    gold = column(args, args.gold_column)
    if args.rest:
        rest(args, gold)
    else:
        seen_and_missing(args, gold)


if __name__ == "__main__":
    main()
