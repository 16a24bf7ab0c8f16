"""metrics.json of a graph run: what is estimated without gold, and where there is gold, what is true beside the baselines."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from llmlabel.flows.steps.annotation.proof import spent
from llmlabel.flows.steps.graph import annotations as graph_annotations
from llmlabel.flows.steps.graph.annotations import Said
from llmlabel.flows.steps.graph.write import chosen_by, final

from llmlabel.annotation.calibration.fitting import ece
from llmlabel.config import GraphConfig
from llmlabel.errors import DataError
from llmlabel.events import emit
from llmlabel.graph import selectors
from llmlabel.graph.graph import Annotated, FloatArray, Graph, IntArray
from llmlabel.graph.plain import plain
from llmlabel.graph.train import Learned, learn
from llmlabel.records import fold
from llmlabel.stats import wilson

if TYPE_CHECKING:
    from llmlabel.flows.graph import Work

UNKNOWN, STRANGE = -1, -2  # gold that is not there; a true class nobody annotated, which no label can meet


def metrics(work: Work) -> dict[str, Any]:
    """All parts of metrics.json but the counts."""
    config, learned, graph = work.config, work.learned, work.graph
    gold = truth(work, work.known)
    met = bool((gold >= 0).any())
    if not met and (gold == STRANGE).any():
        strange, label = next(e.gold for e in work.examples if e.gold is not None), work.said.tree.leaves[0]
        emit("note", text=f"nothing is scored: no gold label, such as {strange!r}, is a label here, such as {label.name!r}")
    return {
        "scores": compared(work, gold) if met else {},
        "estimate": estimated(learned),
        "annotations": annotated(work, gold[work.known.nodes]),
        "decision": {
            "select": chosen_by(config), "filter": learned.filter, "gnn": learned.gnn, "rounds": config.rounds,
            "consensus": work.made.method,
        },
        "graph": {
            "nodes": graph.size, "edges": int(graph.adjacency.nnz // 2), "features": int(graph.x.shape[1]),
            "isolated": int((graph.degree == 0).sum()), "without_text": sum(not e.text.strip() for e in work.examples),
        },
    }  # fmt: skip


def annotated(work: Work, gold: IntArray) -> dict[str, Any]:
    """What was annotated, what stayed, and how much of either is right. gold: (n,) of the nodes with a usable label."""
    known, learned = work.known, work.learned
    right, there, kept = known.labels == gold, gold != UNKNOWN, learned.kept
    return {
        "chosen": len(work.said.asked), "usable": len(known.nodes), "kept": int(kept.sum()), "dropped": int((~kept).sum()),
        "mean_reliability": round(float(learned.reliability.mean()), 4), "classes": len(set(known.labels.tolist())),
        "by_status": dict(Counter(str(row.status) for row in work.made.rows.values())),
        "annotators": {c.name: spent(c, work.models, work.folder) for c in work.made.panel.columns if c.spec},
        "accuracy": _share(right[there]), "accuracy_kept": _share(right[there & kept]),
        "accuracy_dropped": _share(right[there & ~kept]),
    }  # fmt: skip


def learn_as(config: GraphConfig, graph: Graph, known: Annotated, **more: Any) -> Learned:
    """Train as the settings say."""
    return learn(
        graph, known, gnn=config.gnn, filter=config.filter, share=config.filter_share, weigh=config.weigh, loss=config.loss,
        smooth=config.correct_and_smooth, trainings=config.trainings, seed=config.seed, **more,
    )  # fmt: skip


def estimated(learned: Learned) -> dict[str, Any] | None:
    """What is said without gold of nodes not annotated; None where nothing can be said."""
    told = learned.estimate
    if told is None:
        return None
    found = {"accuracy": told.value, "low": told.low, "high": told.high}
    views = {name: round(value, 4) for name, value in told.views.items()}
    return {name: round(value, 4) for name, value in found.items()} | {"assumes": told.assumes, "views": views}


def truth(work: Work, known: Annotated) -> IntArray:
    """(N,) class index of the gold label; UNKNOWN without one; STRANGE for a class nobody annotated."""
    place = {c: k for k, c in enumerate(known.classes)}
    leaves = work.said.tree.leaves
    index = {fold(name): place.get(leaf.id, STRANGE) for leaf in leaves for name in (leaf.name, leaf.id)}
    return np.array([index.get(fold(e.gold), STRANGE) if _told(e.gold) else UNKNOWN for e in work.examples])


def _told(gold: str | None) -> TypeGuard[str]:
    """Whether a cell holds a label; a number below 0 stands for none."""
    return gold is not None and not re.fullmatch(r"-\d+(\.0)?", gold)


def compared(work: Work, gold: IntArray) -> dict[str, Any]:
    """Accuracy on nodes with gold that were not annotated: of this run; of the baseline `plain` (random nodes, no filter, two
    hops and a logistic regression); and of random nodes with this run's own training.

    Random nodes have to be annotated too. In a file of annotations they are looked up, for this comparison alone; a model is not
    paid for them: then `plain` learns from the run's own annotations, and says so.
    """
    known, learned = work.known, work.learned
    told = gold != UNKNOWN
    everywhere = {"accuracy_all_nodes": _share((final(work) == gold)[told])}
    found: dict[str, Any] = {"llmlabel": quality(learned.probs, learned.confidence, gold, known) | everywhere}
    if work.config.annotations is None or work.budget is None:
        return found | {"plain": quality(plain(work.graph, known, work.raw), None, gold, known) | {"nodes": "the run's own"}}
    try:
        drawn = _random(work)
    except DataError as e:
        emit("note", text=f"no baseline to compare with: {e}")
        return found
    again = learn_as(work.config, work.graph, drawn, proof=False)
    for name, probs in (("plain", plain(work.graph, drawn, work.raw)), ("random", again.probs)):
        found[name] = quality(probs, None, truth(work, drawn), drawn) | {"nodes": "random"}
    return found


def _random(work: Work) -> Annotated:
    """As many random nodes, looked up."""
    rng = np.random.default_rng(work.config.seed)
    rows = selectors.selector("random").select(work.graph, len(work.said.asked), rng)
    ids = [work.examples[i].id for i in rows]
    said = Said(work.said.taxonomy)
    said.add_given(
        graph_annotations.only_known(graph_annotations.look_up(work.config, ids), work.place, str(work.config.annotations)), ids
    )
    return graph_annotations.annotated(said.decided(work.config), work.place)


def quality(probs: FloatArray, confidence: FloatArray | None, gold: IntArray, known: Annotated) -> dict[str, Any]:
    """Accuracy with its 95% Wilson interval, macro F1 and, given confidences, calibration error; on gold nodes not annotated."""
    from sklearn.metrics import f1_score

    rows = gold != UNKNOWN
    rows[known.nodes] = False
    if not rows.any():
        return {"nodes_measured": 0}
    labels, true = probs[rows].argmax(axis=1), gold[rows]
    right = labels == true
    low, high = wilson(int(right.sum()), len(right))
    found = {
        "accuracy": round(float(right.mean()), 4), "low": round(low, 4), "high": round(high, 4), "nodes_measured": len(right),
        "macro_f1": round(float(f1_score(true, labels, average="macro", labels=np.unique(true), zero_division=0)), 4),
    }  # fmt: skip
    return found if confidence is None else found | {"ece": round(ece(confidence[rows], right), 4)}


def _share(right: Any) -> float | None:
    return round(float(right.mean()), 4) if len(right) else None
