"""Ask about the likeliest labels only, found by vectors: for hundreds of labels.

A label's vectors are those of its name with its description and of its gold examples; a label is as near to a text as the
nearest of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from llmlabel.annotation.asking import How
from llmlabel.annotation.label import PROMPTS as PROMPTS
from llmlabel.annotation.label import ask
from llmlabel.errors import ConfigError
from llmlabel.llm.client import Client
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Taxonomy

SHOWN = 25
ROWS = 2000  # texts compared at a time


def annotate(
    examples: Sequence[Example], taxonomy: Taxonomy, client: Client, prompts: PromptLibrary, how: How
) -> list[Annotation]:
    """One annotation per example, in order; labels that were not shown have no probability."""
    return ask(examples, taxonomy, client, prompts, replace(how, shown=likeliest(examples, taxonomy, how)))


def likeliest(examples: Sequence[Example], taxonomy: Taxonomy, how: How, size: int = SHOWN) -> dict[str, list[str]]:
    """Row id -> ids of the `size` nearest labels, nearest first; a row's own gold is not used for it.

    Raises: ConfigError without vectors.
    """
    if how.encode is None:
        raise ConfigError("a shortlist of labels is made with vectors; name an embedder")
    leaves = [label.id for label in taxonomy.leaves]
    said = [(label.meaning, k, "") for k, label in enumerate(taxonomy.leaves)]
    place = {label: k for k, label in enumerate(leaves)}
    said += [(e.text, place[i], e.id) for e in how.gold for i in e.golds if i in place]
    owner, source = np.array([k for _, k, _ in said]), np.array([row for _, _, row in said])
    where = how.encode([text for text, _, _ in said])
    found: dict[str, list[str]] = {}
    for start in range(0, len(examples), ROWS):
        part = examples[start : start + ROWS]
        near = how.encode([e.text for e in part]) @ where.T
        for example, row in zip(part, near, strict=True):
            best = np.full(len(leaves), -2.0)
            np.maximum.at(best, owner, np.where(source == example.id, -2.0, row))
            found[example.id] = [leaves[k] for k in np.argsort(-best, kind="stable")[:size]]
    return found
