"""The program owns the table: a model proposes an edit script, and this file checks and applies it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, Field

from llmlabel.records import Label, Taxonomy, slug
from llmlabel.taxonomy.names import name_problem, other_script, same_name, shorten

EXAMPLES_KEPT = 8


class Edit(BaseModel):
    """One change. `label` and `into` are label ids, `evidence` ids of texts in the batch; unused fields are empty."""

    op: Literal["add", "rename", "merge", "split", "drop"]
    label: str = ""
    into: str = ""
    name: str = ""
    description: str = ""
    evidence: list[str] = Field(default_factory=list, max_length=40)
    reason: str = ""


class EditScript(BaseModel):
    """What a model answers in every step of the chain."""

    rating: int = Field(ge=0, le=100)
    uncovered: list[str] = Field(default_factory=list, max_length=1000)
    edits: list[Edit] = Field(default_factory=list, max_length=200)


@dataclass(frozen=True)
class Limits:
    """What holds for every table. `max_labels` counts labels, the others words; `taken` names stand elsewhere already."""

    max_labels: int
    name_words: int
    description_words: int
    taken: tuple[str, ...] = ()

    def is_taken(self, name: str) -> bool:
        return any(same_name(name, other) for other in self.taken)


@dataclass
class Applied:
    """A table after an edit script. `log` has one entry per edit, `problems` what was refused and why."""

    taxonomy: Taxonomy
    log: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class _Refused(Exception):
    pass


def apply_edits(
    taxonomy: Taxonomy,
    script: EditScript,
    *,
    evidence: Mapping[str, str],
    limits: Limits,
    retired: set[str],
    may_add: bool = True,
) -> Applied:
    """Apply the edits that are sound, in order; note the others.

    Args:
        evidence: text id in the prompt -> row id. retired: label ids that were used once; they are never used again,
            and ids that go out of use are added to it. may_add: False in the review, which sees no texts.
    """
    table = _Table(taxonomy.model_copy(deep=True), evidence, limits, retired, may_add)
    result = Applied(table.taxonomy)
    for edit in script.edits:
        entry = edit.model_dump(include={"op", "label", "into", "name", "reason"}) | {"applied": True}
        try:
            table.do(edit)
            if edit.name and other_script(
                edit.name, taxonomy.use_case
            ):  # applied, since the use case may want it, and asked again once
                result.problems.append(f"the name {edit.name!r} is not written in the script of the use case")
        except _Refused as e:
            entry |= {"applied": False, "problem": str(e)}
            result.problems.append(f"{edit.op} {edit.label or edit.name!r}: {e}")
        result.log.append(entry)
    if len(table.taxonomy) > limits.max_labels:
        result.problems.append(f"there are {len(table.taxonomy)} labels, more than {limits.max_labels}; merge some")
    return result


@dataclass
class _Table:
    taxonomy: Taxonomy
    evidence: Mapping[str, str]
    limits: Limits
    retired: set[str]
    may_add: bool

    def do(self, edit: Edit) -> None:
        if strange := [e for e in edit.evidence if e not in self.evidence]:
            raise _Refused(f"the evidence names ids that are not in the batch: {', '.join(map(repr, strange[:5]))}")
        doers: dict[str, Callable[[Edit], None]] = {
            "add": self.add, "rename": self.rename, "merge": self.merge, "split": self.split, "drop": self.drop
        }  # fmt: skip
        doers[edit.op](edit)

    def add(self, edit: Edit) -> None:
        if not self.may_add:
            raise _Refused("no labels can be added in this step")
        if not edit.evidence:
            raise _Refused("a new label needs evidence: ids of texts in this batch")
        if len(self.taxonomy) >= self.limits.max_labels:
            raise _Refused(f"there are already {self.limits.max_labels} labels; merge some first")
        self._named(edit.name, self.taxonomy.labels)
        new = slug(edit.name, {label.id for label in self.taxonomy.labels} | self.retired)
        label = Label(id=new, name=edit.name, description=self._described(edit.description))
        label.examples = self._rows(edit)
        self.taxonomy.labels.append(label)

    def split(self, edit: Edit) -> None:
        whole = self._existing(edit.label)
        self.add(edit)
        moved = set(self._rows(edit))
        whole.examples = [row for row in whole.examples if row not in moved]

    def rename(self, edit: Edit) -> None:
        label = self._existing(edit.label)
        self._rewrite(label, edit, [other for other in self.taxonomy.labels if other is not label])

    def merge(self, edit: Edit) -> None:
        label, into = self._existing(edit.label), self._existing(edit.into)
        if label is into:
            raise _Refused("a label cannot be merged into itself")
        self._rewrite(into, edit, [other for other in self.taxonomy.labels if other is not label and other is not into])
        self._absorb(label, into, self._rows(edit))

    def drop(self, edit: Edit) -> None:
        label = self._existing(edit.label)
        if not edit.into:
            raise _Refused("say in `into` which label takes over the texts")
        into = self._existing(edit.into)
        if into is label:
            raise _Refused("a label cannot take over from itself")
        self._absorb(label, into, [])

    def _absorb(self, label: Label, into: Label, more: list[str]) -> None:
        into.examples = list(dict.fromkeys([*into.examples, *label.examples, *more]))[:EXAMPLES_KEPT]
        self.taxonomy.labels.remove(label)
        self.retired.add(label.id)

    def _rewrite(self, label: Label, edit: Edit, others: list[Label]) -> None:
        if edit.name.strip():
            self._named(edit.name, others)
            label.name = edit.name.strip()
        if edit.description.strip():
            label.description = self._described(edit.description)

    def _existing(self, label_id: str) -> Label:
        found = next((label for label in self.taxonomy.labels if label.id == label_id.strip().strip("[]")), None)
        if found is None:
            raise _Refused(f"there is no label with the id {label_id!r}")
        return found

    def _named(self, name: str, others: list[Label]) -> None:
        if problem := name_problem(name, others, self.limits.name_words):
            raise _Refused(problem)
        if self.limits.is_taken(name):
            raise _Refused(f"the name {name!r} stands elsewhere in the taxonomy already")

    def _described(self, text: str) -> str:
        return shorten(text, self.limits.description_words)

    def _rows(self, edit: Edit) -> list[str]:
        return list(dict.fromkeys(self.evidence[e] for e in edit.evidence))[:EXAMPLES_KEPT]
