"""Tables of scores of a selection, made up."""

from __future__ import annotations

import numpy as np

from llmlabel.selection.answers import Table


def table(
    means: list[float], n: int = 60, sd: float = 0.1, seed: int = 0, score: str = "sppl", cost: list[float] | None = None
) -> Table:
    """Scores around some means, on prompts that are easy or hard for all; every gate passed."""
    rng = np.random.default_rng(seed)
    made = Table.empty([f"s{i}" for i in range(len(means))], [f"{j:03}" for j in range(n)], [score])
    made.asked[:] = True
    made.tokens[:] = 50
    made.truncated[:] = made.leaks[:] = 0
    made.correct[:] = 1
    made.scores[score][:] = np.array(means)[:, None] + rng.gamma(2, 0.3, n) + rng.normal(0, sd, (len(means), n))
    if cost:
        made.cost[:] = cost
    return made
