"""Cluster-guided induction: group the texts by vectors, name every group by contrast, merge what means the same.

It asks small questions only, so it works with small models. A model that writes adds keywords to every text before they
are grouped, and proposes names; one that can only score chooses among keyphrases of the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from llmlabel.embedding import Vectors
from llmlabel.llm.structured import Question, ask_all
from llmlabel.records import Example, Label, Taxonomy, slug
from llmlabel.taxonomy.cluster import centroids, cluster
from llmlabel.taxonomy.groups import Groups, ward
from llmlabel.taxonomy.keywords import keywords, typical_keywords
from llmlabel.taxonomy.names import same_name
from llmlabel.taxonomy.naming import Named, name_by_model, name_by_score
from llmlabel.taxonomy.settings import Induction, Setting

EXAMPLES = 8
SAME_COSINE = 0.8  # labels nearer than this are shown to an able model: are they the same?


class Same(BaseModel):
    same: bool


def induce_by_clusters(examples: Sequence[Example], texts: Sequence[str], setting: Setting) -> Induction:
    """A flat taxonomy from groups of sentence vectors.

    Args:
        texts: the form of every example's text to work with.
    """
    vectors = setting.encode(texts)
    if setting.models["name"].backend.features.writes:
        groups, named, failures = _with_keywords(examples, texts, vectors, setting)
    else:
        found = cluster(vectors, max_labels=setting.limits.max_labels, seed=setting.seed)
        groups = Groups(texts, vectors, np.asarray(found))
        named, failures = name_by_score(groups, setting), []
    labels = _labels(named)
    history = [
        _entry("cluster", groups.count, []),
        _entry("name", len(labels), [_edit("add", label) for label in labels]),
    ]
    if merged := _merge_same(groups, labels, setting):
        history.append(_entry("merge", len(labels), merged))
    for k, label in enumerate(labels):
        label.examples = [examples[i].id for i in groups.nearest(k, EXAMPLES)]
    probs = groups.distribution()
    ids = [label.id for label in labels]
    return Induction(
        Taxonomy(use_case=setting.use_case, labels=labels),
        "cluster",
        history=history,
        assignment={e.id: ids[k] for e, k in zip(examples, probs.argmax(axis=1).tolist(), strict=True)},
        probs={e.id: dict(zip(ids, np.round(row, 5).tolist(), strict=True)) for e, row in zip(examples, probs, strict=True)},
        failures=failures,
    )


def _with_keywords(
    examples: Sequence[Example], texts: Sequence[str], vectors: Vectors, setting: Setting
) -> tuple[Groups, list[Named], list[dict[str, str]]]:
    """Group by the texts' vectors beside those of their keywords."""
    lines, failures = keywords(examples, texts, setting)
    meanings = setting.encode(lines)
    features = np.hstack([vectors, meanings])
    groups = Groups(texts, features, ward(features, setting.limits.max_labels))
    places = [centroids(vectors, groups.assignment), centroids(meanings, groups.assignment)]
    named, more = name_by_model(groups, typical_keywords(groups, lines), places, setting)
    return groups, named, failures + more


def _labels(named: Sequence[Named]) -> list[Label]:
    labels: list[Label] = []
    for one in named:
        new = slug(one.name, {label.id for label in labels})
        labels.append(Label(id=new, name=one.name, description=one.description))
    return labels


def _entry(step: str, labels: int, edits: list[dict[str, Any]]) -> dict[str, Any]:
    return {"step": step, "batch": 1, "labels": labels, "rating": None, "coverage": None, "edits": edits}


def _edit(op: str, label: Label, into: str = "", reason: str = "") -> dict[str, Any]:
    return {"op": op, "label": label.id, "name": label.name, "into": into, "reason": reason, "applied": True}


def _merge_same(groups: Groups, labels: list[Label], setting: Setting) -> list[dict[str, Any]]:
    """Merge pairs of labels that say the same; `labels` and `groups` are changed together.

    Only a model that passed the editing exercise is asked: small ones call any two neighbours the same.
    """
    edits: list[dict[str, Any]] = []
    while len(labels) > 2 and (pair := _same_pair(labels, setting)):
        keep, gone = pair
        edits.append(_edit("merge", labels[gone], into=labels[keep].id, reason="the two labels say the same"))
        groups.merge(keep, gone)
        del labels[gone]
    return edits


def _same_pair(labels: Sequence[Label], setting: Setting) -> tuple[int, int] | None:
    pairs = [(i, j) for j in range(len(labels)) for i in range(j)]
    if twins := [(i, j) for i, j in pairs if same_name(labels[i].name, labels[j].name)]:
        return twins[0]
    if not setting.able:
        return None
    meanings = setting.encode([label.meaning for label in labels])
    near = [(i, j) for i, j in pairs if float(meanings[i] @ meanings[j]) > SAME_COSINE]
    prompt = setting.prompt("same")
    questions = [
        Question(prompt.render(use_case=setting.use_case, a=labels[i], b=labels[j]), Same, max_tokens=40) for i, j in near
    ]
    answers = ask_all(setting.models["name"], questions, "same")
    return next((pair for pair, a in zip(near, answers, strict=True) if isinstance(a, Same) and a.same), None)
