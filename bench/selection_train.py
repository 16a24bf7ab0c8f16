"""Does the strategy whose answers fit the target best really train it best? Trainings of the target on each strategy's answers.

    python bench/selection_train.py --data FOLDER/lists.parquet --tests FOLDER/tests.parquet --model DIR --work DIR
        [--scores RUN/answers.parquet]

FOLDER is made by `bench/selection_build.py`. Every strategy gets the same number of right answers (`--rows`), settings and seeds,
and is tested greedily on the same prompts. Nothing is tuned. Every (strategy, seed) that is finished is kept in --work; called
again, only the others are trained, so two calls with different --strategies can share the work. With --scores, the answers of a
finished selection run, the order by each score is compared with that by accuracy: Kendall's tau, its interval from seeds (of each
strategy) and test prompts drawn anew, and the share of all orders that agree as well. Strategies in --aside are trained and left
out there: of a bare label the score has no meaning.

Settings, batch size and epochs are for a CPU; for a GPU: a larger --model, `--rows 1000 --epochs 3 --batch 16` (not run).
"""

from __future__ import annotations

import argparse
import gc
import random
import shutil
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from llmlabel.flows.steps.selection.pilot import learn_from
from numpy.typing import NDArray
from scipy.stats import kendalltau
from selection_build import right

from llmlabel.config import SelectConfig
from llmlabel.lists import RankedList, read_lists
from llmlabel.llm import connect
from llmlabel.runs import read_json, write_json
from llmlabel.selection import generate, sft
from llmlabel.selection.answers import Answer, Question
from llmlabel.selection.target import target_spec
from llmlabel.stats import wilson

FloatArray = NDArray[np.float64]
DRAWS = 2000
UNTRAINED = "untrained"


def verified(lists: Sequence[RankedList]) -> dict[str, list[tuple[Question, Answer]]]:
    """By strategy its right, whole answers, in the order of the lists."""
    found: dict[str, list[tuple[Question, Answer]]] = {}
    for one in lists:
        for name, text, ok, cut in zip(
            one.more["strategies"], one.completions, one.more["correct"], one.more["truncated"], strict=True
        ):
            if ok and not cut:
                pair = Question(one.id, one.prompt, one.more["gold"]), Answer(one.id, name, text, correct=True)
                found.setdefault(name, []).append(pair)
    return found


def tested(spec: str, tests: Sequence[Question], tokens: int, cache: Path) -> tuple[list[bool], float]:
    """Whether each greedy answer is right, and how many words the answers have."""
    client = connect(spec, options=SelectConfig(data="-", out=Path("-"), target="-", cache=cache))
    try:
        said = [one for (one,) in generate.own(tests, client, samples=1, temperature=0.0, max_tokens=tokens)]
    finally:
        client.close()
    return right(said, tests), float(np.mean([len(a.text.split()) for a in said]))


def one_run(name: str, seed: int, pairs: list[tuple[Question, Answer]], tests: list[Question], args: argparse.Namespace) -> None:
    file = args.work / f"{name}-{seed}.json"
    if file.exists():
        return
    if name == UNTRAINED:
        correct, words = tested(str(target_spec(args.model)), tests, args.tokens, args.work / "cache")
        write_json(file, {"correct": correct, "words": words})
        return
    chosen = random.Random(0).sample(pairs, args.rows)
    folder = args.work / f"{name}-{seed}"
    trained = learn_from(
        list(sft.rows(chosen)), folder, args.model, seed=seed, epochs=args.epochs, learning_rate=args.learning_rate,
        batch=args.batch,
    )  # fmt: skip
    gc.collect()  # trainers hold themselves
    losses = [line["loss"] for line in trained.history]
    told = {"steps": trained.steps, "seconds": trained.seconds, "losses": losses}
    correct, words = tested(f"embedded:{trained.model}", tests, args.tokens, args.work / "cache")
    write_json(file, told | {"correct": correct, "words": words})
    shutil.rmtree(folder)
    print(f"{name}, seed {seed}: {np.mean(correct):.1%}, {told['seconds']:.0f} s in {told['steps']} steps", flush=True)


def means(file: Path) -> dict[str, dict[str, float]]:
    """{score: {strategy: mean}} of a finished selection's answers."""
    rows = pq.read_table(file).to_pylist()
    found: dict[str, dict[str, float]] = {}
    for score in ("sppl", "ppl", "tokens"):
        for name in dict.fromkeys(row["strategy"] for row in rows):
            values = [row[score] for row in rows if row["strategy"] == name and row.get(score) is not None]
            if values:
                found.setdefault(score, {})[name] = float(np.mean(values))
    return found


