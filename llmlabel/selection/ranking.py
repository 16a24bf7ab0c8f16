"""The strategies in order of fit: means, paired differences to the best, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmlabel.selection.answers import Table, known, mean
from llmlabel.selection.elimination import FEWEST, HIGHER_IS_BETTER, NATS, common, losses
from llmlabel.selection.gates import Checked, gates
from llmlabel.stats import bootstrap_means, holm, mean_differs

FloatArray = NDArray[np.float64]
Interval = tuple[float, float]
EQUAL = 1e-9


@dataclass
class Row:
    """One strategy in the ranking; None for what is not known.

    `mean`: of the score, over `n` prompts: those that all contenders have a score for, or its own where it is no contender.
    `gap`: how much worse than the best on the prompts both have, in the score's unit; above 0 is worse for every score.
    `p`: of a paired t-test against the best, `p_holm` after Holm; contenders only: early looks void the test of a dropped one.
    `rank`: None for those that the gates keep out. `first_share`: of the bootstrap draws, how many it comes first in.
    `tokens`: mean per answer. Intervals hold 95 % of 2,000 draws of prompts.
    """

    strategy: str
    checked: Checked
    dropped: dict[str, Any] | None = None
    cost: float | None = None
    tokens: float | None = None
    n: int = 0
    mean: float | None = None
    interval: Interval | None = None
    gap: float | None = None
    gap_interval: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    rank: int | None = None
    first_share: float | None = None

    @property
    def contends(self) -> bool:
        return self.checked.passed and self.dropped is None

    def to_json(self, score: str) -> dict[str, Any]:
        return {
            "strategy": self.strategy, "rank": self.rank, "mean": self.mean, "interval": _listed(self.interval),
            "perplexity": float(np.exp(self.mean)) if score in NATS and self.mean is not None else None, "n": self.n,
            "gap": self.gap, "gap_interval": _listed(self.gap_interval), "p": self.p, "p_holm": self.p_holm,
            "passed": self.checked.passed, "gates": [g.to_json() for g in self.checked.gates], "warnings": self.checked.warnings,
            "cost": self.cost, "dropped": self.dropped, "first_share": self.first_share,
        }  # fmt: skip


def ranked(table: Table, score: str, dropped: Mapping[str, dict[str, Any]], seed: int) -> list[Row]:
    """A row per strategy, the best first and those without a rank last.

    Contenders are the strategies that pass the gates and were not dropped. Nobody has a rank where they have fewer than 3 prompts
    in common. Dropped ones that pass are ranked by the gap on the prompts they have, never first.
    """
    loss, checked = losses(table, score), gates(table, score)
    rows = [Row(name, checked[name], dropped.get(name)) for name in table.strategies]
    sign = -1 if score in HIGHER_IS_BETTER else 1
    contenders = [s for s, row in enumerate(rows) if row.contends]
    shared = common(loss[contenders])
    comparable = bool(contenders) and int(shared.sum()) >= FEWEST
    for s, row in enumerate(rows):
        row.cost, row.tokens = known(table.cost[s]), mean(table.tokens[s])
        if not (comparable and row.contends):
            values = loss[s][~np.isnan(loss[s])] * sign
            _describe(row, values, bootstrap_means(values, seed=seed)[:, 0] if len(values) else values)
    if comparable:
        best = contenders[_compare([rows[s] for s in contenders], loss[contenders][:, shared], sign, seed)]
        for s, row in enumerate(rows):
            if not row.contends:
                _behind(row, loss[s] - loss[best], seed)
        ranks = [row for row in rows if row.checked.passed and row.gap is not None]
        ranks.sort(key=lambda row: (row is not rows[best], row.gap, row.strategy))
        for rank, row in enumerate(ranks, 1):
            row.rank = rank
    return sorted(rows, key=lambda row: (row.rank is None, row.rank, row.strategy))


def _describe(row: Row, values: FloatArray, draws: FloatArray) -> None:
    row.n = len(values)
    if row.n:
        row.mean, row.interval = float(values.mean()), _interval(draws)


def _compare(rows: list[Row], loss: FloatArray, sign: int, seed: int) -> int:
    """Contenders (C, n) on their common prompts. Returns: which is the best."""
    draws, best = bootstrap_means(loss, seed=seed), int(loss.mean(axis=1).argmin())
    first = draws <= draws.min(axis=1, keepdims=True) + EQUAL  # equal ones share a draw
    for c, (row, share) in enumerate(zip(rows, (first / first.sum(axis=1, keepdims=True)).mean(axis=0), strict=True)):
        _describe(row, loss[c] * sign, draws[:, c] * sign)
        row.gap = float((loss[c] - loss[best]).mean())
        row.gap_interval = _interval(draws[:, c] - draws[:, best])
        row.first_share = float(share)
    others = [c for c in range(len(rows)) if c != best]
    p = [mean_differs(loss[c] - loss[best]) for c in others]
    for c, one, adjusted in zip(others, p, holm(p), strict=True):
        rows[c].p, rows[c].p_holm = one, float(adjusted)
    return best


def _behind(row: Row, differences: FloatArray, seed: int) -> None:
    d = differences[~np.isnan(differences)]
    if len(d):
        row.gap = float(d.mean())
        row.gap_interval = _interval(bootstrap_means(d, seed=seed)[:, 0])


def _interval(draws: FloatArray) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def _listed(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [*interval]
