"""What a graph run leaves behind: labels of all nodes, why nodes were chosen, the graph for PyG, and what its picture needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from llmlabel.flows.steps.annotation.labelling import two_dimensions, write_labels

from llmlabel.config import GraphConfig
from llmlabel.graph.calibration import threshold
from llmlabel.graph.explain import explain
from llmlabel.graph.graph import Graph, IntArray
from llmlabel.graph.train import AUTO_SELECT
from llmlabel.records import Annotation, Example, Status
from llmlabel.runs import write_atomic, write_json, write_parquet

if TYPE_CHECKING:
    from llmlabel.flows.graph import Work

EXCERPT = 160
DRAWN, HOPS = 1200, 2  # nodes in the picture; their places come from features propagated so far


def chosen_by(config: GraphConfig) -> str:
    """The selection strategy of the first round."""
    return AUTO_SELECT if config.select == "auto" else config.select


def labels(work: Work, on_done: Any) -> tuple[Counter[str], Counter[str]]:
    """labels.parquet: what was annotated and kept stands (source llm); the graph learner labels the rest (gnn)."""
    config, learned, known = work.config, work.learned, work.known
    least = threshold(learned.confidence, config.target_precision) if config.target_precision else 0.0
    kept = {work.examples[i].id for i in known.nodes[learned.kept]}
    asked = {i: row for i, row in work.made.rows.items() if i in kept or row.status is Status.NONE_FITS}
    for node, sure in zip(known.nodes, learned.reliability, strict=True):
        if (row := asked.get(work.examples[node].id)) is not None:
            row.confidence = round(float(sure), 6)
    found = write_labels(
        work.folder.path / "labels.parquet", work.examples, asked, lambda rows: _by_gnn(work, rows), on_done,
        max(least, config.min_confidence), work.folder.retries + 1, needs_text=False,
    )  # fmt: skip
    return found[0], found[1]


def _by_gnn(work: Work, rows: Sequence[Example]) -> list[Annotation]:
    learned, classes = work.learned, work.known.classes
    found = []
    for e in rows:
        i = work.place[e.id]
        best = classes[int(learned.probs[i].argmax())]
        probs = {c: round(float(p), 6) for c, p in zip(classes, learned.probs[i], strict=True)}
        found.append(
            Annotation(
                e.id, best, Status.OK, [best], round(float(learned.confidence[i]), 6), probs, "student", "gnn", learned.gnn
            )
        )
    return found


def selection(path: Path, work: Work) -> None:
    """selected.parquet: every chosen node in order, why it was chosen, what was said of it, and whether that stayed."""
    config, known = work.config, work.known
    picked = np.array([work.place[i] for i in work.said.asked], dtype=np.int64)
    place = {int(node): n for n, node in enumerate(known.nodes)}
    first = "given" if work.budget is None else chosen_by(config)
    strategies = [first if number == 1 else "disagreement" for number in work.said.rounds]
    rows = []
    for node, number, fact in zip(picked, work.said.rounds, explain(work.graph, picked, strategies), strict=True):
        found = {"id": work.examples[node].id, "round": number, **fact, **_said(work, place.get(int(node)))}
        rows.append(found | {"text": work.examples[node].text[:EXCERPT]})
    write_parquet(path, pa.Table.from_pylist(rows))


def _said(work: Work, n: int | None) -> dict[str, Any]:
    """What was said of a chosen node; n: its place among those with a usable label."""
    known, learned = work.known, work.learned
    if n is None:
        return {"label": None, "confidence": None, "reliability": None, "weight": None, "kept": False}
    numbers = {"confidence": known.confidence[n], "reliability": learned.reliability[n], "weight": learned.weights[n]}
    label = known.classes[known.labels[n]]
    return {"label": label, **{name: _number(value) for name, value in numbers.items()}, "kept": bool(learned.kept[n])}


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def final(work: Work) -> IntArray:
    """(N,) class index of every node's label: annotations that were kept, else what was learned."""
    learned, known = work.learned, work.known
    found = learned.probs.argmax(axis=1)
    found[known.nodes[learned.kept]] = known.labels[learned.kept]
    return found


def data(path: Path, work: Work) -> None:
    """graph.safetensors: x, edge_index (edges as they were given), y (the labels), confidence, probs and train_mask; what
    `llmlabel.graph.load_data` makes a PyG `Data` of."""
    from safetensors.numpy import save

    learned, known = work.learned, work.known
    y = final(work)
    mask = np.zeros(len(y), bool)
    mask[known.nodes[learned.kept]] = True
    arrays = {
        "x": np.ascontiguousarray(work.graph.x, dtype=np.float32), "edge_index": np.stack([work.edges.source, work.edges.target]),
        "y": y, "confidence": learned.confidence.astype(np.float32), "probs": learned.probs.astype(np.float32),
        "train_mask": mask,
    }  # fmt: skip
    if work.edges.weight is not None:
        arrays["edge_weight"] = work.edges.weight.astype(np.float32)
    write_atomic(path, save(arrays, {"classes": "\n".join(known.classes)}))


def picture(path: Path, work: Work) -> None:
    """map.json: places of at most `DRAWN` nodes, their labels, edges among them, and which were annotated."""
    known, learned = work.known, work.learned
    best, kept = final(work), known.nodes[learned.kept]
    rng = np.random.default_rng(work.config.seed)
    nodes = drawn(work.graph, known.nodes, rng)
    places = two_dimensions(work.graph.propagated(HOPS)[nodes], work.config.seed) if len(nodes) > 2 else np.zeros((0, 2))
    among = work.graph.adjacency[nodes][:, nodes].tocoo()
    lines = np.stack([*among.coords], axis=1)[among.coords[0] < among.coords[1]]
    write_json(
        path,
        {
            "id": [work.examples[i].id for i in nodes], "label": [known.classes[best[i]] for i in nodes],
            "x": np.round(places[:, 0], 3).tolist(), "y": np.round(places[:, 1], 3).tolist(),
            "text": [work.examples[i].text[:EXCERPT] or work.examples[i].id for i in nodes],
            "edges": lines.tolist(), "annotated": np.isin(nodes, kept).tolist(), "nodes": work.graph.size,
        },
    )  # fmt: skip


def drawn(graph: Graph, annotated: IntArray, rng: np.random.Generator) -> IntArray:
    """At most `DRAWN` nodes for the picture: the annotated ones, their neighbours, and others at random."""
    annotated = annotated[:DRAWN]
    near = np.setdiff1d(graph.adjacency[annotated].indices, annotated)
    others = np.setdiff1d(np.arange(graph.size), np.r_[annotated, near])
    order = np.r_[annotated, rng.permutation(near), rng.permutation(others)]
    return np.sort(order[:DRAWN].astype(np.int64))
