"""May a model take a human annotator's place? The alternative annotator test (Calderon, Reichart, Dror 2025, arXiv 2501.10970).

Each human in turn is left out: who agrees more with the others, the human or the model? The model wins against a human where
the human's advantage is below epsilon (what a human costs more) by a t-test; it passes when it wins against half of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmlabel.annotation.truth.shares import Measured, accuracy
from llmlabel.errors import ConfigError, DataError
from llmlabel.stats import benjamini_yekutieli, mean_below

IntArray = NDArray[np.int64]
EPSILON = {"expert": 0.2, "skilled": 0.15, "crowd": 0.1}
FEW = 3  # humans, below which the paper's authors advise against the test


@dataclass(frozen=True, slots=True)
class Compared:
    """The model against one human. `advantage`: how often the model agrees with the others at least as well as the human;
    `human`: how often the human does; `p`: adjusted over all humans."""

    annotator: str
    rows: int
    advantage: float
    human: float
    p: float
    won: bool


@dataclass(frozen=True, slots=True)
class AltTest:
    """`winning_rate` (omega) and `advantage` (rho, the mean over humans) are None where the test says nothing.

    `accuracy` is the model's agreement with the only human, where there is just one; `skipped` are humans with too few rows.
    """

    verdict: Literal["passes", "fails", "cannot say"]
    why: str
    epsilon: float
    winning_rate: float | None = None
    advantage: float | None = None
    humans: list[Compared] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    accuracy: Measured | None = None


def alt_test(
    model: IntArray,
    humans: IntArray,
    *,
    annotators: Literal["expert", "skilled", "crowd"] | float = "skilled",
    names: Sequence[str] | None = None,
    min_rows: int = 30,
    level: float = 0.05,
) -> AltTest:
    """Run the test.

    Args:
        model: (N,) class index, -1 where it gave no usable answer: that agrees with nobody. humans: (N, H) votes, -1 for none.
        annotators: what the humans are, which sets epsilon to .2, .15 or .1; or epsilon itself. names: of the H humans.
        min_rows: rows a human must share with others. level: of the false discovery rate over humans (Benjamini-Yekutieli).
    Raises: ConfigError for an unknown kind of annotators; DataError when shapes do not fit.
    """
    if isinstance(annotators, str) and annotators not in EPSILON:
        raise ConfigError(f"annotators {annotators!r}: one of {', '.join(EPSILON)}, or epsilon as a number")
    epsilon = EPSILON[annotators] if isinstance(annotators, str) else float(annotators)
    if humans.ndim != 2 or len(humans) != len(model) or (names is not None and len(names) != humans.shape[1]):
        raise DataError(f"humans must be (N, H) with N = {len(model)} and a name for each of H columns, not {humans.shape}")
    who = list(names) if names is not None else [f"human {j + 1}" for j in range(humans.shape[1])]
    active = [j for j in range(humans.shape[1]) if (humans[:, j] >= 0).any()]
    if len(active) < 2:
        return _too_few(model, humans, active, epsilon)
    pairs = {j: _agreements(model, humans, j) for j in active}
    enough = [j for j in active if len(pairs[j][0]) >= min_rows]
    skipped = {who[j]: len(pairs[j][0]) for j in active if j not in enough}
    if not enough:
        why = f"no annotator has {min_rows} rows that another annotator labelled too"
        return AltTest("cannot say", why, epsilon, skipped=skipped)
    compared = _compared(pairs, enough, who, epsilon, level)
    rate = float(np.mean([c.won for c in compared]))
    advantage = float(np.mean([c.advantage for c in compared]))
    return AltTest("passes" if rate >= 0.5 else "fails", _why(compared, len(active)), epsilon, rate, advantage, compared, skipped)


def _agreements(model: IntArray, humans: IntArray, j: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """On the rows of human j that others labelled too: does the model agree with the others at least as much as j? And j?"""
    rows = humans[:, j] >= 0
    others = np.delete(humans[rows], j, axis=1)
    by_model = (others == np.where(model[rows] >= 0, model[rows], -2)[:, None]).sum(axis=1)
    by_human = (others == humans[rows, j][:, None]).sum(axis=1)
    some = (others >= 0).any(axis=1)
    return (by_model >= by_human)[some], (by_human >= by_model)[some]


def _compared(
    pairs: dict[int, tuple[NDArray[np.bool_], NDArray[np.bool_]]],
    enough: Sequence[int],
    who: Sequence[str],
    epsilon: float,
    level: float,
) -> list[Compared]:
    differences = [pairs[j][1].astype(float) - pairs[j][0] for j in enough]
    adjusted = benjamini_yekutieli([mean_below(d, epsilon) for d in differences]).tolist()
    return [
        Compared(who[j], len(pairs[j][0]), float(pairs[j][0].mean()), float(pairs[j][1].mean()), p, p <= level)
        for j, p in zip(enough, adjusted, strict=True)
    ]


def _why(compared: Sequence[Compared], annotators: int) -> str:
    wins = sum(c.won for c in compared)
    said = f"the model wins against {wins} of {len(compared)} annotators"
    few = f"; with {annotators} annotators this is weak evidence, {FEW} or more are advised" if annotators < FEW else ""
    return said + few


def _too_few(model: IntArray, humans: IntArray, active: Sequence[int], epsilon: float) -> AltTest:
    if not active:
        return AltTest("cannot say", "there are no human labels", epsilon)
    rows = humans[:, active[0]] >= 0
    right = accuracy((model == humans[:, active[0]])[rows])
    why = "with one human column nobody knows how far humans agree; `accuracy` is the model's agreement with that column"
    return AltTest("cannot say", why, epsilon, accuracy=right)
