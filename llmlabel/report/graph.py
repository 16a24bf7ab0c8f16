"""The report of a graph run: how many labels are right, what was annotated, and where to look next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlabel.records import Status
from llmlabel.report import words
from llmlabel.report.charts import Scale, scale
from llmlabel.report.files import RunFiles
from llmlabel.report.graph_nodes import Picked, Unsure, picked, unsure
from llmlabel.report.parts import Estimate, estimate, part, sentence, texts, whole
from llmlabel.report.plots import Mark

MOST_LABELS = 60
SIMPLE = "no filter, features averaged over two hops of neighbours, and a logistic regression"
METHODS = {
    "llmlabel": ("This run", ""),
    "plain": ("Plain", f"random nodes, {SIMPLE}"),
    "random": ("Random nodes", "chosen at random, the rest as in this run"),
}
OWN_NODES = f"the nodes this run had annotated, {SIMPLE}"
EDGE_NOTES = {"to_unknown_nodes": "lead to unknown nodes", "self_loops": "lead from a node to itself", "repeated": "are repeated"}


@dataclass
class Method:
    """One row of the chart. `how`: in plain words, what it does; `nodes`: measured on so many."""

    name: str
    how: str
    right: Estimate
    nodes: int | None = None
    macro_f1: float | None = None


@dataclass
class Right:
    """How many labels are right. `said`: sentences, the first one the answer; `assumes`: what the estimate rests on."""

    said: list[str]
    methods: list[Method]
    guess: Estimate
    assumes: list[str]
    scale: Scale

    @property
    def measured(self) -> bool:
        return any(method.right.value is not None for method in self.methods)


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
    right, rows = _right(files.metrics), _labels(files, looks, chosen)
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
    lines += [f"Of the edges given, {words.listed(told)}; these are left out."] * bool(told)
    bare = {"isolated": "have no edge", "without_text": "have no text"}
    told = [f"{n:,} {what}" for key, what in bare.items() if (n := whole(graph, key))]
    return lines + [f"Of the nodes, {words.listed(told)}."] * bool(told)


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


def _right(metrics: Mapping[str, Any]) -> Right:
    scores, raw = part(metrics, "scores"), part(metrics, "estimate")
    order = [*METHODS, *(key for key in scores if key not in METHODS)]
    methods = [_method(key, found) for key in order if "accuracy" in words.figures(found := part(scores, key))]
    guess = estimate(raw, "accuracy")
    ends = [v for e in [*(m.right for m in methods), guess] for v in (e.value, e.high)]
    assumes = texts(raw, "assumes", 6) if isinstance(raw.get("assumes"), list) else sentence(raw, "assumes")
    said = _answer(part(scores, "llmlabel"), guess) + _beside(scores) + sentence(scores, "note")
    return Right(said, methods, guess, assumes, scale([v for v in ends if v is not None]))


def _method(key: str, raw: Mapping[str, Any]) -> Method:
    name, how = METHODS.get(key, (words.clean(key, 40), ""))
    if key == "plain" and raw.get("nodes") == "the run's own":
        how = OWN_NODES
    return Method(name, how, estimate(raw, "accuracy"), whole(raw, "nodes_measured"), words.figure(raw.get("macro_f1")))


def _answer(ours: Mapping[str, Any], guess: Estimate) -> list[str]:
    """The answer first, then how the estimate compares with it."""
    right, nodes = estimate(ours, "accuracy"), whole(ours, "nodes_measured")
    guessed = words.percent(guess.value) + (f" (95% interval {guess.interval})" if guess.interval else "")
    if right.value is None:
        lines = ["Every node with a known true label was annotated: nothing is left to measure on."] if nodes == 0 else []
        if guess.value is None:
            return [*lines, "How many of the labels are right is not known."]
        return [f"By estimate {guessed} of the labels are right; no true label was there to measure it.", *lines]
    on = f", measured on {words.count(nodes, 'node')} that were not annotated" if nodes else ""
    between = f" (95% interval {right.interval})" if right.interval else ""
    lines = [f"{words.percent(right.value)} of the labels are right{between}{on}."]
    if guess.value is not None and guess.low is not None and guess.high is not None:
        holds = guess.low <= right.value <= guess.high
        what = "which holds what was measured" if holds else "which does not hold what was measured: do not rely on it here"
        lines.append(f"Without a true label the run would have said {guessed}, {what}.")
    if (ece := words.figure(ours.get("ece"))) is not None:
        lines.append(f"Confidence and the share that is right are {100 * ece:.1f} points of 100 apart (ECE {ece:.3f}).")
    return lines


def _beside(scores: Mapping[str, Any]) -> list[str]:
    ours, theirs = (words.figure(part(scores, key).get("accuracy")) for key in ("llmlabel", "plain"))
    if ours is None or theirs is None:
        return []
    gap = round(100 * (ours - theirs), 1)
    said = "the same as" if gap == 0 else f"{abs(gap):.1f} points {'more' if gap > 0 else 'less'} than"
    return [f"That is {said} plain, the simplest way to do it."]


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
        told = words.listed([f"{n:,} {words.clean(status, 40)}" for status, n in lost.items()])
        said.append(f"Without a usable label: {told}. The graph learner labels such nodes, unless no label fits them.")
    return said


def _labels(files: RunFiles, looks: Mapping[str, Mark], chosen: Picked | None) -> list[LabelRow]:
    """Every label, the most frequent first."""
    rows = []
    for leaf in files.taxonomy.leaves:
        stats = files.rows.labels.get(leaf.id)
        annotated, kept = (None, None) if chosen is None else chosen.by_label.get(leaf.id, (0, 0))
        nodes = stats.rows if stats else 0
        rows.append(LabelRow(
            words.clean(leaf.name, 120), words.clean(leaf.description, 240), looks.get(leaf.id, Mark()), annotated, kept, nodes,
            nodes / files.rows.total if files.rows.total else 0.0, 0.0, stats.confidence if stats else None, _warning(annotated, kept),
        ))  # fmt: skip
    most = max((row.nodes for row in rows), default=0) or 1
    for row in rows:
        row.bar = row.nodes / most
    return sorted(rows, key=lambda row: -row.nodes)


def _warning(annotated: int | None, kept: int | None) -> str:
    if annotated == 0:
        return "nobody annotated it, so no node can get it"
    return "all its annotations were dropped, so no node can get it" if kept == 0 else ""
