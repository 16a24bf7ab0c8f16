"""Label all nodes of a graph from the recorded annotations of a few: strategies x filters, beside the baseline `plain`.

    python bench/graph.py --data graph/citeseer_text --budget 120
    python bench/graph.py --data graph/cora --budget 140

Accuracy on all nodes that were not annotated, over 10 seeds: mean +- standard deviation, and the paired difference to `plain`
with a 95% t interval. `plain` is fixed: random nodes, no filter, unweighted propagation over two hops and scikit-learn's logistic
regression, on features as they are. All other rows train as `llmlabel run graph` does by default. `defaults` is what it does
where nothing is said. `--rounds`, `--gnn` add rows for these. An annotation the LLM did not give costs budget and is left out.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import graph_data
import numpy as np
from scipy import stats

from llmlabel.graph import filters, selectors
from llmlabel.graph.features import unit
from llmlabel.graph.graph import Annotated, FloatArray, Graph, IntArray
from llmlabel.graph.plain import plain
from llmlabel.graph.selectors import disagreement
from llmlabel.graph.train import AUTO_FILTER, AUTO_GNN, AUTO_SELECT, learn


def looked_up(said: Annotated, nodes: IntArray) -> Annotated:
    """What the LLM said of some nodes."""
    given = said.labels[nodes] >= 0
    return Annotated(nodes[given], said.labels[nodes][given], said.confidence[nodes][given], said.classes)


class Bench:
    """One graph; every method gets the seed and gives probabilities of all nodes and the nodes it had annotated."""

    def __init__(self, graph: Graph, gold: IntArray, said: Annotated, budget: int) -> None:
        self.raw, self.graph = graph.x, replace(graph, x=unit(graph.x))
        self.gold, self.said, self.budget = gold, said, budget
        self._picks: dict[tuple[str, int], IntArray] = {}

    def picks(self, select: str, seed: int) -> IntArray:
        if (select, seed) not in self._picks:
            rng = np.random.default_rng(seed)
            self._picks[select, seed] = selectors.selector(select).select(self.graph, self.budget, rng)
        return self._picks[select, seed]

    def plain(self, select: str, seed: int) -> float:
        nodes = self.picks(select, seed)
        return self.right(plain(self.graph, looked_up(self.said, nodes), self.raw), nodes)

    def run(self, select: str, filter: str, gnn: str, rounds: int, seed: int) -> float:
        nodes = self.picks(select, seed)[: -(-self.budget // rounds)]
        probs = self.trained(nodes, filter, gnn, seed)
        for left in range(rounds - 1, 0, -1):
            size = -(-(self.budget - len(nodes)) // left)
            more = disagreement.select(self.graph, size, np.random.default_rng(seed), probs=probs, taken=nodes)
            nodes = np.r_[nodes, more]
            probs = self.trained(nodes, filter, gnn, seed)
        return self.right(probs, nodes)

    def trained(self, nodes: IntArray, filter: str, gnn: str, seed: int) -> FloatArray:
        return learn(self.graph, looked_up(self.said, nodes), gnn=gnn, filter=filter, seed=seed, proof=False).probs

    def right(self, probs: FloatArray, nodes: IntArray) -> float:
        rest = np.setdiff1d(np.arange(len(self.gold)), nodes)
        return float((probs[rest].argmax(axis=1) == self.gold[rest]).mean())

    def annotations_right(self, select: str, seed: int) -> float:
        nodes = self.picks(select, seed)
        return float((self.said.labels[nodes] == self.gold[nodes]).mean())


def cell(values: list[float], base: list[float]) -> str:
    gap = np.array(values) - np.array(base)
    half = stats.t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else float("nan")
    return f"{np.mean(values):.3f} +- {np.std(values):.3f} ({gap.mean():+.3f} +- {half:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with nodes.parquet, edges.parquet, annotations")
    parser.add_argument("--budget", type=int, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--select", nargs="*", default=["random", AUTO_SELECT], help="strategies, or all")
    parser.add_argument("--filters", nargs="*", default=["none", *filters.names()])
    parser.add_argument("--gnn", nargs="*", default=[], help="learners shown with the default strategy and filter")
    parser.add_argument("--rounds", type=int, nargs="*", default=[], help="rounds shown with the defaults")
    args = parser.parse_args()
    graph, gold, said = graph_data.read(args.data, args.budget)
    bench, seeds = Bench(graph, gold, said, args.budget), range(args.first_seed, args.first_seed + args.seeds)
    base = [bench.plain("random", s) for s in seeds]
    print(f"{args.data.name}: {graph.size} nodes, budget {args.budget}, seeds {seeds[0]} to {seeds[-1]}\n")
    print(f"| strategy | annotations right | plain training | {' | '.join(args.filters)} |")
    print(f"|---|---|---|{'---|' * len(args.filters)}")
    names = [n for n in selectors.names() if n != "disagreement"] if args.select == ["all"] else args.select
    for name in names:
        right = np.mean([bench.annotations_right(name, s) for s in seeds])
        cells = [cell([bench.run(name, f, AUTO_GNN, 1, s) for s in seeds], base) for f in args.filters]
        print(f"| {name} | {right:.3f} | {cell([bench.plain(name, s) for s in seeds], base)} | {' | '.join(cells)} |", flush=True)
    print()

    def one(gnn: str, rounds: int) -> list[float]:
        return [bench.run(AUTO_SELECT, AUTO_FILTER, gnn, rounds, s) for s in seeds]

    print(f"defaults ({AUTO_SELECT}, {AUTO_FILTER}, {AUTO_GNN}): {cell(one(AUTO_GNN, 1), base)}", flush=True)
    for gnn in args.gnn:
        print(f"{gnn}: {cell(one(gnn, 1), base)}", flush=True)
    for rounds in args.rounds:
        print(f"{rounds} rounds: {cell(one(AUTO_GNN, rounds), base)}", flush=True)


if __name__ == "__main__":
    main()
