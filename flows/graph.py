"""`llmlabel run graph`: nodes, edges and a budget -> a label for every node."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from llmlabel.flows.running.artifacts import show_table
from llmlabel.flows.running.common import Desk, carry_out, timed
from llmlabel.flows.running.configured import flow
from llmlabel.flows.steps.annotation.annotators import Asking
from llmlabel.flows.steps.annotation.labelling import PLAIN, failure, write_annotations, write_failures, write_row_digests
from llmlabel.flows.steps.graph import annotations as graph_annotations
from llmlabel.flows.steps.graph import scores as graph_scores
from llmlabel.flows.steps.graph import write as graph_write
from llmlabel.flows.steps.graph.annotations import Said
from llmlabel.flows.steps.graph.scores import learn_as
from prefect import task

from llmlabel.annotation.annotators import pinned
from llmlabel.annotation.decide import Decision
from llmlabel.config import GraphConfig
from llmlabel.errors import ConfigError, DataError
from llmlabel.events import emit
from llmlabel.graph import features
from llmlabel.graph.graph import Annotated, FloatArray, Graph, adjacency
from llmlabel.graph.read import Edges, read_graph
from llmlabel.graph.selectors import disagreement, selector
from llmlabel.graph.train import Learned, ready
from llmlabel.llm import Models
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example, Status, Taxonomy
from llmlabel.runs import DONE, PARTIAL, Run, RunFolder, load_run, read_json, write_atomic, write_json

UNSURE = 200  # nodes whose texts the report may show, since their labels are the least sure
PER_LABEL = 20  # nodes annotated for each label where nothing else is said, as in the paper


class Work(Desk):
    """What the steps of one run share, and what they hand on: `said` (who said what), `made` (one label each), `known` (as
    arrays), `learned` (labels of all nodes)."""

    config: GraphConfig
    made: Decision
    known: Annotated
    learned: Learned
    raw: FloatArray  # features as they came

    def __init__(
        self, config: GraphConfig, examples: list[Example], folder: RunFolder, models: Models, edges: Edges,
        x: FloatArray | None, taxonomy: Taxonomy | None, old: Run | None,
    ) -> None:  # fmt: skip
        super().__init__(config, examples, folder, models)
        self.edges, self.x, self.old, self.said = edges, x, old, Said(taxonomy)

    @cached_property
    def place(self) -> dict[str, int]:
        return {e.id: n for n, e in enumerate(self.examples)}

    @cached_property
    def graph(self) -> Graph:
        """The graph, its features made: the file's, else vectors of the texts, else FastRP."""
        matrix = adjacency(len(self.examples), self.edges.source, self.edges.target, self.edges.weight)
        has_text = np.array([bool(e.text.strip()) for e in self.examples])
        asked = has_text if self.config.annotations is None else np.ones(len(self.examples), bool)
        bare = Graph(matrix, np.zeros((len(self.examples), 1), np.float32), self.classes, asked)
        self.raw, x = self.described(bare, has_text)
        return replace(bare, x=x)

    def described(self, bare: Graph, has_text: Any) -> tuple[FloatArray, FloatArray]:
        """Features as they came, for the baseline, and with rows of length 1."""
        parts = [] if self.x is None else [self.x]
        if self.x is None and has_text.any():
            full = np.flatnonzero(has_text)
            vectors = self.encode([self.examples[i].text for i in full])
            x = np.zeros((bare.size, vectors.shape[1]), np.float32)
            x[full] = vectors
            parts = [features.filled(x, has_text, bare)]
        if self.config.structure or (self.config.structure is None and not parts):
            parts.append(features.structural(bare, self.config.seed))
        return parts[0] if len(parts) == 1 else features.together(parts), features.together(parts)

    @cached_property
    def budget(self) -> int | None:
        """Nodes to annotate; None: every row of the file."""
        config, tree = self.config, self.said.taxonomy
        if config.budget_nodes is None:
            return None if config.annotations else PER_LABEL * len(tree.leaves if tree else [])
        if tree and config.budget_nodes < len(tree.leaves):
            raise ConfigError(
                f"--budget-nodes {config.budget_nodes} for {len(tree.leaves)} labels: with less than one node for each label "
                f"some are never learned; {PER_LABEL * len(tree.leaves)} is usual"
            )
        return config.budget_nodes

    @property
    def classes(self) -> int:
        """How many classes to expect before anything is annotated."""
        tree = self.said.taxonomy
        return len(tree.leaves) if tree else max(2, round((self.budget or 0) / PER_LABEL))


