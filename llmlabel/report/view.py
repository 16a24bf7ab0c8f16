"""What the report shows, gathered from the run's files: the opening and the tree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from llmlabel.records import Label, Status
from llmlabel.report import account, quality, words
from llmlabel.report.align import AlignSection, align_section, is_align
from llmlabel.report.audit import Audit, audit
from llmlabel.report.chain import ChainSection, chain_section, is_chain
from llmlabel.report.drift import DriftSection, drift_section, is_daily
from llmlabel.report.evidence import Evidence, evidence
from llmlabel.report.files import Rows, RunFiles
from llmlabel.report.graph import GraphSection, graph_section, is_graph
from llmlabel.report.growth import Growth, growth
from llmlabel.report.map import Drawing, cloud_map
from llmlabel.report.plots import Cloud, Mark
from llmlabel.report.select_view import SelectSection, is_select, select_section


@dataclass
class StatusCount:
    """How many rows have one status. `kind`: ok, abstained or failed."""

    status: str
    meaning: str
    kind: str
    rows: int
    share: float


@dataclass
class Node:
    """One label in the tree; a parent's rows are those of its children and its own."""

    name: str
    description: str
    mark: Mark | None
    rows: int
    also: int
    share: float
    bar: float
    confidence: float | None
    examples: list[str]
    children: list[Node]


@dataclass
class Page:
    """Everything the template fills in."""

    title: str
    run_name: str
    started: str
    summary: list[str]
    statuses: list[StatusCount]
    evidence: Evidence | None
    audit: Audit | None
    graph: GraphSection | None
    align: AlignSection | None
    select: SelectSection | None
    chain: ChainSection | None
    drift: DriftSection | None
    tree: list[Node]
    clouds: list[Cloud]
    mapped: int
    drawing: Drawing | None
    growth: Growth
    scores: quality.Scores
    student: quality.Student | None
    failures: list[account.Failed]
    cost: account.Cost
    redo: account.Redo


def gather(folder: Path, files: RunFiles) -> Page:
    """The page of one run."""
    clouds, drawing = cloud_map(files)
    looks = {cloud.label: cloud.mark for cloud in clouds}
    tree = [_node(files, label, looks) for label in files.taxonomy.roots]
    config = files.run.get("config") or {}
    use_case = files.taxonomy.use_case or str(config.get("use_case") or "")
    _draw_bars(tree)
    audited = audit(folder, files)
    graph = graph_section(folder, files, looks) if is_graph(files) else None
    align = align_section(folder, files) if is_align(files) else None
    select = select_section(folder, files) if is_select(files) else None
    chain = chain_section(folder, files) if is_chain(files) else None
    drift = drift_section(folder, files) if is_daily(files) else None
    tree = [] if drift else tree
    lists = align or select or chain
    files = replace(files, rows=Rows()) if lists else files  # it counts lists or answers, each flow in words of its own
    own = lists or audited or graph or drift
    untitled = "Labels that may be wrong" if audited else "Labels for a graph" if graph else "A taxonomy of texts"
    return Page(
        title=words.clean(use_case, 200) or (lists.title if lists else "A daily round" if drift else untitled),
        run_name=words.clean(folder.resolve().name, 80),
        started=words.clean(files.run.get("started") or "", 40).replace("T", " ").replace("+00:00", " UTC"),
        summary=own.summary if own else _summary(files),
        statuses=_statuses(files),
        evidence=None if graph or lists or drift else evidence(files, folder.name),
        audit=audited,
        graph=graph,
        align=align,
        select=select,
        chain=chain,
        drift=drift,
        tree=_by_rows(tree),
        clouds=clouds,
        mapped=sum(len(cloud.dots) for cloud in clouds),
        drawing=drawing,
        growth=growth(files.induction, files.taxonomy),
        scores=quality.Scores() if graph or lists else quality.scores(files.metrics),
        student=None if graph or lists else quality.student(files.metrics),
        failures=account.failed(files),
        cost=account.cost(files.run),
        redo=account.redo(files.run),
    )


