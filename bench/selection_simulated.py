"""What early looks save, and what they cost: does dropping strategies change which one is taken?

    python bench/selection_simulated.py                       # simulated tables
    python bench/selection_simulated.py --gate                # how often the correctness gate errs
    python bench/selection_simulated.py --responses RUN/answers.parquet [--score sppl] [--orders 200]

Simulated: six strategies on 100 prompts, loss = what the prompt costs any strategy + the strategy's mean + noise, in nats per
token. `spread`: standard deviation of the strategies' means; `sd`: of the difference of two strategies' losses on one prompt.
Prices are drawn from 0.2 to 5 US dollars for 1,000 answers. Nothing here is tuned to any data set.

With --responses: a finished selection (run with `looks: []`, so that every strategy has all its answers), its prompts in many
random orders. metrics.json next to the file gives prices and diversity.

    saved         of the responses all strategies would have had, the share never scored
    same choice   the strategy taken is the one taken with all answers of all strategies
    best lost     the strategy with the best mean (simulated: the true one) was dropped
    cost          how much worse the taken one is than that taken with all answers, mean, in the score's unit (true means where
                  simulated)
    margin 0      drops for gaps below 0.05 nats per token too, which a decision calls a tie; 0.05 is the default
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llmlabel.runs import read_json
from llmlabel.selection.answers import OWN, Table
from llmlabel.selection.decide import decide
from llmlabel.selection.elimination import NATS, Elimination, losses
from llmlabel.selection.gates import gates
from llmlabel.stats import wilson

FloatArray = NDArray[np.float64]
LOOKS = (10, 20, 40, 60, 80, 100)
SCORES = ("sppl", "ppl", "ifd", "cosine")


@dataclass
class Outcome:
    saved: float
    same: bool
    lost: bool
    cost: float


def race(table: Table, score: str, *, margin: float, drop_at: float) -> Elimination:
    """All looks on a table that is full already."""
    run = Elimination(table.strategies, n=len(table.ids), wanted=LOOKS, score=score, drop_at=drop_at, margin=margin)
    for upto in run.stages:
        run.look(table, upto)
    while run.finish(table):
        pass
    return run


def outcome(table: Table, score: str, means: FloatArray, *, margin: float, drop_at: float) -> Outcome:
    """Args: means: (S,) what each strategy's loss is taken to be really."""
    run = race(table, score, margin=margin, drop_at=drop_at)
    early, full = decide(table, score=score, elimination=run), decide(table, score=score)
    taken = [means[table.strategies.index(d.strategy)] if d.strategy else np.nan for d in (early, full)]
    passed = [s for s, name in enumerate(table.strategies) if name in full.passed]
    best = table.strategies[min(passed, key=lambda s: means[s])] if passed else ""
    return Outcome(run.saved_share, early.strategy == full.strategy, best in run.dropped, taken[0] - taken[1])


def simulated(
    rng: np.random.Generator, spread: float, sd: float, strategies: int = 6, prompts: int = 100
) -> tuple[Table, FloatArray]:
    table = Table.empty([f"s{i}" for i in range(strategies)], [f"{j:03}" for j in range(prompts)])
    means = rng.normal(1.0, spread, strategies)
    noise = rng.normal(0, sd / np.sqrt(2), (strategies, prompts))
    table.scores["sppl"][:] = means[:, None] + rng.gamma(2.0, 0.2, prompts) + noise
    table.tokens[:] = rng.integers(40, 200, (strategies, prompts))
    table.asked[:] = True
    table.cost[:] = np.exp(rng.uniform(np.log(0.2), np.log(5), strategies))
    return table, means


def from_run(file: Path) -> Table:
    rows = [row for row in pq.read_table(file).to_pylist() if row["strategy"] != OWN]
    names, ids = (list(dict.fromkeys(row[key] for row in rows)) for key in ("strategy", "id"))
    table = Table.empty(names, ids, [s for s in SCORES if any(row.get(s) is not None for row in rows)])
    at = {one: i for i, one in enumerate(ids)}
    for row in rows:
        s, j = names.index(row["strategy"]), at[row["id"]]
        table.asked[s, j] = True
        for values, key in [(getattr(table, k), k) for k in ("correct", "truncated", "leaks", "tokens", "length_ratio")]:
            values[s, j] = np.nan if row.get(key) is None else float(row[key])
        for name, values in table.scores.items():
            values[s, j] = np.nan if row.get(name) is None else row[name]
    if (metrics := file.with_name("metrics.json")).exists():
        scores = read_json(metrics)["scores"]
        for s, name in enumerate(names):
            known = scores.get(name, {})
            table.cost[s], table.diversity[s] = (known.get(k) or np.nan for k in ("cost_per_1000", "diversity"))
    return table


