"""A decision's reasons in plain sentences, with the numbers to check them by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmlabel.selection.elimination import NATS
from llmlabel.selection.ranking import Row

UNITS = {"sppl": "nats per token", "ppl": "nats per token", "ifd": "ratio", "cosine": "cosine"}
RECORDS = (
    "In the published records of self-aligned perplexity (51 comparisons of 6 or 7 strategies, arXiv 2502.11779, analysed "
    "again), the better scored of two strategies also trained better in about 50 % of the cases with a gap below 0.1 nats per "
    "token, in 62 % from 0.1 to 0.2, and in 71 % above 0.2: even a clear gap is right in about 70 % of the cases only. "
    "A pilot training is the check."
)
TIES_COST = "In the same records, taking the cheapest of tied strategies cost about 0.1 points of accuracy."
NO_SCALE = "The margins for tie, weak and clear are nats per token and do not hold for {}: a significant gap counts as weak."
HARD = (
    "IFD ranks high what is hard for the target, as its authors want it: the reverse of sppl and ppl, which prefer the familiar."
)


def unit(score: str) -> str:
    return UNITS.get(score, "")


def first(row: Row, score: str) -> str:
    """The best one and its mean."""
    more = f" (perplexity {np.exp(row.mean):.2f})" if score in NATS and row.mean is not None else ""
    return f"{row.strategy} has the best {score}: {row.mean:.3f} {unit(score)}{more} on {prompts(row.n)}."


def behind(row: Row, score: str, comparisons: int) -> str:
    """How far one is behind the best, and how sure that is."""
    low, high = row.gap_interval or (np.nan, np.nan)
    if row.dropped:
        sure = f"dropped after {prompts(row.dropped['look'])}, by what was known then"
    else:
        sure = f"{p_value(row.p_holm)} after Holm over {comparisons} comparison{'s' * (comparisons != 1)}"
    gap = np.nan if row.gap is None else row.gap
    worse = f"{abs(gap):.3f} {unit(score)} {'better' if gap < 0 else 'worse'}"
    return f"{worse} (95 % interval of the gap {low:.3f} to {high:.3f}; {sure})"


def tie(best: Row, tied: Sequence[Row], score: str, comparisons: int) -> list[str]:
    """Why they cannot be told apart."""
    same = [row.strategy for row in tied if row.gap_interval and max(map(abs, row.gap_interval)) < 1e-9]
    rest = [row for row in tied if row.strategy not in same]
    found = []
    if same:
        found.append(f"{listed([*same, best.strategy])} have the same score on every prompt: their answers may be identical.")
    if rest:
        told = "; ".join(f"{row.strategy}, {behind(row, score, comparisons)}" for row in rest)
        found.append(f"Not told apart from {best.strategy}: {told}.")
    return found


def out(rows: Sequence[Row]) -> list[str]:
    """Who the gates keep out, and by which."""
    failed = [(row.strategy, row.checked.failed) for row in rows if row.checked.failed]
    return [f"{name} is not ranked: {'; '.join(f'{g.gate} ({g.note})' for g in gates)}." for name, gates in failed]


def gone(rows: Sequence[Row]) -> list[str]:
    """Who was dropped early, and by whom."""
    told = [f"{row.strategy} (after {prompts(row.dropped['look'])}, by {row.dropped['by']})" for row in rows if row.dropped]
    return [f"Dropped early, as clearly behind: {', '.join(told)}."] if told else []


def caveats(rows: Sequence[Row], score: str, total: int) -> list[str]:
    """What else to know of the comparison."""
    found = [HARD] if score == "ifd" else []
    if score not in NATS:
        found.append(NO_SCALE.format(score))
    n = max((row.n for row in rows if row.contends), default=0)
    if 0 < n < total and sum(row.contends for row in rows) > 1:
        found.append(f"Compared on the {n} of {total} prompts that all strategies still in it have a score for.")
    return found


def prompts(n: int) -> str:
    return f"{n} prompt{'s' * (n != 1)}"


def p_value(p: float | None) -> str:
    return "p < 0.001" if p is not None and p < 0.001 else f"p = {p:.3f}"


def listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
