"""Scores and verdicts of finished selections, what the order by one score has to do with that by another, and what looks save.

    llmlabel run select --responses alpaca_eval_verbosity.parquet --target DIR --n 100 --set looks=[] --score all --out RUN
    llmlabel run select --responses gsm8k_model_solutions.parquet --gold-column reference --target DIR ... --out RUN
    llmlabel run select --responses FOLDER/lists.parquet --gold-column gold --verify label ... --out RUN   (selection_build.py)
    python bench/selection.py RUN [RUN ...] [--orders 20]

Runs are made with `looks=[]`, so that every strategy has a score for every prompt; the looks are replayed here on random orders
of the prompts. `saved`: of the responses, the share never scored; `same choice`: the strategy taken is the one taken with all
scores. `longer is likelier`: of two answers to one prompt, how often the one with more tokens has the lower score (50%: length
does not matter). Lengths are in the target's tokens.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau
from selection_simulated import from_run, outcome, shuffled

from llmlabel.runs import read_json
from llmlabel.selection.answers import Table
from llmlabel.selection.decide import Decision, decide
from llmlabel.selection.elimination import MARGIN, NATS, losses
from llmlabel.stats import wilson


def ranking(found: Decision, table: Table) -> None:
    """One line per strategy, the best first."""
    print(f"  {'':22} rank     mean  95 % interval        gap   p (Holm)   n  tokens  right  kept out by")
    for row in found.rows:
        s = table.strategies.index(row.strategy)
        right = table.correct[s][~np.isnan(table.correct[s])]
        share = f"{right.mean():6.1%}" if len(right) else f"{'-':>6}"
        interval = "[{:.3f}, {:.3f}]".format(*row.interval) if row.interval else ""
        print(
            f"  {row.strategy:22} {row.rank or '-':>4} {number(row.mean, '8.3f')}  {interval:16} {number(row.gap, '+8.3f')} "
            f"{number(row.p_holm, '10.2g')} {row.n:4} {np.nanmean(table.tokens[s]):7.1f} {share}"
            f"  {', '.join(gate.gate for gate in row.checked.failed)}"
        )  # fmt: skip


def number(value: float | None, form: str) -> str:
    return format(value, form) if value is not None else f"{'-':>{form.lstrip('+').split('.')[0]}}"


def longer_is_likelier(table: Table, score: str) -> float:
    loss, wins = losses(table, score), []
    for a, b in combinations(range(len(table.strategies)), 2):
        longer, lower = table.tokens[a] - table.tokens[b], loss[b] - loss[a]
        known = ~np.isnan(longer + lower) & (longer != 0)
        wins += list(longer[known] * lower[known] > 0)
    return float(np.mean(wins)) if wins else float("nan")


def alike(table: Table, first: str, second: str) -> str:
    """Kendall's tau of the strategies' means by two scores."""
    a, b = (np.nanmean(losses(table, name), axis=1) for name in (first, second))
    known = ~np.isnan(a + b)
    return f"{first} and {second}: tau {kendalltau(a[known], b[known]).statistic:+.2f} of {known.sum()} strategies"


def replay(table: Table, score: str, orders: int, seed: int) -> None:
    rng, means = np.random.default_rng(seed), np.nanmean(losses(table, score), axis=1)
    margin = MARGIN if score in NATS else 0.0
    found = [outcome(shuffled(table, rng), score, means, margin=margin, drop_at=2.5) for _ in range(orders)]
    saved, same = np.array([one.saved for one in found]), sum(one.same for one in found)
    low, high = wilson(same, orders)
    print(
        f"  looks: saved {saved.mean():.1%} ({saved.min():.0%} to {saved.max():.0%}) of the responses; same choice in {same} of "
        f"{orders} orders [{low:.0%}, {high:.0%}]"
    )


def show(run: Path, scores: list[str], orders: int, seed: int) -> None:
    table, metrics = from_run(run / "answers.parquet"), read_json(run / "metrics.json")
    config = read_json(run / "run.json")["definition"]
    print(f"\n{run.name}: {len(table.ids)} prompts, target {Path(config['target']).name}, {metrics['exemplars']['why']}")
    if not table.asked.all():
        print("  some strategies were dropped early there: run it with looks=[]")
    present = [name for name in scores if name in table.scores and not np.isnan(table.scores[name]).all()]
    for score in present:
        found = decide(table, score=score, seed=seed)
        print(f"\n  by {score}: {found.verdict}, {found.strategy}{f' (for {found.chosen_for})' if found.chosen_for else ''}")
        ranking(found, table)
        print(f"  longer is likelier: {longer_is_likelier(table, score):.0%} of pairs")
        replay(table, score, orders, seed)
    for other in present[1:]:
        print(f"  {alike(table, present[0], other)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--scores", nargs="+", default=["sppl", "ppl", "ifd"])
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for run in args.runs:
        show(run, args.scores, args.orders, args.seed)


if __name__ == "__main__":
    main()