def shuffled(table: Table, rng: np.random.Generator) -> Table:
    order = rng.permutation(len(table.ids))
    wide = {k: getattr(table, k)[:, order] for k in ("correct", "truncated", "leaks", "tokens", "length_ratio", "asked")}
    scores = {name: values[:, order] for name, values in table.scores.items()}
    return replace(table, ids=[table.ids[j] for j in order], scores=scores, **wide)


def line(name: str, found: list[Outcome]) -> str:
    saved, cost = (np.array([getattr(o, key) for o in found]) for key in ("saved", "cost"))
    shares = []
    for hits in (sum(o.same for o in found), sum(o.lost for o in found)):
        low, high = wilson(hits, len(found))
        shares.append(f"{hits / len(found):.1%} [{low:.1%}, {high:.1%}]".ljust(22))
    low, high = np.quantile(saved, [0.1, 0.9])
    return f"{name:36} {saved.mean():6.1%} ({low:.0%} to {high:.0%})".ljust(60) + f" {'  '.join(shares)}  {np.nanmean(cost):+.4f}"


def replay(file: Path, score: str, orders: int, margins: list[float], drop_at: float, seed: int) -> None:
    table = from_run(file)
    if not table.asked.all():
        print("not every strategy was asked every prompt: what was dropped there is missing here")
    means = np.nanmean(losses(table, score), axis=1)
    full = decide(table, score=score, seed=seed)
    print(f"{file.parent.name}: {len(table.strategies)} strategies, {len(table.ids)} prompts; {full.verdict}, {full.strategy}")
    for margin in margins if score in NATS else [0.0]:
        rng = np.random.default_rng(seed)
        found = [outcome(shuffled(table, rng), score, means, margin=margin, drop_at=drop_at) for _ in range(orders)]
        print(line(f"margin {margin:g}", found), flush=True)


def simulate(tables: int, margins: list[float], drop_at: float, seed: int) -> None:
    for spread, sd in [(0.0, 0.25), *((spread, sd) for spread in (0.05, 0.15, 0.3) for sd in (0.15, 0.25, 0.4))]:
        for margin in margins:
            rng = np.random.default_rng(seed)
            drawn = (simulated(rng, spread, sd) for _ in range(tables))
            found = [outcome(table, "sppl", means, margin=margin, drop_at=drop_at) for table, means in drawn]
            print(line(f"spread {spread:g}, sd {sd:g}, margin {margin:g}", found), flush=True)


def gate(tables: int, seed: int) -> None:
    """How often the correctness gate shuts on strategies that are as often right as the best, or 10 points less often."""
    print("right  prompts  shared  worse by  below the bound  shut out")
    for right, n, shared, worse in product((0.7, 0.9), (40, 100), (0.0, 0.7), (0.0, 0.1)):
        rng = np.random.default_rng(seed)
        below = out = 0
        for _ in range(tables):
            luck = np.where(rng.random((6, n)) < shared, rng.random(n), rng.random((6, n)))
            table = Table.empty([f"s{i}" for i in range(6)], [str(j) for j in range(n)], ["sppl"])
            table.asked[:], table.tokens[:], table.scores["sppl"][:] = True, 50, 1.0
            table.correct[:] = luck < np.array([right] + 5 * [right - worse])[:, None]
            found = [next(g for g in one.gates if g.gate == "correctness") for one in gates(table, "sppl").values()][1:]
            below += sum(g.value < g.bound for g in found)
            out += sum(not g.passed for g in found)
        print(f"{right:5.0%} {n:8} {shared:7.1f} {worse:9.0%} {below / tables / 5:16.0%} {out / tables / 5:9.0%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=Path, help="answers.parquet of a finished selection")
    parser.add_argument("--score", default="sppl", choices=SCORES)
    parser.add_argument("--orders", type=int, default=200, help="random orders of its prompts")
    parser.add_argument("--tables", type=int, default=300, help="simulated tables per row")
    parser.add_argument("--drop-at", type=float, default=2.5, help="standard errors")
    parser.add_argument(
        "--margins", type=float, nargs="+", default=[0.0, 0.05], help="nats per token below which nobody is dropped"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gate", action="store_true", help="simulate the correctness gate instead")
    args = parser.parse_args()
    if args.gate:
        return gate(args.tables, args.seed)
    print(f"drop at {args.drop_at:g} standard errors, looks {LOOKS}, seed {args.seed}")
    print(f"{'':36} saved (10 % to 90 %)".ljust(60) + " same choice             best lost               cost")
    if args.responses:
        replay(args.responses, args.score, args.orders, args.margins, args.drop_at, args.seed)
    else:
        simulate(args.tables, args.margins, args.drop_at, args.seed)


if __name__ == "__main__":
    main()
