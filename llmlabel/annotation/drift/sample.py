"""The rows of one side of a comparison: those of the reference, or those that came since."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
NONE = 0  # class of rows that no label fits


@dataclass(frozen=True)
class Side:
    """N rows.

    Args:
        ids, texts: of the rows. labels: (N,) class index, 0 where no label fits, -1 without a usable label. asked: (N,) whether a
            model or a person labelled the row, and not a classifier. confidence: (N,) in 0..1, NaN where unknown. unsure: (N,)
            marked low_confidence.
    """

    ids: list[str]
    texts: list[str]
    labels: IntArray
    asked: BoolArray
    confidence: FloatArray
    unsure: BoolArray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: IntArray) -> Side:
        ids, texts = [self.ids[i] for i in rows], [self.texts[i] for i in rows]
        return Side(ids, texts, self.labels[rows], self.asked[rows], self.confidence[rows], self.unsure[rows])


def split(side: Side, seed: int) -> tuple[Side, Side]:
    """Two thirds of the rows to learn from, and a third that is held out, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(side))
    cut = -(-2 * len(side) // 3)
    return side.take(np.sort(order[:cut])), side.take(np.sort(order[cut:]))


def drawn(side: Side, most: int, seed: int) -> Side:
    """At most so many of the rows, at random, in their order."""
    if len(side) <= most:
        return side
    return side.take(np.sort(np.random.default_rng(seed).permutation(len(side))[:most]))