@flow(name="graph")
def graph(config: GraphConfig) -> dict[str, Any]:
    """Label every node of a graph for the price of a few.

    Returns: the run folder, exit code, counts and scores.
    """
    examples, edges, x = read_graph(
        config.data, config.edges, text_column=config.text_column, id_column=config.id_column, gold_column=config.gold_column,
        edges_column=config.edges_column,
    )  # fmt: skip
    if config.features:
        x = features.read_features(config.features, [e.id for e in examples])
    old = load_run(config.from_run) if config.from_run else None
    taxonomy = Taxonomy.load(config.taxonomy) if config.taxonomy else old.taxonomy if old and not config.annotations else None
    if taxonomy is not None and not taxonomy.leaves:
        raise DataError("the taxonomy has no labels")
    if config.annotations is None and not any(e.text.strip() for e in examples):
        raise DataError(f"no node has a text (column {config.text_column!r}), so no model can label any; name --annotations FILE")
    selector(graph_write.chosen_by(config))  # a wrong name is told before anything is paid
    ready(config.gnn, config.filter, config.loss)
    extra: dict[str, Any] = {
        "prompts": PromptLibrary(config.prompts).hashes(pinned()), "taxonomy": taxonomy.model_dump() if taxonomy else None,
        "graph": digest(edges.source, edges.target, edges.weight, x),
        "annotations": _looked_up(config),
    }  # fmt: skip

    def steps(folder: RunFolder, models: Models) -> int:
        return run_steps(Work(config, examples, folder, models, edges, x, taxonomy, old))

    return carry_out(config, "graph", examples, extra, steps, shown)


def _looked_up(config: GraphConfig) -> str | None:
    """What defines a run of the file of annotations: all it says, or where it is, if it is only looked up in."""
    if config.annotations is None or config.budget_nodes is not None:
        return str(config.annotations) if config.annotations else None
    return digest(np.array(repr(graph_annotations.look_up(config, None))))


