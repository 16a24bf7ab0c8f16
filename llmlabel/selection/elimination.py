"""Which strategies are not worth another prompt: after some prompts, those that are clearly behind get no more answers.

Every look is a test, and several looks err more often than one: at 2.5 standard errors the best strategy is lost rarely, not
never. What that costs and saves is measured in `bench/selection_simulated.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmlabel.selection.answers import Table
from llmlabel.selection.gates import Checked, gates, scored
from llmlabel.stats import alike

FloatArray = NDArray[np.float64]
NATS = ("sppl", "ppl")  # scores whose differences are nats per token, which the margins are made for
HIGHER_IS_BETTER = ("ifd", "cosine")  # ifd: its authors keep what is hard; the reverse of familiarity
MARGIN = 0.05  # nats per token: below it two strategies are a tie, however significant
FEWEST = 3  # prompts with both scores


def losses(table: Table, score: str) -> FloatArray:
    """(S, N) the scores, turned so that lower is better.

    Raises: DataError for a score the table does not have.
    """
    return -scored(table, score) if score in HIGHER_IS_BETTER else scored(table, score)


def common(loss: FloatArray) -> NDArray[np.bool_]:
    """(N,) the prompts on which all of some strategies (rows) have a score."""
    return np.asarray(~np.isnan(loss).any(axis=0), bool)


def looks(n: int, wanted: Sequence[int]) -> list[int]:
    """After how many of n prompts to look: the wanted ones below n, and n."""
    return [*sorted({w for w in wanted if 0 < w < n}), n]


def eliminate(
    table: Table,
    score: str,
    upto: int,
    active: Collection[str],
    eligible: Collection[str],
    *,
    drop_at: float = 2.5,
    margin: float = 0.0,
) -> dict[str, str]:
    """Who is to be dropped after the first `upto` prompts, and by whom.

    Args:
        active: those still in it. eligible: those of them that may drop others, because they pass the gates so far.
        drop_at: standard errors of the mean paired difference. margin: a gap below it is a tie, and nobody is dropped for one.
    Returns: name -> the eligible strategy with the lowest mean loss, for every other active one that is behind it. Differences
        that are all alike have no standard error: then any gap counts. Nothing below 3 prompts that both have.
    """
    index = {name: s for s, name in enumerate(table.strategies)}
    loss = losses(table, score)[:, :upto]
    able = [name for name in table.strategies if name in active and name in eligible]
    shared = common(loss[[index[name] for name in able]])
    if not able or shared.sum() < FEWEST:
        return {}
    best = min(able, key=lambda name: (float(loss[index[name], shared].mean()), name))
    others = [name for name in table.strategies if name in active and name != best]
    return {name: best for name in others if _behind(loss[index[name]] - loss[index[best]], drop_at, margin)}


def _behind(differences: FloatArray, drop_at: float, margin: float) -> bool:
    d = differences[~np.isnan(differences)]
    if len(d) < FEWEST:
        return False
    gap, error = float(d.mean()), 0.0 if alike(d) else float(d.std(ddof=1) / np.sqrt(len(d)))
    return gap > max(drop_at * error, margin, 1e-9)


def revived(dropped: Mapping[str, str], passed: Collection[str]) -> list[str]:
    """Those that come back, because the final gates throw out who dropped them.

    If A was dropped by B, and B later by C, then C is ahead of A as well: A comes back only when neither B nor C passes.
    """
    back = []
    for name in dropped:
        chain, by = {name}, dropped[name]
        while by not in passed and by in dropped and by not in chain:
            chain.add(by)
            by = dropped[by]
        if by not in passed:
            back.append(name)
    return back


@dataclass(frozen=True)
class Dropped:
    """After how many prompts, and by whom."""

    look: int
    by: str


class Elimination:
    """The looks of one selection, in order. Answers are bought and scored outside:

        run = Elimination(names, n=100)
        for look in run.stages:          # answers of run.active to the first `look` prompts
            run.look(table, look)
        while names := run.finish(table):  # answers of these to all n prompts

    It reads no more of a table than what was known at that point, so a finished run can be replayed, and a resumed one decides
    as it did before. `decide` reads the same, by `known`.
    """

    def __init__(
        self, strategies: Sequence[str], *, n: int, wanted: Sequence[int] = (10, 20, 40, 60, 80, 100), score: str = "sppl",
        drop_at: float = 2.5, margin: float | None = None,
    ) -> None:  # fmt: skip
        self.stages = looks(n, wanted)
        self.active = list(strategies)
        self.dropped: dict[str, Dropped] = {}
        self.history: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.n, self.score, self.drop_at = n, score, drop_at
        self.margin = (MARGIN if score in NATS else 0.0) if margin is None else margin
        self._at = 0

    @property
    def seen(self) -> dict[str, int]:
        """To how many prompts each strategy has answers by now."""
        return dict.fromkeys(self.active, self._at) | {name: one.look for name, one in self.dropped.items()}

    @property
    def saved_share(self) -> float:
        """Of the responses that all strategies would have had on all prompts, the share never scored."""
        seen = self.seen
        return 1 - sum(seen.values()) / (len(seen) * self.n)

    def known(self, table: Table) -> Table:
        """The table as far as it is paid for."""
        return first(table, self.seen)

    def look(self, table: Table, upto: int) -> dict[str, str]:
        """Drop who is behind after `upto` prompts; nobody after all n, where the decision has a better test and nothing is saved.

        Strategies whose answers are too short to rank are neither dropped nor drop others.
        Returns: who was dropped, by whom.
        """
        self._at = upto
        so_far = self.known(table)
        so_far.diversity = np.full(len(table.strategies), np.nan)  # of all answers, so not known yet
        checked = gates(so_far, self.score)
        going: dict[str, str] = {}
        if upto < self.n:
            ranked = [name for name in self.active if not checked[name].short]
            able = [name for name in ranked if checked[name].passed]
            going = eliminate(so_far, self.score, upto, ranked, able, drop_at=self.drop_at, margin=self.margin)
        self.dropped |= {name: Dropped(upto, by) for name, by in going.items()}
        self.active = [name for name in self.active if name not in going]
        self.history.append({"n": upto, "kept": [*self.active], "dropped": [*going]})
        return going

    def finish(self, table: Table) -> list[str]:
        """After the last look: who comes back, because the gates throw out who dropped it, and now needs answers to all prompts.

        Call it again with their answers, until it names nobody; it does so at the latest when nobody is dropped.
        """
        checked = gates(self.known(table), self.score)
        back = revived({name: one.by for name, one in self.dropped.items()}, _passing(checked))
        for name in back:
            one = self.dropped.pop(name)
            failed = ", ".join(g.gate for g in checked[one.by].failed)
            self.notes.append(f"{name}, dropped after {one.look} prompts, came back: {one.by}, which dropped it, failed {failed}")
        self.active += back
        return back


def _passing(checked: Mapping[str, Checked]) -> set[str]:
    return {name for name, one in checked.items() if one.passed}


def first(table: Table, seen: Mapping[str, int]) -> Table:
    """The table with each strategy's answers to its first prompts only, as many as `seen` says; the rest was never asked for."""
    hidden = np.arange(len(table.ids)) >= np.array([seen.get(name, 0) for name in table.strategies])[:, None]

    def shown(values: FloatArray) -> FloatArray:
        return np.where(hidden, np.nan, values)

    return replace(
        table, scores={name: shown(v) for name, v in table.scores.items()}, correct=shown(table.correct),
        truncated=shown(table.truncated), leaks=shown(table.leaks), tokens=shown(table.tokens),
        length_ratio=shown(table.length_ratio), asked=table.asked & ~hidden,
    )  # fmt: skip