def _summary(files: RunFiles) -> list[str]:
    """The whole run in a few plain sentences."""
    rows, data = files.rows, files.run.get("data") or {}
    done = rows.statuses.get(Status.OK, 0)
    labels = words.count(len(files.taxonomy.leaves), "label")
    if parents := len(files.taxonomy) - len(files.taxonomy.leaves):
        labels += f" in {words.count(parents, 'group')}"
    share = words.percent(done / rows.total) if rows.total else "none"
    lines = [f"{words.count(rows.total, 'text')}, {labels}, {share} labelled."]
    if rows.sources.get("student") and rows.sources.get("llm"):
        student, llm = rows.sources["student"], rows.sources["llm"]
        lines.append(f"The language model labelled {llm:,}; a small classifier trained on those labelled {student:,}.")
    lines.append(_the_rest(rows.statuses))
    lines.append(quality.in_a_sentence(files.metrics))
    notes = [f"{int(data[key]):,} {note}" for key, note in INPUT_NOTES.items() if data.get(key)]
    if rows.suspect:
        notes.append(f"{rows.suspect:,} marked as suspect")
    if notes:
        lines.append(f"Of all texts: {words.listed(notes)}.")
    return [line for line in lines if line]


INPUT_NOTES = {"empty": "empty", "duplicates": "the same as another", "texts_cut": "too long and cut"}


def _the_rest(statuses: dict[str, int]) -> str:
    unfit, unsure = statuses.get(Status.NONE_FITS, 0), statuses.get(Status.LOW_CONFIDENCE, 0)
    failed = sum(n for status, n in statuses.items() if _kind(status) == "failed")
    parts = [f"{unfit:,} fit no label"] * bool(unfit) + [f"{unsure:,} were left open as too unsure"] * bool(unsure)
    if not parts and not failed:
        return ""
    return f"Of the rest, {words.listed([*parts, f'{failed:,} failed' if failed else 'none failed'])}."


def _kind(status: str) -> str:
    if status == Status.OK:
        return "ok"
    return "abstained" if status in (Status.NONE_FITS, Status.LOW_CONFIDENCE) else "failed"


def _statuses(files: RunFiles) -> list[StatusCount]:
    counts = files.rows.statuses
    order = [s for s in Status if counts.get(s)] + sorted(set(counts) - set(Status))
    whole = sum(counts.values()) or 1
    return [StatusCount(words.clean(s, 40), words.MEANING.get(s, ""), _kind(s), counts[s], counts[s] / whole) for s in order]


def _node(files: RunFiles, label: Label, looks: dict[str, Mark]) -> Node:
    children = [_node(files, child, looks) for child in files.taxonomy.children(label.id)]
    own = files.rows.labels.get(label.id)
    rows = (own.rows if own else 0) + sum(child.rows for child in children)
    sure = [(c.confidence, c.rows) for c in children] + ([(own.confidence, own.rows)] if own else [])
    known = [(c, n) for c, n in sure if c is not None and n]
    return Node(
        name=words.clean(label.name, 120),
        description=words.clean(label.description, 400),
        mark=None if children else looks.get(label.id, Mark()),
        rows=rows,
        also=own.also if own else 0,
        share=rows / files.rows.total if files.rows.total else 0.0,
        bar=0.0,
        confidence=sum(c * n for c, n in known) / sum(n for _, n in known) if known else None,
        examples=[words.clean(files.texts[i], 300) for i in label.examples if i in files.texts][:3],
        children=_by_rows(children),
    )


def _by_rows(nodes: list[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: -node.rows)


def _draw_bars(tree: list[Node]) -> None:
    """Bars relative to the longest one of all labels that texts are labelled with; a parent has none."""
    leaves = [node for root in tree for node in _leaves(root)]
    longest = max((node.rows for node in leaves), default=0) or 1
    for node in leaves:
        node.bar = node.rows / longest


def _leaves(node: Node) -> list[Node]:
    return [leaf for child in node.children for leaf in _leaves(child)] if node.children else [node]
