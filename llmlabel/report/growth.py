"""How the taxonomy came to be: its steps, chain by chain, with every edit and its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from llmlabel.records import Taxonomy
from llmlabel.report import words
from llmlabel.report.plots import Panel, panel, round_up

MOST_EDITS = 400
METHODS = {
    "tnt": "the model wrote a table of labels and edited it minibatch by minibatch, as in TnT-LLM",
    "cluster": "texts that lie close together were grouped, and each group was named beside its neighbours",
}


@dataclass
class Edit:
    """One change to the table of labels. `problem`: why it was turned down, "" when it was applied."""

    op: str
    label: str
    into: str
    reason: str
    applied: bool
    problem: str


@dataclass
class Step:
    """One step. `chain`: its number where several ran; `part`: which chain, inside which label, in words."""

    number: int
    name: str
    chain: int | None
    within: str
    part: str
    batch: int | None
    labels: int | None
    rating: float | None
    coverage: float | None
    edits: list[Edit]

    @property
    def note(self) -> str:
        parts = [f"chain {self.chain}" if self.chain is not None else "", f"step {self.number}, {self.name}"]
        parts.append(f"minibatch {self.batch}" if self.batch else "")
        parts.append(f"{self.labels} labels" if self.labels is not None else "")
        parts.append(f"rating {self.rating:.0f}" if self.rating is not None else "")
        parts.append(f"{words.percent(self.coverage)} covered" if self.coverage is not None else "")
        return ", ".join(filter(None, parts))


@dataclass
class Growth:
    """All of it.

    `parts`: the steps of one chain, or inside one label, together; `chains`: how many ran; `hidden`: edits not listed.
    """

    method: str
    means: str
    why: str
    parts: list[list[Step]]
    panels: list[Panel]
    chains: int
    edits: int
    hidden: int


def growth(induction: dict[str, Any], taxonomy: Taxonomy) -> Growth:
    """The steps and their charts; rating runs from 0 to 100, coverage from 0 to 1."""
    history = [step for step in induction.get("history") or [] if isinstance(step, dict)]
    top = [step for step in history if not step.get("within")]
    kept = next((step.get("chain") for step in top if step.get("step") == "choose"), None)
    chains = {step["chain"] for step in top if step.get("chain") is not None}
    steps = _steps(history, _names(history, taxonomy), kept if len(chains) > 1 else None)
    edits = sum(len(step.get("edits") or []) for step in history)
    method, why = words.field(induction, "method"), words.field(induction, "why", 600).rstrip(".")
    means = METHODS.get(method, "")
    parts = [list(part) for _, part in groupby(steps, key=lambda step: step.part)]
    return Growth(method, means, why, parts, _panels(steps, kept), len(chains), edits, max(0, edits - MOST_EDITS))


def _names(history: list[dict[str, Any]], taxonomy: Taxonomy) -> dict[str, str]:
    """Label id -> name, also of labels that are gone, as far as the history says."""
    edits = [edit for step in history for edit in step.get("edits") or []]
    added = [edit for edit in edits if edit.get("op") == "add" and edit.get("label") and edit.get("name")]
    named = {str(edit["label"]): str(edit["name"]) for edit in added}
    return named | {label.id: label.name for label in taxonomy.labels}


def _steps(history: list[dict[str, Any]], names: Mapping[str, str], kept: Any) -> list[Step]:
    steps: list[Step] = []
    left = MOST_EDITS
    for raw in history:
        within = names.get(str(raw.get("within")), str(raw.get("within") or ""))
        chain = words.figures(raw).get("chain")
        part = [f"Inside {within}"] * bool(within) + ([f"Chain {chain:.0f}"] if chain is not None else [])
        title = words.clean(", ".join(part), 160)
        if kept is not None and kept == chain and not within:
            title = "The choice" if raw.get("step") == "choose" else f"{title}, the one that was kept"
        number = steps[-1].number + 1 if steps and steps[-1].part == title else 1
        edits = [_edit(edit, names) for edit in (raw.get("edits") or [])[: max(0, left)]]
        steps.append(_step(number, title, within, raw, edits))
        left -= len(steps[-1].edits)
    return steps


def _step(number: int, part: str, within: str, raw: dict[str, Any], edits: list[Edit]) -> Step:
    known = words.figures(raw)
    chain, batch, labels = (int(known[key]) if key in known else None for key in ("chain", "batch", "labels"))
    name = words.field(raw, "step")
    return Step(number, name, chain, within, part, batch, labels, known.get("rating"), known.get("coverage"), edits)


def _edit(raw: dict[str, Any], names: Mapping[str, str]) -> Edit:
    op, label, into, name = (words.field(raw, key) for key in ("op", "label", "into", "name"))
    if op == "add":
        label, into = name or label, ""
    elif op in ("rename", "split"):
        into = name or into
    label, into = (words.clean(names.get(text, text), 120) for text in (label, into))
    applied = raw.get("applied", True) is not False
    return Edit(op, label, into, words.field(raw, "reason", 400), applied, words.field(raw, "problem", 400))


def _panels(steps: list[Step], kept: Any) -> list[Panel]:
    """Charts of the first level: one line per chain, the kept one last."""
    lines: dict[int | None, list[Step]] = {}
    for step in steps:
        if not step.within and (step.chain is None or step.name != "choose"):
            lines.setdefault(step.chain, []).append(step)
    order = [line for _, line in sorted(lines.items(), key=lambda pair: pair[0] == kept)]
    most = max((step.labels or 0 for line in order for step in line), default=0)

    def draw(title: str, value: Callable[[Step], float | None], top: float, unit: str = "") -> Panel | None:
        return panel(title, [[(value(step), step.note) for step in line] for line in order], top, unit)

    drawn = [
        draw("Number of labels", lambda step: step.labels, round_up(most)),
        draw("Rating by the model", lambda step: step.rating, 100),
        draw("Texts covered", lambda step: None if step.coverage is None else 100 * step.coverage, 100, "%"),
    ]
    return [p for p in drawn if p]
