"""Several labels per text, by a model and by vectors: F1 and whether the label sets hold what they promise.

    python bench/multi_label.py --data goemotions.parquet --gold labels --rows 600 --model NAME --server http://127.0.0.1:8000/v1

The rows are asked once (answers are kept in --cache). Then, --resplits times, half of them are gold, to learn marginals from and
to calibrate the sets; on the other half micro and macro F1 are counted, and how often the true set is among those offered.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from llmlabel import embedding
from llmlabel.annotation import How, ask, multi, settle
from llmlabel.annotation.annotators import classify, few_shot, nearest, shortlist
from llmlabel.annotation.deferral.label_sets import LabelSets
from llmlabel.annotation.panel import Column, Panel, classes_of, read_gold
from llmlabel.data import read_examples
from llmlabel.llm import connect
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example, Label, Taxonomy, slug


def columns(args: argparse.Namespace, examples: list[Example], tree: Taxonomy, pool: list[Example]) -> list[Column]:
    """The model's answers, and those of the nearest of `pool`, which are rows of their own."""
    embedder, cache = embedding.connect(args.embedder, fit_on=[e.text for e in examples]), embedding.VectorCache(args.cache)
    encode = lambda texts: cache.encode(embedder, list(texts))  # noqa: E731
    how = How(use_case=args.use_case, multi=True, encode=encode, gold=pool)
    found = [Column("nearest", "nearest", _by_id(nearest.annotate(examples, tree, None, None, how)))]
    if args.model:
        client = connect(f"{args.model}@{args.server}", cache=args.cache)
        done = [0]

        def count(n: int) -> None:
            done[0] += n
            print(f"\r{done[0]} of {len(examples)} asked", end="", flush=True)

        asked = How(use_case=args.use_case, multi=True, encode=encode, few_shot=args.few_shot, gold=pool, on_done=count)
        if args.few_shot:
            asked = How(**{**asked.__dict__, "shots": few_shot.nearest_shots(examples, asked)})
        way = shortlist.annotate if len(tree.leaves) > classify.MOST_LABELS else ask
        rows = settle(way(examples, tree, client, PromptLibrary(), asked), tree, multi=True)
        print("\r", end="")
        failed = sum(row.status.failed for row in rows)
        print(f"{args.model}: {len(rows)} rows asked, {failed} without a usable answer")
        found.append(Column(args.model, "classify", _by_id(rows)))
        client.close()
    return found


def _by_id(rows: list) -> dict:
    return {row.id: row for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--gold", default="labels")
    parser.add_argument("--use-case", default="which emotions the writer of the comment shows")
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--pool", type=int, default=2000, help="gold rows that neighbours and solved examples come from")
    parser.add_argument("--few-shot", type=int, default=0)
    parser.add_argument("--model")
    parser.add_argument("--server", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--embedder", default="auto")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--resplits", type=int, default=100)
    parser.add_argument("--epsilon", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    full = [e for e in read_examples(args.data, text_column="text", gold_column=args.gold) if e.text.strip()]
    rows = np.random.default_rng(args.seed).permutation(len(full))[: args.rows + args.pool]
    examples, pool = [full[i] for i in rows[: args.rows]], [full[i] for i in rows[args.rows :]]
    names = sorted({name for e in full for name in e.golds})
    tree = Taxonomy(use_case=args.use_case, labels=[Label(id=slug(n), name=n) for n in names])
    ids = {n: slug(n) for n in names}
    pool = [Example(e.id, e.text, "|".join(ids[n] for n in e.golds) or "-") for e in pool]
    asked = columns(args, examples, tree, pool)
    gold = read_gold(examples, tree)
    print(f"{args.rows} rows, {len(names)} labels, {args.resplits} resplits, half of the rows gold")
    print(f"{'':24} micro F1  macro F1  exact  sets hold the true one  labels in the union")
    for some in [[c] for c in asked] + ([asked] if len(asked) > 1 else []):
        panel = Panel([e.id for e in examples], classes_of(tree), some)
        found = np.array([resplit(panel, gold.many(panel), args, seed) for seed in range(args.resplits)])
        micro, macro, exact, covered, union = found.mean(axis=0)
        name = " + ".join(c.name for c in some)
        print(f"{name:24} {micro:8.3f}  {macro:8.3f}  {exact:5.3f}  {covered:10.3f} ({found[:, 3].std():.3f})  {union:15.1f}")


def resplit(panel: Panel, gold: np.ndarray, args: argparse.Namespace, seed: int) -> tuple[float, ...]:
    order = np.random.default_rng(1000 + seed).permutation(len(gold))
    learn, test = order[: len(gold) // 2], order[len(gold) // 2 :]
    known = np.full_like(gold, -1)
    known[learn] = gold[learn]
    made = multi.fuse(panel.said, panel.marginals, known, seed)
    sets = LabelSets.fit(made.probs[learn, :-1], gold[learn, :-1] == 1, args.epsilon)
    truth = gold[test, :-1] == 1
    inside = sets.p_value(made.probs[test, :-1], truth) > args.epsilon
    told = multi.scores(made.chosen[test, :-1], truth)
    union = sets.predict(made.probs[test, :-1], cap=2).union.sum(axis=1).mean()
    return told["micro_f1"], told["macro_f1"], told["accuracy"], float(inside.mean()), float(union)


if __name__ == "__main__":
    main()
