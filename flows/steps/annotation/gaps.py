"""What a taxonomy misses: texts that no label fits, grouped, named, and offered as new labels."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from llmlabel.flows.steps.annotation.labelling import Encode

from llmlabel.annotation.truth.coverage import clusters_of_rest
from llmlabel.annotation.truth.measured import missing
from llmlabel.records import Annotation, Example, Label, Status, Taxonomy, slug
from llmlabel.taxonomy.keyphrases import candidate_names, describe

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
    if not usable:
        return {}, []
    labels = [None if row.status is Status.NONE_FITS else row.label for row in usable]
    rest = [i for i, label in enumerate(labels) if label is None]
    draw = random.Random(f"{seed}/gaps")
    looked = sorted(draw.sample(rest, min(len(rest), MOST)))
    found = []
    if looked:
        vectors = encode([texts[usable[i].id].text for i in looked])
        found = clusters_of_rest(vectors, min_size=max(SMALLEST, len(looked) // 50))
    groups = {looked[i]: k for k, group in enumerate(found) for i in group.rows}
    others = [texts[row.id].text for row in usable if row.status is not Status.NONE_FITS]
    named = _named([[texts[usable[looked[i]].id] for i in group.rows] for group in found], others[:MOST], taxonomy)
    offered = [
        {
            "name": label.name,
            "description": label.description,
            "rows": len(rows),
            "examples": [e.text[:CHARS] for e in rows[:SHOWN]],
        }
        for label, rows in named
    ]
    note = f"{len(found)} groups among {len(looked):,} texts that no label fits" if looked else "every text has a label that fits"
    return {**missing(labels, groups), "note": note, "proposals": offered}, [label for label, _ in named]


def _named(groups: Sequence[Sequence[Example]], others: Sequence[str], taxonomy: Taxonomy) -> list[tuple[Label, list[Example]]]:
    """A label for each group, largest first: the phrases that set it apart from texts that have a label. Groups with the same
    first phrase are pieces of one."""
    merged: dict[str, tuple[list[Example], list[str]]] = {}
    for k, group in enumerate(groups):
        rest = list(others) or [e.text for other in groups if other is not group for e in other]
        place = np.array([0] * len(group) + [1] * len(rest), dtype=np.int64)
        phrases = candidate_names([e.text for e in group] + rest, place)[0]
        rows, known = merged.setdefault(phrases[0] if phrases else f"Group {k + 1}", ([], []))
        rows += group
        known += [phrase for phrase in phrases if phrase not in known]
    largest = sorted(merged.items(), key=lambda item: -len(item[1][0]))[:PROPOSED]
    taken, found = [label.id for label in taxonomy.labels], []
    for name, (rows, phrases) in largest:
        new = slug(name, taken)
        taken.append(new)
        about = describe([e.text for e in rows], np.zeros(len(rows), dtype=np.int64), 0, phrases)
        found.append((Label(id=new, name=name, description=about, examples=[e.id for e in rows[:SHOWN]]), rows))
    return found
