"""Cluster-guided induction: cluster the vectors, name every cluster by contrast, merge what means the same.

It asks small questions only, so it works with small models. A model that writes is asked for a name and a
description; one that can only score chooses among keyphrases of the texts by calibrated log-probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from llmlabel.embedding import Vectors
from llmlabel.errors import AnswerError, LlmlabelError
from llmlabel.llm.requests import ScoreRequest
from llmlabel.llm.structured import Question, ask_all
from llmlabel.records import Example, Label, Status, Taxonomy, slug
from llmlabel.taxonomy.cluster import centroids, cluster
from llmlabel.taxonomy.keyphrases import calibrate, candidate_names, choose_names, describe
from llmlabel.taxonomy.names import name_problem, same_name, shorten
from llmlabel.taxonomy.settings import Induction, Setting

SHOWN, CONTRASTED, NEIGHBOURS, EXAMPLES = 10, 3, 2, 8
CANDIDATES = 8
SCORED_CHARS = 200
SAME_COSINE = 0.9


class Named(BaseModel):
    name: str
    description: str


class Same(BaseModel):
    same: bool


@dataclass
class _Groups:
    """Texts in groups, while they are being named and merged. `assignment`: (N,) group of every text."""

    examples: Sequence[Example]
    texts: Sequence[str]
    vectors: Vectors
    assignment: NDArray[np.int64]

    @property
    def count(self) -> int:
        return int(self.assignment.max()) + 1

    def nearest(self, k: int, n: int) -> list[int]:
        """The n texts nearest to the centre of group k, no two of them equal."""
        members = np.flatnonzero(self.assignment == k)
        centre = centroids(self.vectors, self.assignment)[k]
        order = members[np.argsort(-(self.vectors[members] @ centre), kind="stable")]
        distinct = {self.texts[i]: int(i) for i in reversed(order)}
        return [i for i in order.tolist() if distinct[self.texts[i]] == i][:n]

    def neighbours(self, k: int) -> list[int]:
        """The groups whose centres are nearest to that of group k."""
        centres = centroids(self.vectors, self.assignment)
        order = np.argsort(-(centres @ centres[k]), kind="stable")
        return [int(j) for j in order if j != k][:NEIGHBOURS]

    def merge(self, keep: int, gone: int) -> None:
        self.assignment[self.assignment == gone] = keep
        self.assignment[self.assignment > gone] -= 1


def induce_by_clusters(examples: Sequence[Example], texts: Sequence[str], setting: Setting) -> Induction:
    """A flat taxonomy from clusters of sentence vectors.

    Args:
        texts: the short form of every example's text.
    """
    vectors = setting.encode(texts)
    found = cluster(vectors, max_labels=setting.limits.max_labels, seed=setting.seed)
    groups = _Groups(examples, texts, vectors, np.asarray(found))
    history: list[dict[str, Any]] = [_entry("cluster", groups.count, [])]
    writes = setting.models["name"].backend.features.writes
    labels, failures = _named_by_model(groups, setting) if writes else (_named_by_score(groups, setting), [])
    history.append(_entry("name", len(labels), [_edit("add", label) for label in labels]))
    if merged := _merge_same(groups, labels, setting, ask=writes):
        history.append(_entry("merge", len(labels), merged))
    for k, label in enumerate(labels):
        label.examples = [examples[i].id for i in groups.nearest(k, EXAMPLES)]
    assignment = {e.id: labels[k].id for e, k in zip(examples, groups.assignment.tolist(), strict=True)}
    taxonomy = Taxonomy(use_case=setting.use_case, labels=labels)
    return Induction(taxonomy, "cluster", history=history, assignment=assignment, failures=failures)


def _entry(step: str, labels: int, edits: list[dict[str, Any]]) -> dict[str, Any]:
    return {"step": step, "batch": 1, "labels": labels, "rating": None, "coverage": None, "edits": edits}


def _edit(op: str, label: Label, into: str = "", reason: str = "") -> dict[str, Any]:
    return {"op": op, "label": label.id, "name": label.name, "into": into, "reason": reason, "applied": True}


def _named_by_model(groups: _Groups, setting: Setting) -> tuple[list[Label], list[dict[str, str]]]:
    """Ask for all names at once; a name that is vague or taken is asked for again, knowing the others."""
    drafts = _ask_names(groups, list(range(groups.count)), [], setting)
    labels: list[Label] = []
    failures: list[dict[str, str]] = []
    for k, draft in enumerate(drafts):
        named = draft
        if isinstance(draft, LlmlabelError) or name_problem(draft.name, labels, setting.limits.name_words):
            named = _ask_names(groups, [k], labels, setting)[0]
        if isinstance(named, LlmlabelError):
            failures.append({"id": f"cluster {k}", "status": getattr(named, "status", "error"), "reason": f"name: {named}"})
            named = _from_keyphrases(groups, k, labels)
        labels.append(_label(named.name, named.description, labels, setting))
    return labels, failures


def _ask_names(groups: _Groups, wanted: list[int], taken: Sequence[Label], setting: Setting) -> list[Named | LlmlabelError]:
    def check(answer: Named) -> Named:
        if problem := name_problem(answer.name, taken, setting.limits.name_words):
            raise AnswerError(Status.OFF_LIST, problem)
        return answer

    prompt, questions = setting.prompt("name"), []
    for k in wanted:
        contrast = [groups.texts[i] for j in groups.neighbours(k) for i in groups.nearest(j, CONTRASTED)]
        messages = prompt.render(
            use_case=setting.use_case,
            texts=[groups.texts[i] for i in groups.nearest(k, SHOWN)],
            contrast=contrast,
            taken=[label.name for label in taken],
            name_words=setting.limits.name_words,
            description_words=setting.limits.description_words,
        )
        questions.append(Question(messages, Named, max_tokens=200, check=check))
    return ask_all(setting.models["name"], questions, "name", setting.counter("name", len(wanted)))


def _label(name: str, description: str, labels: Sequence[Label], setting: Setting) -> Label:
    new = slug(name, {label.id for label in labels})
    return Label(id=new, name=name.strip(), description=shorten(description, setting.limits.description_words))


def _from_keyphrases(groups: _Groups, k: int, taken: Sequence[Label]) -> Named:
    phrases = candidate_names(groups.texts, groups.assignment)[k]
    free = next((p for p in phrases if not any(same_name(p, label.name) for label in taken)), f"Group {k + 1}")
    return Named(name=free, description=describe(groups.texts, groups.assignment, k, phrases))


def _named_by_score(groups: _Groups, setting: Setting) -> list[Label]:
    """Choose among keyphrases by how much likelier the group's texts make them than the other groups' do."""
    candidates = [names[:CANDIDATES] for names in candidate_names(groups.texts, groups.assignment)]
    distinct = list(dict.fromkeys(name for names in candidates for name in names))
    client, prompt = setting.models["name"], setting.prompt("name_score")
    requests = []
    for k in range(groups.count):
        shown = [groups.texts[i][:SCORED_CHARS] for i in groups.nearest(k, SHOWN)]
        text = prompt.render(texts=shown)[0]["content"]
        requests.append(ScoreRequest(text, [f" {name}" for name in distinct]))
    scores = np.zeros((groups.count, len(distinct)))
    if client.backend.features.score and distinct:
        for k, answer in enumerate(client.map(requests, "name", setting.counter("name", len(requests)))):
            if isinstance(answer, LlmlabelError):
                raise answer
            scores[k] = np.asarray(answer.scores)
    fit, column = calibrate(scores), {name: j for j, name in enumerate(distinct)}
    chosen = choose_names(candidates, [[float(fit[k, column[n]]) for n in names] for k, names in enumerate(candidates)])
    labels: list[Label] = []
    for k, name in enumerate(chosen):
        labels.append(_label(name, describe(groups.texts, groups.assignment, k, candidates[k]), labels, setting))
    return labels


def _merge_same(groups: _Groups, labels: list[Label], setting: Setting, *, ask: bool) -> list[dict[str, Any]]:
    """Merge pairs of labels that say the same; `labels` and `groups` are changed together."""
    edits: list[dict[str, Any]] = []
    while pair := _closest_same(labels, setting, ask):
        keep, gone = pair
        edits.append(_edit("merge", labels[gone], into=labels[keep].id, reason="the two labels say the same"))
        groups.merge(keep, gone)
        del labels[gone]
    return edits


def _closest_same(labels: Sequence[Label], setting: Setting, ask: bool) -> tuple[int, int] | None:
    """The first pair, closest first, whose names say the same or that the model calls the same."""
    if len(labels) < 3:
        return None
    if twins := [(i, j) for j in range(len(labels)) for i in range(j) if same_name(labels[i].name, labels[j].name)]:
        return twins[0]
    if not ask:
        return None
    meanings = setting.encode([f"{label.name}: {label.description}" for label in labels])
    alike = np.triu(meanings @ meanings.T, k=1)
    pairs = [(int(i), int(j)) for i, j in np.argwhere(alike > SAME_COSINE)]
    prompt = setting.prompt("same")
    questions = [
        Question(prompt.render(use_case=setting.use_case, a=labels[i], b=labels[j]), Same, max_tokens=40) for i, j in pairs
    ]
    for pair, answer in zip(pairs, ask_all(setting.models["name"], questions, "same"), strict=True):
        if isinstance(answer, Same) and answer.same:
            return pair
    return None
