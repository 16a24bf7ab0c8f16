"""Which strategy to take, how sure that is, and the evidence a colleague can check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from llmlabel.selection import reasons
from llmlabel.selection.answers import Table
from llmlabel.selection.elimination import MARGIN, NATS, Elimination
from llmlabel.selection.ranking import Row, ranked

Verdict = Literal["clear", "weak", "tie", "no_meaning"]
ChosenFor = Literal["fit", "cost", "correctness", ""]


@dataclass
class Decision:
    """What to take and why.

    `strategy`: None where nothing can be recommended. `rows`: the ranking, the best first. `tied`: those not told apart from the
    best. `chosen_for`: what decided in the end; empty where only one was left, or none.
    """

    score: str
    rows: list[Row]
    strategy: str | None = None
    verdict: Verdict = "no_meaning"
    tied: list[str] = field(default_factory=list)
    chosen_for: ChosenFor = ""
    reason: list[str] = field(default_factory=list)
    looks: list[dict[str, Any]] = field(default_factory=list)
    saved_share: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def ranking(self) -> list[Row]:
        """Only those with a rank."""
        return [row for row in self.rows if row.rank is not None]

    @property
    def passed(self) -> list[str]:
        return [row.strategy for row in self.rows if row.checked.passed]

    def to_json(self) -> dict[str, Any]:
        """{strategy, verdict, evidence}, with None for what is not known."""
        best, second = (*self.ranking[:2], None, None)[:2]
        return {
            "strategy": self.strategy, "verdict": self.verdict,
            "evidence": {
                "score": self.score, "unit": reasons.unit(self.score), "reason": self.reason,
                "best": best.strategy if best else None, "runner_up": second.strategy if second else None,
                "gap": second.gap if second else None,
                "gap_interval": [*second.gap_interval] if second and second.gap_interval else None, "tied": self.tied,
                "chosen_for": self.chosen_for, "ranking": [row.to_json(self.score) for row in self.rows], "looks": self.looks,
                "saved_share": self.saved_share, "notes": self.notes,
            },
        }  # fmt: skip


def decide(
    table: Table, *, score: str, elimination: Elimination | None = None, seed: int = 0, margin: float = MARGIN,
    clear: float = 0.2, alpha: float = 0.05, notes: Sequence[str] = (),
) -> Decision:  # fmt: skip
    """Rank the strategies that pass the gates, and say whether the best can be told from the next.

    Args:
        table: with everything that is known. elimination: after its `finish`; what it did not buy is not read.
        score: what ranks: sppl or ppl (nats per token, lower is better), ifd or cosine (higher is better).
        margin, clear: nats per token: a gap below `margin` is a tie, one below `clear` is weak. Other scores have no such scale:
            their gaps are a tie or weak. alpha: of the paired t-tests against the best, after Holm.
        seed: of the bootstrap. notes: to go with it, after the table's own.
    A tie goes to the cheapest. no_meaning: the score did not decide, since there was one strategy only, nobody else passes the
    gates, the answers are too short, or fewer than 3 prompts are in common; a strategy is named where the gates or correctness
    leave one.
    Raises: DataError for a score the table does not have.
    """
    if elimination:
        table = elimination.known(table)
    table = _in_order(table)
    dropped = {name: dict(vars(one)) for name, one in elimination.dropped.items()} if elimination else {}
    found = Decision(score, ranked(table, score, dropped, seed), notes=[*table.notes, *notes])
    if elimination:
        found.looks, found.saved_share = elimination.history, elimination.saved_share
        found.notes += elimination.notes
    if len(found.ranking) > 1:
        _by_score(found, margin, clear, alpha)
    else:
        _without_score(found)
    found.reason += reasons.gone(found.rows) + reasons.out(found.rows)
    found.notes += reasons.caveats(found.rows, score, len(table.ids))
    return found


def _by_score(found: Decision, margin: float, clear: float, alpha: float) -> None:
    best, second = found.ranking[:2]
    others = [row for row in found.ranking[1:] if row.p_holm is not None]
    nats = found.score in NATS
    tied = [row for row in others if (row.p_holm or 0.0) > alpha or (nats and abs(row.gap or 0.0) < margin)]
    found.reason.append(reasons.first(best, found.score))
    if tied:
        found.verdict, found.tied = "tie", [row.strategy for row in tied]
        found.reason += reasons.tie(best, tied, found.score, len(others))
        _cheapest(found, [best, *tied])
    else:
        found.verdict = "clear" if nats and (second.gap or 0.0) >= clear else "weak"
        found.strategy, found.chosen_for = best.strategy, "fit"
        found.reason.append(f"Next comes {second.strategy}: {reasons.behind(second, found.score, len(others))}.")
    if nats:
        found.reason.append(reasons.RECORDS)
    if nats and found.chosen_for == "cost":
        found.reason.append(reasons.TIES_COST)


def _cheapest(found: Decision, tied: list[Row]) -> None:
    """Of the best and those tied with it, in order of fit."""
    priced = [row for row in tied if row.cost is not None]
    same = len(priced) == len(tied) and len({row.cost for row in priced}) == 1  # as where all are local
    priced = [] if same else priced
    costs = {row.strategy: row.cost if priced else row.tokens for row in (priced or tied)}
    known = {name: cost for name, cost in costs.items() if cost is not None}
    what = "US dollars for 1,000 answers" if priced else "tokens per answer"
    if not priced:
        why = "All cost the same" if same else "No price is known"
        found.reason.append(f"{why}: the tokens of an answer, by the target's tokenizer, stand for its cost.")
    elif len(priced) < len(tied):
        unknown = reasons.listed([row.strategy for row in tied if row.cost is None])
        found.reason.append(
            f"The price of {unknown} is not known: only a strategy with a known price can be taken as the cheapest."
        )
    found.strategy = min(known, key=lambda name: known[name], default=tied[0].strategy)
    if len(set(known.values())) < 2 and len(known) in (0, len(tied)):
        found.chosen_for = "fit"
        found.reason.append(f"They cost the same as far as is known, so {found.strategy} is taken, which scores best of them.")
    else:
        found.chosen_for = "cost"
        told = ", ".join(f"{name} {cost:.4g}" for name, cost in known.items())
        found.reason.append(f"{found.strategy} is taken as the cheapest of the tied, in {what}: {told}.")


def _without_score(found: Decision) -> None:
    """One strategy, one that passes, or a score without a meaning: the gates decide, or correctness and then cost."""
    able = [row for row in found.rows if row.checked.usable]
    if not able:
        found.reason.append("No strategy passes the gates, so none is recommended.")
    elif len(found.rows) == 1:
        found.strategy = able[0].strategy
        found.reason.append(f"{found.strategy} is the only strategy: there is nothing to compare it with.")
    elif len(found.ranking) == 1:
        found.strategy = found.ranking[0].strategy
        found.reason.append(f"{found.strategy} is the only one that passes the gates: there is nothing to compare its fit with.")
    else:
        _by_correctness(found, able)


def _by_correctness(found: Decision, able: list[Row]) -> None:
    if all(row.checked.short for row in able):
        why = (
            f"The answers are too short to be ranked by {found.score}: the likelihood of one or a few tokens is how common the "
            "label is and how the tokenizer splits it, not a way of writing."
        )
    else:
        why = f"The strategies that pass the gates have {found.score} on fewer than 3 prompts in common: too few to compare them."
    found.reason.append(why)
    low = {row.strategy: g.value for row in able for g in row.checked.gates if g.gate == "correctness" and g.value is not None}
    if not low:
        found.reason.append("No gold says how many answers are right, so none is recommended.")
        return
    known = [row for row in able if row.strategy in low]
    chosen = min(known, key=lambda row: (-low[row.strategy], np.inf if row.cost is None else row.cost, row.strategy))
    found.strategy, found.chosen_for = chosen.strategy, "correctness"
    told = ", ".join(f"{name} {value:.1%}" for name, value in sorted(low.items(), key=lambda item: -item[1]))
    found.reason.append(
        f"{chosen.strategy} is taken by correctness, then cost; lower ends of the 95 % intervals of right answers: {told}."
    )


def _in_order(table: Table) -> Table:
    """Strategies by name, prompts by id: a decision does not hang on the order they came in."""
    s = sorted(range(len(table.strategies)), key=lambda i: table.strategies[i])
    j = sorted(range(len(table.ids)), key=lambda i: table.ids[i])
    wide = {name: getattr(table, name)[s][:, j] for name in ("correct", "truncated", "leaks", "tokens", "length_ratio", "asked")}
    return replace(
        table, strategies=[table.strategies[i] for i in s], ids=[table.ids[i] for i in j], diversity=table.diversity[s],
        cost=table.cost[s], scores={name: values[s][:, j] for name, values in table.scores.items()}, **wide,
    )  # fmt: skip
