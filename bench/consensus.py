"""Bring several annotators together and calibrate, beside single models and plain majority.

    python bench/consensus.py --data cfpb_llm_annotators.parquet                 # every method, 20 random draws of 100 gold rows
    python bench/consensus.py --data cfpb_llm_annotators.parquet --rows 1000000  # time: rows drawn again, five annotators
    python bench/consensus.py --data multipico.parquet --split                   # gold from part of a row's annotators

Columns: `annotators` and `annotations` (parallel lists), `label` (gold). Accuracy and calibration are of rows without gold.
`stated` is what the run would say of itself, cross-fitted on its gold rows.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np
import polars as pl

from llmlabel.annotation.calibration import fitting as calibration
from llmlabel.annotation.consensus import together as consensus
from llmlabel.annotation.consensus.agreement import alpha
from llmlabel.annotation.consensus.dependence import effective_number, shared_errors


def load(path: str, split: bool, seed: int) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """(N, A) votes, (N,) gold, classes, names. With `split`, gold is the majority of an odd part of a row's annotators."""
    data = pl.read_parquet(path).filter(pl.col("label").is_not_null())
    names = sorted({name for row in data["annotators"] for name in row})
    classes = sorted(set(data["label"]))
    who, what = {n: i for i, n in enumerate(names)}, {c: i for i, c in enumerate(classes)}
    rng, votes, gold = np.random.default_rng(seed), [], []
    for annotators, said, label in data.select("annotators", "annotations", "label").iter_rows():
        row, order, judges = np.full(len(names), -1), rng.permutation(len(said)), 0
        if split:
            judges = (len(said) - len(said) // 2 - 1) | 1
            if len(said) < 5:
                continue
            label = Counter(said[i] for i in order[:judges]).most_common(1)[0][0]
        for i in order[judges:]:
            row[who[annotators[i]]] = what.get(said[i], -1)
        votes.append(row)
        gold.append(what[label])
    return np.array(votes), np.array(gold), classes, names


def quality(probs: np.ndarray, gold: np.ndarray) -> tuple[float, float]:
    right = probs.argmax(axis=1) == gold
    return float(right.mean()), calibration.ece(probs.max(axis=1), right)


def one(votes: np.ndarray, gold: np.ndarray, classes: list[str], rows: np.ndarray, method: str, seed: int) -> tuple[float, ...]:
    """Accuracy and ECE on the other rows, and as stated from the gold rows."""
    known = np.full(len(gold), -1)
    known[rows] = gold[rows]
    fused = consensus.cross_fitted(votes, classes, gold=known, method=method, seed=seed)
    probs, _ = calibration.cross_fitted(fused.probs, known, seed=seed)
    rest = known < 0
    return *quality(probs[rest], gold[rest]), *quality(probs[rows], gold[rows])


def compare(args: argparse.Namespace) -> None:
    votes, gold, classes, names = load(args.data, args.split, args.seed)
    print(f"{len(votes)} rows, {len(names)} annotators, {len(classes)} classes, alpha {alpha(votes, len(classes)):.3f}")
    if len(names) <= 20:
        for a, name in enumerate(names):
            print(f"  {name:24} {np.mean(votes[:, a] == gold):.3f}")
        print(f"effective number of independent annotators: {effective_number(votes, len(classes), gold):.1f} of {len(names)}")
        for pair in shared_errors(votes, len(classes), names=names):
            print(f"  {pair.sentence}")
    draws = [np.random.default_rng(args.seed + s).permutation(len(votes))[: args.gold] for s in range(args.draws)]
    found: dict[str, list[tuple[float, ...]]] = {}
    if len(names) <= 20:
        found["best on the gold rows"] = [best_single(votes, gold, rows) for rows in draws]
    for method in ("auto", *(m for m in consensus.METHODS if m != "crowdlab")):
        found[method] = [one(votes, gold, classes, rows, method, s) for s, rows in enumerate(draws)]
    blind = consensus.fuse(votes, classes)
    print(f"without gold: {blind.method} {np.mean(blind.labels == gold):.3f}, ", end="")
    print(f"majority {np.mean(consensus.fuse(votes, classes, method='majority').labels == gold):.3f}")
    print(f"\n{args.gold} gold rows, mean of {args.draws} draws")
    print(f"{'':24}{'accuracy':>10}{'sd':>7}{'ece':>7}{'stated accuracy':>17}{'stated ece':>12}")
    for method, values in found.items():
        mean, spread = np.mean(values, axis=0), np.std(values, axis=0)
        rest = "".join(f"{v:>{w}.3f}" for v, w in zip(mean[1:], (7, 17, 12), strict=False))
        print(f"{method:24}{mean[0]:>10.4f}{spread[0]:>7.3f}{rest}")


def best_single(votes: np.ndarray, gold: np.ndarray, rows: np.ndarray) -> tuple[float, ...]:
    rest = np.setdiff1d(np.arange(len(gold)), rows)
    best = int((votes[rows] == gold[rows, None]).mean(axis=0).argmax())
    return (float((votes[rest, best] == gold[rest]).mean()),)


def timed(args: argparse.Namespace) -> None:
    votes, gold, classes, _ = load(args.data, args.split, args.seed)
    rng = np.random.default_rng(args.seed)
    rows = rng.integers(0, len(votes), args.rows)
    few = votes[rows][:, : args.annotators]
    known = np.full(args.rows, -1)
    chosen = rng.choice(args.rows, args.gold, replace=False)
    known[chosen] = gold[rows][chosen]
    start, cpu = time.perf_counter(), time.process_time()
    fused = consensus.cross_fitted(few, classes, gold=known, seed=args.seed)
    middle = time.perf_counter()
    probs, fitted = calibration.cross_fitted(fused.probs, known, seed=args.seed)
    end = time.perf_counter()
    print(f"{args.rows} rows, {few.shape[1]} annotators, {args.gold} gold rows: {fused.method}, {fitted.kind}")
    print(f"consensus {middle - start:.1f} s, calibration {end - middle:.1f} s, CPU {time.process_time() - cpu:.1f} s")
    print(f"accuracy {np.mean(probs.argmax(axis=1) == gold[rows]):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--gold", type=int, default=100, help="gold rows drawn")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--split", action="store_true", help="gold is the majority of a part of each row's annotators")
    parser.add_argument("--rows", type=int, default=0, help="time this many rows, drawn with replacement")
    parser.add_argument("--annotators", type=int, default=5, help="annotators taken for --rows")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.rows:
        timed(args)
    else:
        compare(args)


if __name__ == "__main__":
    main()