def agreement(score: FloatArray, correct: FloatArray, seed: int) -> tuple[float, float, float, float]:
    """Kendall's tau of (S,) scores, lower is better, and accuracies; its interval; the share of all orders with as high a tau.

    Args: correct: (S, seeds, tests).
    """
    tau = _tau(score, correct.mean(axis=(1, 2)))
    rng = np.random.default_rng(seed)
    strategies, seeds, tests = correct.shape
    drawn = []
    for _ in range(DRAWS):
        some = correct[:, :, rng.integers(tests, size=tests)].mean(axis=2)
        drawn.append(_tau(score, np.take_along_axis(some, rng.integers(seeds, size=(strategies, seeds)), axis=1).mean(axis=1)))
    low, high = np.quantile(drawn, [0.025, 0.975])
    accuracy = correct.mean(axis=(1, 2))
    orders = [_tau(score[list(order)], accuracy) for order in permutations(range(strategies))] if strategies < 9 else []
    return tau, float(low), float(high), float(np.mean(np.array(orders) >= tau - 1e-9)) if orders else float("nan")


def _tau(score: FloatArray, accuracy: FloatArray) -> float:
    value = float(kendalltau(-score, accuracy).statistic)
    return 0.0 if np.isnan(value) else value


def report(args: argparse.Namespace, scores: Mapping[str, Mapping[str, float]]) -> None:
    runs = {
        name: [read_json(file) for seed in seeds if (file := args.work / f"{name}-{seed}.json").exists()]
        for name, seeds in {UNTRAINED: [0], **dict.fromkeys(args.strategies, args.seeds)}.items()
    }
    columns = " ".join(f"{s:>7}" for s in scores)
    print(f"\n{'':22} {columns}  accuracy  of each seed{'':12} words  loss first, last  seconds")
    for name, found in sorted(runs.items(), key=lambda item: -np.mean([f["correct"] for f in item[1]] or [0])):
        if found:
            print(line(name, found, scores))
    whole = [n for n, found in runs.items() if n not in (UNTRAINED, *args.aside) and len(found) == len(args.seeds)]
    for score in ("sppl", "ppl", "tokens"):
        known = [name for name in whole if name in scores.get(score, {})]
        if len(known) < 3:
            continue
        values = np.array([scores[score][name] for name in known])
        correct = np.array([[f["correct"] for f in runs[name]] for name in known], float)
        tau, low, high, p = agreement(values, correct, seed=0)
        accuracy = correct.mean(axis=(1, 2))
        taken, best = known[int(values.argmin())], known[int(accuracy.argmax())]
        verdict = "agrees" if low > 0 else "disagrees" if high < 0 else "too few strategies to tell"
        print(
            f"{score}: tau {tau:+.2f} [{low:+.2f}, {high:+.2f}], {p:.1%} of all orders agree as well, {len(known)} strategies: "
            f"{verdict}. Lowest: {taken} {accuracy[values.argmin()]:.1%}; best: {best} {accuracy.max():.1%}; "
            f"mean {accuracy.mean():.1%}"
        )
    if len(whole) > 1:
        by_seed = np.array([[np.mean(f["correct"]) for f in runs[name]] for name in whole])
        spread = by_seed.mean(axis=1).std(ddof=1)
        noise = np.sqrt(by_seed.var(axis=1, ddof=1).mean())
        print(f"standard deviation: between strategies {spread:.1%}, between seeds {noise:.1%}")


def line(name: str, found: Sequence[Mapping[str, object]], scores: Mapping[str, Mapping[str, float]]) -> str:
    told = " ".join(f"{scores[s][name]:7.3f}" if name in scores[s] else f"{'':7}" for s in scores)
    seeds = [float(np.mean(f["correct"])) for f in found]
    each = " ".join(f"{share:6.1%}" for share in seeds)
    words, seconds = (np.mean([float(f.get(key, 0)) for f in found]) for key in ("words", "seconds"))
    losses = [f["losses"] for f in found if "losses" in f]
    first, last = (np.mean([[x[0], np.mean(x[-3:])] for x in losses], axis=0)) if losses else (np.nan, np.nan)
    low, high = wilson(int(np.sum(found[0]["correct"])), len(found[0]["correct"])) if name == UNTRAINED else (0.0, 0.0)
    more = f" [{low:.1%}, {high:.1%}]" if name == UNTRAINED else ""
    return f"{name:22} {told}  {np.mean(seeds):8.1%}  {each:24}{words:6.1f}  {first:6.2f} {last:6.2f}  {seconds:8.0f}{more}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--tests", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", type=Path, required=True, help="finished trainings are kept here")
    parser.add_argument("--scores", type=Path)
    parser.add_argument("--strategies", nargs="+", help="default: all with at least --rows right answers")
    parser.add_argument("--aside", nargs="*", default=["label-only"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--tokens", type=int, default=96, help="longest answer to a test")
    parser.add_argument("--most-tests", type=int, default=150)
    parser.add_argument("--only-report", action="store_true")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    pairs = verified(read_lists(args.data))
    print("right answers:", ", ".join(f"{name} {len(found)}" for name, found in pairs.items()))
    args.strategies = args.strategies or [name for name, found in pairs.items() if len(found) >= args.rows]
    tests = [Question(one.id, one.prompt, one.more["gold"]) for one in read_lists(args.tests)][: args.most_tests]
    if not args.only_report:
        one_run(UNTRAINED, 0, [], tests, args)
        for seed in args.seeds:
            for name in args.strategies:
                one_run(name, seed, pairs[name], tests, args)
    report(args, means(args.scores) if args.scores else {})


if __name__ == "__main__":
    main()
