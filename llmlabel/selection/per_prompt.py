"""For every prompt the answer the target finds likeliest, instead of one strategy for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import numpy as np

from llmlabel.selection.answers import Table
from llmlabel.selection.elimination import losses


def per_prompt(table: Table, passed: Collection[str], score: str = "ppl") -> dict[str, str]:
    """Choose one strategy's answer for each prompt.

    Args:
        passed: the strategies that pass the gates; only they are chosen from.
        score: ppl, the mean log-probability of the answer's tokens given the prompt alone, is GRAPE's.
    Returns: question id -> strategy, in the table's order; without the prompts to which none has a scored answer. Where gold is
        known, a right answer goes before a likelier one; answers that tell of a hint are never chosen. Equal ones: by name.
    Raises: DataError for a score the table does not have.
    Source: Zhang et al. 2025, GRAPE, arXiv 2502.04194.

    A mean over tokens favours long and repetitive answers, whose later tokens are easy to guess, and says nothing of answers of
    a few tokens: those strategies do not pass the gates. With elimination, a dropped strategy has answers to the first prompts
    only.
    """
    loss = losses(table, score)
    rows = sorted((s for s, name in enumerate(table.strategies) if name in passed), key=lambda s: table.strategies[s])
    chosen: dict[str, str] = {}
    for j, one in enumerate(table.ids):
        able = [s for s in rows if table.answered[s, j] and not np.isnan(loss[s, j]) and table.leaks[s, j] != 1]
        able = [s for s in able if table.correct[s, j] == 1] or able
        if able:
            chosen[one] = table.strategies[min(able, key=lambda s: float(loss[s, j]))]
    return chosen


def shares(chosen: dict[str, str]) -> dict[str, float]:
    """Of the prompts, how large a share went to each strategy, the largest first."""
    return {name: count / len(chosen) for name, count in Counter(chosen.values()).most_common()}
