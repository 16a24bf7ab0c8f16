"""What a taxonomy misses: texts that no label fits, grouped, named, and offered as new labels."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from llmlabel.flows.labelling import Encode

from llmlabel.annotation.coverage import clusters_of_rest
from llmlabel.annotation.measured import missing
from llmlabel.records import Annotation, Example, Label, Status, Taxonomy, slug
from llmlabel.taxonomy.keyphrases import candidate_names, choose_names, describe

MOST = 5000  # texts of a kind that are looked at
SMALLEST = 5  # texts of a group, at least
PROPOSED = 10
SHOWN, CHARS = 4, 200


def gaps(
    rows: Sequence[Annotation], texts: Mapping[str, Example], taxonomy: Taxonomy, encode: Encode, seed: int
) -> tuple[dict[str, Any], list[Label]]:
    """How much no label fits, with intervals, and labels that would fit it.

    Args:
        rows: the final rows of the run.
    Returns: `coverage` of metrics.json, and the proposed labels, largest first.
    """
    usable = [row for row in rows if not row.status.failed]
    labels = [None if row.status is Status.NONE_FITS else row.label for row in usable]
    rest = [i for i, label in enumerate(labels) if label is None]
    draw = random.Random(f"{seed}/gaps")
    looked = sorted(draw.sample(rest, min(len(rest), MOST)))
    found = []
    if looked:
        vectors = encode([texts[usable[i].id].text for i in looked])
        found = clusters_of_rest(vectors, min_size=max(SMALLEST, len(looked) // 50))
    groups = {looked[i]: k for k, group in enumerate(found) for i in group.rows}
    if not usable:
        return {}, []
    others = [texts[row.id].text for row in usable if row.status is not Status.NONE_FITS]
    proposed = _named([[texts[usable[looked[i]].id] for i in group.rows] for group in found[:PROPOSED]], others[:MOST], taxonomy)
    offered = [
        {"name": label.name, "description": label.description, "rows": len(group.rows),
         "examples": [texts[usable[looked[i]].id].text[:CHARS] for i in group.rows[:SHOWN]]}
        for label, group in zip(proposed, found, strict=False)
    ]  # fmt: skip
    note = f"{len(found)} groups among {len(looked):,} texts that no label fits" if looked else "every text has a label that fits"
    return {**missing(labels, groups), "note": note, "proposals": offered}, proposed


def _named(groups: Sequence[Sequence[Example]], others: Sequence[str], taxonomy: Taxonomy) -> list[Label]:
    """A label for each group: the phrases that set it apart from the other groups and from texts that have a label."""
    if not groups:
        return []
    words = [e.text for group in groups for e in group] + list(others)
    place = np.array([k for k, group in enumerate(groups) for _ in group] + [len(groups)] * len(others), dtype=np.int64)
    candidates = candidate_names(words, place)
    names = choose_names(candidates, [[0.0] * len(c) for c in candidates])
    taken = [label.id for label in taxonomy.labels]
    found: list[Label] = []
    for k, group in enumerate(groups):
        new = slug(names[k], taken)
        taken.append(new)
        about = describe(words, place, k, candidates[k])
        found.append(Label(id=new, name=names[k], description=about, examples=[e.id for e in group[:SHOWN]]))
    return found
