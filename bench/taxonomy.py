"""Induce a taxonomy and score it against gold labels, beside k-means that is told the true number of classes.

    python bench/taxonomy.py --data clinc150.parquet --gold label_coarse --per-class 24 --seeds 0 1 2 \
        --use-case "what the user's request to the assistant is about" --model embedded

`--server URL` attaches `--model` to an OpenAI-compatible server. The gold column is used for sampling and scores only.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from llmlabel.config import TaxonomyConfig
from llmlabel.data import read_examples
from llmlabel.llm import Models
from llmlabel.records import Example
from llmlabel.taxonomy.induce import induce_taxonomy, setting_of
from llmlabel.taxonomy.scores import against_gold, kmeans_baseline

SHOWN = ("nmi", "ami", "ari", "accuracy", "k_found", "k_gold")


def per_class(examples: list[Example], size: int, seed: int, drop: set[str]) -> list[Example]:
    """`size` examples of every gold label, drawn with the seed, in input order."""
    draw, kept = Random(seed), set()
    for label in sorted({str(e.gold) for e in examples if e.gold} - drop):
        rows = [e.id for e in examples if e.gold == label and e.text.strip()]
        kept |= set(draw.sample(rows, min(size, len(rows))))
    return [e for e in examples if e.id in kept]


def one(args: argparse.Namespace, examples: list[Example], seed: int) -> dict[str, dict[str, Any]]:
    llm = f"{args.model}@{args.server}" if args.server else args.model
    config = TaxonomyConfig(
        data=args.data, out=Path("unused"), use_case=args.use_case, llm=llm, seed=seed, method=args.method, cache=args.cache
    )
    rows = per_class(examples, args.per_class, seed, set(args.drop))
    gold = [str(e.gold) for e in rows]
    with Models(config) as models:
        setting = setting_of(config, models, rows)
        found = induce_taxonomy(rows, setting, config)
        vectors = setting.encode([e.text for e in rows])
        scores = {
            "llmlabel": against_gold([found.assignment.get(e.id) for e in rows], gold),
            "kmeans": kmeans_baseline(vectors, gold, seed),
        }
    counts = Counter(found.assignment.values())
    print(f"\nseed {seed}: {found.method}, {found.why}")
    for label in found.taxonomy.labels:
        print(f"  {counts[label.id]:4}  {label.name}: {label.description}")
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text", default="text")
    parser.add_argument("--gold", required=True)
    parser.add_argument("--drop", nargs="*", default=["oos"], help="gold labels to leave out")
    parser.add_argument("--per-class", type=int, default=24)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--server", default="")
    parser.add_argument("--method", default="cluster")
    parser.add_argument("--cache", type=Path, default=None)
    args = parser.parse_args()
    examples = read_examples(args.data, text_column=args.text, gold_column=args.gold)
    runs = [one(args, examples, seed) for seed in args.seeds]
    print("\n" + " ".join(f"{name:>9}" for name in ("", "seed", *SHOWN)))
    for who in ("llmlabel", "kmeans"):
        for seed, scores in zip(args.seeds, runs, strict=True):
            print(" ".join(f"{v!s:>9}" for v in (who, seed, *(scores[who][k] for k in SHOWN))))
        means = (round(float(np.mean([s[who][k] for s in runs])), 3) for k in SHOWN)
        print(" ".join(f"{v!s:>9}" for v in (who, "mean", *means)))


if __name__ == "__main__":
    main()
