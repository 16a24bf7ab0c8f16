"""The report of a graph run: how many labels are right, what was annotated, and where to look next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlabel.records import Status
from llmlabel.report import words
from llmlabel.report.files import RunFiles
from llmlabel.report.graph_nodes import Picked, Unsure, picked, unsure
from llmlabel.report.graph_right import Right, right_labels
from llmlabel.report.parts import part, sentence, whole
from llmlabel.report.plots import Mark

MOST_LABELS = 60
EDGE_NOTES = {"to_unknown_nodes": "to unknown nodes", "self_loops": "from a node to itself", "repeated": "repeated"}


@dataclass
class LabelRow:
    """One label. `annotated`, `kept`: nodes, None where unknown; `warn`: why no node can get it, "" where some can."""

    name: str
    description: str
    mark: Mark
    annotated: int | None
    kept: int | None
    nodes: int
    share: float
    bar: float
    confidence: float | None
    warn: str


@dataclass
class GraphSection:
    """All of it. `facts`: (figure, what it says) of the annotations; `said`: how they came about, in sentences."""

    summary: list[str]
    right: Right
    facts: list[tuple[str, str]]
    said: list[str]
    labels: list[LabelRow]
    hidden: int
    picked: Picked | None
    unsure: list[Unsure]


def is_graph(files: RunFiles) -> bool:
    return files.run.get("flow") == "graph" or bool(part(files.metrics, "graph"))


def graph_section(folder: Path, files: RunFiles, looks: Mapping[str, Mark]) -> GraphSection:
    """What the run folder tells; `looks`: how each label is drawn on the map."""
    names = {label.id: words.clean(label.name, 120) for label in files.taxonomy.labels}
    chosen = picked(folder / "selected.parquet", names)
    right, rows = right_labels(files.metrics), _labels(files, looks, chosen)
    return GraphSection(
        summary=_summary(files, right, chosen),
        right=right,
        facts=_facts(part(files.metrics, "annotations"), part(files.metrics, "decision")),
        said=_said(files.metrics),
        labels=rows[:MOST_LABELS],
        hidden=max(0, len(rows) - MOST_LABELS),
        picked=chosen,
        unsure=unsure(folder, files, names),
    )


def _summary(files: RunFiles, right: Right, chosen: Picked | None) -> list[str]:
    graph, notes = part(files.metrics, "graph"), part(files.run, "edges")
    nodes = whole(graph, "nodes") or files.rows.total
    edges = whole(graph, "edges") if graph else whole(notes, "edges")
    parts = [words.count(nodes, "node")] + ([words.count(edges, "edge")] if edges is not None else [])
    lines = [f"{', '.join(parts)}, {words.count(len(files.taxonomy.leaves), 'label')}{_work(files, chosen)}."]
    lines += right.said[:1]
    failed = sum(n for status, n in files.rows.statuses.items() if status not in set(Status) or Status(status).failed)
    lines += [f"{words.count(failed, 'node')} failed."] * bool(failed)
    told = [f"{n:,} {what}" for key, what in EDGE_NOTES.items() if (n := whole(notes, key))]
    lines += [f"Edges left out: {words.listed(told)}."] * bool(told)
    bare = {"isolated": "without an edge", "without_text": "without a text"}
    told = [f"{what}: {n:,}" for key, what in bare.items() if (n := whole(graph, key))]
    return lines + [f"Nodes {', '.join(told)}."] * bool(told)


def _work(files: RunFiles, chosen: Picked | None) -> str:
    """`; 120 annotated by a model, the rest labelled by sgc`."""
    said = part(files.metrics, "annotations")
    count = whole(said, "chosen") or (chosen.total if chosen else 0)
    if not count:
        return ""
    who = [words.clean(words.without_credentials(name), 80) for name in part(said, "annotators")]
    given = part(files.run, "config").get("annotations")
    if given:
        who.append(words.clean(Path(str(given)).name, 80))
    gnn = words.field(part(files.metrics, "decision"), "gnn", 60)
    by = f" by {words.listed(who)}" if who else ""
    return f"; {count:,} annotated{by}, the rest labelled by {gnn or 'a graph learner'}"


def _facts(raw: Mapping[str, Any], decision: Mapping[str, Any]) -> list[tuple[str, str]]:
    select, filter = (words.field(decision, key, 60) for key in ("select", "filter"))
    chosen, usable, kept, dropped = (whole(raw, key) for key in ("chosen", "usable", "kept", "dropped"))
    by = f" by {filter}" if filter and filter != "none" else ""
    gone = "none dropped" if not dropped else f"{dropped:,} dropped as likely wrong{by}"
    known = [
        (words.number(chosen), "nodes were chosen" + (f" by {select}" if select else "")) if chosen is not None else None,
        (words.number(usable), "of them got a usable label") if usable is not None else None,
        (words.number(kept), f"annotations were learned from; {gone}") if kept is not None else None,
        _sure(raw),
    ]
    return [fact for fact in known if fact]


def _sure(raw: Mapping[str, Any]) -> tuple[str, str] | None:
    """How many annotations are right: measured, else estimated."""
    right, kept, dropped = (words.figure(raw.get(key)) for key in ("accuracy", "accuracy_kept", "accuracy_dropped"))
    guess = words.figure(raw.get("mean_reliability"))
    if right is None:
        return None if guess is None else (words.percent(guess), "of the annotations are right, by the run's own estimate")
    sides = [f"{words.percent(v)} of those {which}" for v, which in ((kept, "kept"), (dropped, "dropped")) if v is not None]
    split = f": {words.listed(sides)}" if len(sides) == 2 else ""
    said = f"; the run's own estimate is {words.percent(guess)}" if guess is not None else ""
    return words.percent(right), f"of the annotations are right{split}{said}"


def _said(metrics: Mapping[str, Any]) -> list[str]:
    raw, decision = part(metrics, "annotations"), part(metrics, "decision")
    lost = {k: int(n) for k, n in words.figures(part(raw, "by_status")).items() if k != Status.OK and n}
    said = sentence(decision)
    if (rounds := whole(decision, "rounds") or 1) > 1:
        said.append(f"The budget was spent in {rounds} rounds, the later ones where graph and annotator disagree.")
    if lost:
        told = words.listed([f"{n:,} ({words.MEANING.get(s) or words.clean(s, 40)})" for s, n in lost.items()])
        said.append(f"Without a usable label: {told}.")
    return said


def _labels(files: RunFiles, looks: Mapping[str, Mark], chosen: Picked | None) -> list[LabelRow]:
    """Every label, the most frequent first."""
    rows = []
    for leaf in files.taxonomy.leaves:
        stats = files.rows.labels.get(leaf.id)
        annotated, kept = (None, None) if chosen is None else chosen.by_label.get(leaf.id, (0, 0))
        nodes, sure = (stats.rows, stats.confidence) if stats else (0, None)
        share = nodes / files.rows.total if files.rows.total else 0.0
        name, description, look = words.clean(leaf.name, 120), words.clean(leaf.description, 240), looks.get(leaf.id, Mark())
        rows.append(LabelRow(name, description, look, annotated, kept, nodes, share, 0.0, sure, _warning(annotated, kept)))
    most = max((row.nodes for row in rows), default=0) or 1
    for row in rows:
        row.bar = row.nodes / most
    return sorted(rows, key=lambda row: -row.nodes)


def _warning(annotated: int | None, kept: int | None) -> str:
    if annotated == 0:
        return "nobody annotated it, so no node can get it"
    return "all its annotations were dropped, so no node can get it" if kept == 0 else ""
