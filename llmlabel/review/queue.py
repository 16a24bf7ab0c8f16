"""Which rows people should look at first.

A row is worth the chance that its label is wrong, times the rows that have its text. An answer also speaks for rows near it:
each next row is the one that adds most to what the answers so far settle (facility location: Nemhauser, Wolsey and Fisher
1978; for picking examples Wei, Iyer and Bilmes 2015), so that people do not see one question twenty times. Some of what is shown
is a plain random draw: only that part says how good all labels are.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
UNKNOWN = 0.5  # the chance of an error where nobody said how sure the label is
NEAR = 0.5  # cosine from which an answer for one row says something about another


def worth(
    confidence: FloatArray, disagreement: FloatArray | None = None, copies: NDArray[np.integer] | None = None
) -> FloatArray:
    """Expected number of wrong labels that looking at a row puts right.

    Args:
        confidence: (N,) chance that the label is right, NaN where unknown; 0 for rows without a usable answer.
        disagreement: (N,) share of annotators who say something else, NaN where there was one only.
        copies: (N,) how many rows hold this text; default: one.
    Returns: (N,), 0 or more.
    """
    sure = np.nan_to_num(np.asarray(confidence, float), nan=1 - UNKNOWN)
    if disagreement is not None:
        sure = sure * (1 - np.nan_to_num(np.asarray(disagreement, float)))
    return np.asarray((1 - sure) * (1 if copies is None else copies))


def order(worth: FloatArray, n: int, vectors: FloatArray | None = None) -> list[int]:
    """Positions of the `n` rows that are best together, the best first.

    Args:
        worth: (N,). vectors: (N, D) unit rows; None: by worth alone. Ties go to the earlier row. With vectors memory is N * N.
    """
    if vectors is None:
        return [int(i) for i in np.argsort(-worth, kind="stable")[:n]]
    reach = np.clip((vectors @ vectors.T - NEAR) / (1 - NEAR), 0, 1)
    np.fill_diagonal(reach, 1)
    picked: list[int] = []
    settled = np.zeros(len(worth))
    queue = [(-gain, i) for i, gain in enumerate((reach @ worth).tolist())]
    heapq.heapify(queue)
    while queue and len(picked) < n:  # lazily: what a row adds only shrinks, so the first that keeps its place is the best
        _, i = heapq.heappop(queue)
        now = (-float(np.maximum(reach[i] - settled, 0) @ worth), i)
        if queue and now > queue[0]:
            heapq.heappush(queue, now)
            continue
        picked.append(i)
        settled = np.maximum(settled, reach[i])
    return picked


def draw(rows: int, n: int, seed: int, done: Collection[int] = ()) -> list[int]:
    """Positions of a uniform draw of `n` rows. `done`: those drawn before; with them, it is one larger uniform draw."""
    shuffled = np.random.default_rng([seed, rows]).permutation(rows)
    return [int(i) for i in shuffled if int(i) not in done][:n]


def mix(chosen: Sequence[int], seed: int) -> list[int]:
    """The same positions in an order that does not tell how each was chosen."""
    return [chosen[i] for i in np.random.default_rng([seed, 1]).permutation(len(chosen))]
