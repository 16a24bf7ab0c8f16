"""What a cascade saves against asking the strong model everything, at the same promise and at equal accuracy.

    python bench/cascade.py --data clinc150.parquet --train 600 3000
    python bench/cascade.py --data newsgroups20.parquet --train 400 2500
    python bench/cascade.py --data cfpb_llm_annotators.parquet --cost 3 30

Cheap and strong: logistic regressions on MiniLM vectors of few and of many rows, confidence the highest probability. Or, on
a set with annotators, three cheap LLMs whose confidence is the share of equal votes, and a strong one whose confidence is
its agreement with those three. Per random split: plan on `--rows` gold rows, measured on the rest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmlabel.annotation.deferral.cascade import Stage, plan, route
from llmlabel.annotation.deferral.threshold import choose_threshold
from llmlabel.embedding import VectorCache, connect

Answers = list[tuple[NDArray[np.float64], NDArray[np.bool_]]]  # per stage: confidence, right
CHEAP, STRONG = ("gpt_4o_mini", "claude_3_5_haiku", "gemini-2.0-flash-lite"), "claude-3-7-sonnet"


def from_annotators(data: pl.DataFrame) -> Answers:
    names = data["annotators"][0].to_list()
    votes, gold = np.array(data["annotations"].to_list()), data["label"].to_numpy()
    cheap, strong = votes[:, [names.index(name) for name in CHEAP]], votes[:, names.index(STRONG)]
    agree = (cheap[:, :, None] == cheap[:, None, :]).mean(axis=2)
    chosen = cheap[np.arange(len(cheap)), agree.argmax(axis=1)]
    return [(agree.max(axis=1), chosen == gold), (((cheap == strong[:, None]).sum(axis=1) + 1) / 4, strong == gold)]


def from_vectors(data: pl.DataFrame, args: argparse.Namespace) -> Answers:
    from sklearn.linear_model import LogisticRegression

    vectors = VectorCache(args.cache).encode(connect("minilm"), data["text"].fill_null("").to_list())
    gold = np.unique(data["label"].to_numpy(), return_inverse=True)[1]
    drawn = np.random.default_rng(args.seed).permutation(len(data))
    answers, rest = [], drawn[max(args.train) :]
    for rows in args.train:
        model = LogisticRegression(C=10, max_iter=300).fit(vectors[drawn[:rows]], gold[drawn[:rows]])
        probs = model.predict_proba(vectors[rest])
        answers.append((probs.max(axis=1), model.classes_[probs.argmax(axis=1)] == gold[rest]))
    return answers


def one_split(answers: Answers, alpha: float, args: argparse.Namespace, rng: np.random.Generator) -> list[float]:
    drawn = rng.permutation(len(answers[0][0]))
    gold, test = drawn[: args.rows], drawn[args.rows :]
    stages = [Stage(str(k), c[gold], r[gold], cost) for k, ((c, r), cost) in enumerate(zip(answers, args.cost, strict=True))]
    found = plan(stages, alpha=alpha, delta=args.delta)
    right = np.stack([r[test] for _, r in answers])
    stage = route([c[test] for c, _ in answers], found.thresholds)
    decided, rows = stage >= 0, np.arange(len(test))
    cost = np.cumsum(args.cost)[stage].mean()
    alone = choose_threshold(answers[-1][0][gold], answers[-1][1][gold], alpha=alpha, delta=args.delta)
    accepted = alone.accepts(answers[-1][0][test])
    error = 1 - right[stage, rows][decided].mean() if decided.any() else 0.0
    saving = 1 - cost / args.cost[-1]
    return [
        error > alpha, decided.mean(), (stage == 0).mean(), accepted.mean(), saving,
        found.saving_interval[0] <= saving <= found.saving_interval[1], right[stage, rows].mean(), right[-1].mean(),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=400, help="gold rows")
    parser.add_argument("--train", type=int, nargs=2, default=[600, 3000])
    parser.add_argument("--sample", type=int, default=8000)
    parser.add_argument("--cost", type=float, nargs=2, default=[1.0, 10.0], help="per row, of the cheap and the strong stage")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--alpha", type=float, nargs="+", default=[0.05, 0.1, 0.2])
    parser.add_argument("--delta", type=float, default=0.1)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/llmlabel-bench"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data = pl.read_parquet(args.data)
    data = data.sample(min(args.sample, len(data)), seed=args.seed, shuffle=True)
    answers = from_annotators(data) if "annotations" in data.columns else from_vectors(data, args)
    cheap, strong = (right.mean() for _, right in answers)
    print(f"{args.data.stem}: cheap {cheap:.3f}, strong {strong:.3f} right; costs {args.cost}, seed {args.seed}")
    print("alpha   broken  decided  by cheap  strong alone  saving  in interval  right, all decided: cascade, strong")
    for alpha in args.alpha:
        rng = np.random.default_rng(args.seed)
        means = np.mean([one_split(answers, alpha, args, rng) for _ in range(args.splits)], axis=0)
        broken, decided, cheap, alone, saving, inside, right, strong = means
        print(
            f"{alpha:<7} {broken:.3f}   {decided:.3f}    {cheap:.3f}     {alone:.3f}         {saving:+.3f}  {inside:.3f}        "
            f"{right:.3f}, {strong:.3f}"
        )


if __name__ == "__main__":
    main()
