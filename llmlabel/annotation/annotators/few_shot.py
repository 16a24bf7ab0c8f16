"""Show the nearest gold rows as solved examples before the question.

Source: retrieval of in-context examples, Liu et al. 2022 (arXiv 2101.06804); nearest last, next to the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from llmlabel.annotation.annotators import shortlist
from llmlabel.annotation.annotators.classify import MOST_LABELS
from llmlabel.annotation.asking import How, Shot
from llmlabel.annotation.label import PROMPTS as PROMPTS
from llmlabel.annotation.label import ask
from llmlabel.errors import ConfigError
from llmlabel.llm.client import Client
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Taxonomy

SHOTS = 8


def annotate(
    examples: Sequence[Example], taxonomy: Taxonomy, client: Client, prompts: PromptLibrary, how: How
) -> list[Annotation]:
    """One annotation per example, in order; labels that do not fit one question are shortlisted first."""
    how = replace(how, shots=nearest_shots(examples, how))
    way = shortlist.annotate if len(taxonomy.leaves) > MOST_LABELS and how.shown is None else ask
    return way(examples, taxonomy, client, prompts, how)


def nearest_shots(examples: Sequence[Example], how: How) -> dict[str, list[Shot]]:
    """Row id -> the `how.few_shot` nearest gold rows, the nearest last; never the row itself, nor its very text.

    Raises: ConfigError without gold rows or vectors.
    """
    if how.encode is None or not how.gold:
        raise ConfigError("few-shot examples come from gold rows: name --gold-column, or start --from a run with corrections")
    if not examples:
        return {}
    most, gold = how.few_shot or SHOTS, how.gold
    near = how.encode([e.text for e in examples]) @ how.encode([g.text for g in gold]).T
    found: dict[str, list[Shot]] = {}
    for example, row in zip(examples, near, strict=True):
        order = np.argsort(-row, kind="stable")[: most + 20].tolist()
        usable = [gold[k] for k in order if gold[k].id != example.id and gold[k].text.strip() != example.text.strip()]
        found[example.id] = [Shot(g.text, g.golds) for g in reversed(usable[:most])]
    return found