def digest(*arrays: Any) -> str:
    """A hash of arrays, None for those that are not there."""
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def run_steps(work: Work) -> int:
    """The chain itself; every step leaves its result in the run folder."""
    folder, config = work.folder, work.config
    folder.info["edges"] = {"edges": int(work.graph.adjacency.nnz // 2), **work.edges.notes()}
    for number in range(1, config.rounds + 1):
        picked = timed(folder, "select", lambda n=number: choose(work, n))
        timed(folder, "annotate", lambda p=picked, n=number: annotate(work, p, n))
        timed(folder, "train", lambda: train(work))
    write_atomic(folder.path / "taxonomy.yaml", work.said.tree.dump())
    statuses, labels = timed(folder, "write", lambda: write(work))
    folder.info |= {"counts": dict(statuses), "labels": dict(labels)}
    timed(folder, "score", lambda: score(work))
    return PARTIAL if any(Status(s).failed for s in statuses) else DONE


@task(name="select", task_run_name="choose nodes, round {number}", **PLAIN)
def choose(work: Work, number: int) -> list[str]:
    """Ids of the nodes to annotate in this round, kept in the run folder."""
    config, size = work.config, work.budget
    if size is None:
        rows = graph_annotations.only_known(graph_annotations.look_up(config, None), work.place, str(config.annotations))
        return list(dict.fromkeys(row["id"] for row in rows))
    ids: list[str] = work.folder.step(f"select-{number}", lambda: _picked(work, number, size))
    return ids


def _picked(work: Work, number: int, size: int) -> list[str]:
    config, graph = work.config, work.graph
    there = int(graph.askable.sum())
    if size > there and number == 1:
        emit("note", text=f"--budget-nodes {size:,} is more than the {there:,} nodes that can be annotated; all of them are")
    left = min(size, there) - len(work.said.asked)
    share = -(-left // (config.rounds - number + 1))
    rng = np.random.default_rng(config.seed)
    if number == 1:
        rows = selector(graph_write.chosen_by(config)).select(graph, share, rng)
    else:
        taken = np.array([work.place[i] for i in work.said.asked])
        rows = disagreement.select(graph, share, rng, probs=work.learned.probs, taken=taken)
    return [work.examples[i].id for i in rows]


@task(name="annotate", task_run_name="annotate nodes, round {number}", **PLAIN)
def annotate(work: Work, picked: list[str], number: int) -> None:
    """Have the chosen nodes labelled, or look their labels up; and make one label of all that was said so far."""
    config, said = work.config, work.said
    if not picked:
        return
    if config.annotations:
        found = graph_annotations.look_up(config, picked if work.budget is not None else None)
        if found or number == 1:
            found = graph_annotations.only_known(found, work.place, str(config.annotations))
        said.add_given(found, picked, number)
    else:
        nodes = [work.place[i] for i in picked]
        rows = graph_annotations.shown(config, work.examples, nodes, work.graph.adjacency)
        said.add(graph_annotations.ask(_asking(work), config, rows, number), picked, number)
    work.made = said.decided(config)
    work.known = graph_annotations.annotated(work.made, work.place)
    for note in _about(work):
        emit("note", text=note)


def _about(work: Work) -> list[str]:
    """What a user should know of the annotations, in plain sentences."""
    known, asked, notes = work.known, len(work.said.asked), []
    if len(known.nodes) < asked:
        notes.append(
            f"{asked - len(known.nodes):,} of {asked:,} chosen nodes have no usable label; they are labelled as all others"
        )
    names = {label.id: label.name for label in work.said.tree.leaves}
    if len(there := set(known.labels.tolist())) == 1:
        notes.append(f"every annotation says {names[known.classes[there.pop()]]!r}, so every node gets that label")
    elif lacking := [names[c] for k, c in enumerate(known.classes) if k not in there]:
        notes.append(f"no node was annotated with {', '.join(lacking[:8])}; no node can get that label")
    return notes


def _asking(work: Work) -> Asking:
    config, tree = work.config, work.said.tree
    texts = work.by_id
    solved = [Example(i, texts[i].text, leaf.id) for leaf in tree.leaves for i in leaf.examples if i in texts]
    return Asking(
        config, work.folder, work.models, tree, PromptLibrary(config.prompts), work.encode, config.use_case or tree.use_case,
        work.follow, few_shot=config.few_shot, gold=solved, old=work.old,
    )  # fmt: skip


@task(name="train", task_run_name="train the learner", **PLAIN)
def train(work: Work) -> None:
    config = work.config
    work.learned = learn_as(config, work.graph, work.known, on_done=work.counter("train", config.trainings))
    for note in work.learned.notes:
        emit("note", text=note)


@task(name="write", task_run_name="write labels.parquet", **PLAIN)
def write(work: Work) -> tuple[Counter[str], Counter[str]]:
    folder = work.folder.path
    write_row_digests(folder / "steps" / "rows.parquet", work.examples)
    write_annotations(folder / "annotations.parquet", work.made.panel)
    failed = [row for row in work.made.rows.values() if row.status.failed]
    write_failures(folder / "failures.jsonl", [failure(row, work.folder.retries + 1) for row in failed])
    graph_write.selection(folder / "selected.parquet", work)
    graph_write.data(folder / "graph.safetensors", work)
    found: tuple[Counter[str], Counter[str]] = graph_write.labels(work, work.counter("write", len(work.examples)))
    graph_write.picture(folder / "steps" / "map.json", work)
    return found


@task(name="score", task_run_name="measure and score", **PLAIN)
def score(work: Work) -> None:
    found = graph_scores.metrics(work)
    write_json(work.folder.path / "metrics.json", {"schema": 1, **found, "counts": work.folder.info["counts"]})
    unsure = np.argsort(work.learned.confidence, kind="stable")[:UNSURE]
    wanted = {i for label in work.said.tree.labels for i in label.examples} | {work.examples[i].id for i in unsure}
    texts = {i: work.by_id[i].text[:300] for i in sorted(wanted) if i in work.by_id}
    write_json(work.folder.path / "steps" / "texts.json", texts)


def shown(folder: RunFolder) -> dict[str, Any]:
    """The run in a few figures, in Prefect's UI and as a result."""
    metrics, tree = read_json(folder.path / "metrics.json"), load_run(folder.path).taxonomy
    labels = folder.info.get("labels", {})
    plain = [{"method": name, **found} for name, found in metrics["scores"].items() if found]
    show_table("scores", plain or [{"estimate": metrics["estimate"]}], "how many labels are right")
    return {
        "out": str(folder.path), "exit": folder.info["exit"], "counts": folder.info["counts"],
        "labels": {label.name: labels.get(label.id, 0) for label in tree.leaves}, "scores": metrics["scores"],
        "estimate": metrics["estimate"], "annotations": metrics["annotations"], "cost": folder.info["cost"]["money"],
        "retries": folder.retries, "report": str(folder.path / "report.html"),
    }  # fmt: skip


__all__: Sequence[str] = ["Work", "graph"]
