"""How often does the drift check of `run daily` raise a false alarm, and how much drift does it see?

    python bench/drift.py --data clinc150.parquet --gold-column label_coarse
    python bench/drift.py --data newsgroups20.parquet --new 100 300 1000

Labels are gold, disturbed: `--wrong` of them at random are the label of another text near by. Every round draws a reference and
new rows anew. Without drift both come from the same rows. With drift: `domain`: texts of labels the reference has none of are a
tenth of the new rows, and fit no label; `forced`: the same, but the labeller gives them the label of the nearest reference text;
`shift`: the largest label is three times as frequent (of a file with many labels, a third of the labels); `words`: a third
of the words of half the texts are replaced by words of another file's texts.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llmlabel import embedding
from llmlabel.annotation.drift.check import Drift, check
from llmlabel.annotation.drift.sample import NONE, Side

KINDS = ("none", "domain", "forced", "shift", "words")
Ints = NDArray[np.int64]


def side(rows: Ints, labels: Ints, asked: float, rng: np.random.Generator) -> Side:
    """`rows`: places of vectors, which stand for the texts."""
    sure, places = np.clip(0.7 + 0.2 * rng.standard_normal(len(rows)), 0, 1), [str(i) for i in rows]
    return Side(places, places, labels, rng.random(len(rows)) < asked, sure, np.zeros(len(rows), dtype=bool))


def disturbed(labels: Ints, share: float, classes: int, rng: np.random.Generator) -> Ints:
    wrong = rng.random(len(labels)) < share
    return np.where(wrong, rng.integers(1, classes, len(labels)), labels)


def one_round(
    kind: str, gold: Ints, vectors: NDArray[np.float32], args: argparse.Namespace, size: int, rng: np.random.Generator
) -> Drift:
    """`gold`: (N,) classes from 1 on. `vectors`: (2 N, D): of the texts, then of the same texts with other words."""
    classes = int(gold.max()) + 1
    labels = disturbed(gold, args.wrong, classes, rng)
    order = rng.permutation(len(gold))
    if kind in ("domain", "forced"):
        gone = np.isin(gold, 1 + rng.permutation(classes - 1)[: max(1, (classes - 1) // 10)])
        strange, order = order[gone[order]], order[~gone[order]]
        few = min(len(strange), size // 10)
    before, now = order[: args.reference], order[args.reference : args.reference + size]
    new_labels = labels[now]
    if kind in ("domain", "forced"):
        now = np.concatenate([now[: size - few], strange[:few]])
        nearest = labels[before[(vectors[strange[:few]] @ vectors[before].T).argmax(axis=1)]]
        new_labels = np.concatenate([labels[now[: size - few]], np.full(few, NONE) if kind == "domain" else nearest])
    if kind == "shift":
        rest = order[args.reference :]
        often = np.isin(gold, 1 + rng.permutation(classes - 1)[: max(1, (classes - 1) // 30)])
        weight = np.where(often[rest], 3.0, 1.0)
        now = rest[rng.choice(len(rest), size, replace=False, p=weight / weight.sum())]
        new_labels = labels[now]
    if kind == "words":
        now = now + len(gold) * (rng.random(size) < 0.5)
    names = ["-", *(str(k) for k in range(1, classes))]
    told = side(before, labels[before], args.asked, rng), side(now, new_labels, args.asked, rng)
    return check(names, *told, lambda rows: vectors[[int(i) for i in rows]], seed=int(rng.integers(1 << 30)))


def other_words(texts: list[str], share: float, rng: np.random.Generator) -> list[str]:
    """Some of the words of each text stand in another form: letters swapped, as in another spelling."""
    swap = str.maketrans("aeioustrn", "eoiuastnr")
    return [" ".join(w.translate(swap) if rng.random() < share else w for w in t.split()) for t in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--gold-column", default="label")
    parser.add_argument("--reference", type=int, default=3000)
    parser.add_argument("--new", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--wrong", type=float, default=0.1)
    parser.add_argument("--asked", type=float, default=1.0, help="share of the rows that a model labelled, and no classifier")
    parser.add_argument("--embedder", default="auto")
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    table = pq.read_table(args.data, columns=["text", args.gold_column])
    rng = np.random.default_rng(args.seed)
    rows = [(t, g) for t, g in zip(*(table.column(k).to_pylist() for k in range(2)), strict=True) if t and t.strip() and g]
    rows = [rows[i] for i in rng.permutation(len(rows))[: 3 * args.reference + max(args.new)]]
    texts = [t for t, _ in rows]
    gold = np.unique([g for _, g in rows], return_inverse=True)[1].astype(np.int64) + 1
    embedder, store = embedding.connect(args.embedder, fit_on=texts), embedding.VectorCache()
    vectors = store.encode(embedder, texts)
    odd = store.encode(embedder, other_words(texts, 1 / 3, rng)) if "words" in args.kinds else vectors
    vectors = np.vstack([vectors, odd])
    print(f"{len(rows)} texts, {gold.max()} labels; {args.reference} reference rows, {args.rounds} rounds")
    print("kind       new    act  watch   labels none_fits  texts student confid.  s/round")
    for kind in args.kinds:
        for size in args.new:
            start = time.monotonic()
            found = [one_round(kind, gold, vectors, args, size, rng) for _ in range(args.rounds)]
            each = (time.monotonic() - start) / args.rounds
            act, watch = (np.mean([d.verdict == v for d in found]) for v in ("act", "watch"))
            hits = "  ".join(f"{np.mean([d.found['p'][q] <= 0.05 for d in found]):6.2f}" for q in found[0].found["p"])
            print(f"{kind:8} {size:5} {act:6.2f} {watch:6.2f}  {hits}  {each:6.2f}", flush=True)


if __name__ == "__main__":
    main()
