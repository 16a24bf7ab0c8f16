"""Show the texts of linked nodes below a node's own. Off by default: in LLM-GNN it costs accuracy (Chen et al. 2024, appendix).

What is added is part of the text, so a prompt fences it as data along with the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import sparse

from llmlabel.graph.graph import IntArray
from llmlabel.records import Example

MOST = 3
CHARS = 300
HEAD = "[Excerpts of linked texts, for context only; the label is that of the text above.]"


def with_neighbours(
    examples: Sequence[Example],
    adjacency: sparse.csr_array,
    rows: Sequence[int] | IntArray | None = None,
    *,
    most: int = MOST,
    chars: int = CHARS,
    seed: int,
) -> list[Example]:
    """Examples whose text goes on with excerpts of linked ones, one line each; ids and gold stay.

    Args:
        examples: N, one per row of `adjacency` (N, N). rows: the n wanted; None: all. most: linked texts shown, those with the
            heaviest edges, ties drawn by `seed`. chars: of each.
    An example without text, or without linked texts, stays as it is.
    """
    wanted = range(len(examples)) if rows is None else [int(row) for row in rows]
    return [_one(examples, adjacency, row, most, chars, seed) for row in wanted]


def _one(examples: Sequence[Example], adjacency: sparse.csr_array, row: int, most: int, chars: int, seed: int) -> Example:
    example = examples[row]
    start, end = adjacency.indptr[row : row + 2]
    near, weight = adjacency.indices[start:end], adjacency.data[start:end]
    draw = np.random.default_rng([seed, row]).random(len(near))
    excerpts = [_excerpt(examples[near[k]].text, chars) for k in np.lexsort((draw, -weight))]
    shown = [line for line in dict.fromkeys(excerpts) if line][:most]
    if not shown or not example.text.strip():
        return example
    return replace(example, text="\n".join([example.text.rstrip(), "", HEAD, *(f"- {line}" for line in shown)]))


def _excerpt(text: str, chars: int) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text[: 4 * chars].split())
    return line if len(line) <= chars else line[:chars].rstrip() + " ..."
