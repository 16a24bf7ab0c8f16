"""metrics.json of a graph run: what is estimated without gold, and where there is gold, what is true beside the baselines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from llmlabel.flows import graph_annotations as annotations
from llmlabel.flows.graph_annotations import Said
from llmlabel.flows.graph_write import chosen_by
from llmlabel.flows.proof import spent

from llmlabel.annotation.calibration.fitting import ece
from llmlabel.errors import DataError
from llmlabel.graph import selectors
from llmlabel.graph.graph import Annotated, FloatArray, IntArray
from llmlabel.graph.plain import plain
from llmlabel.graph.train import Learned, learn
from llmlabel.records import fold
from llmlabel.stats import wilson

if TYPE_CHECKING:
    from llmlabel.flows.graph import Work

UNKNOWN, STRANGE = -1, -2  # gold that is not there; a true class nobody annotated, which no label can meet


def metrics(work: Work) -> dict[str, Any]:
    known, learned, config = work.known, work.learned, work.config
    gold = truth(work, known)
    used = {c.name: spent(c, work.models, work.folder) for c in work.made.panel.columns if c.spec}
    return {
        "scores": compared(work, gold) if (gold != UNKNOWN).any() else {},
        "estimate": estimated(learned),
        "annotations": {
            "chosen": len(work.said.asked), "usable": len(known.nodes), "kept": int(learned.kept.sum()),
            "dropped": int((~learned.kept).sum()), "mean_reliability": round(float(learned.reliability.mean()), 4),
            "by_status": _statuses(work), "classes": len(set(known.labels.tolist())), "annotators": used,
            "accuracy": _accuracy(known.labels == gold[known.nodes], gold[known.nodes] != UNKNOWN),
            "accuracy_kept": _accuracy((known.labels == gold[known.nodes])[learned.kept], gold[known.nodes][learned.kept] != UNKNOWN),
            "accuracy_dropped": _accuracy(
                (known.labels == gold[known.nodes])[~learned.kept], gold[known.nodes][~learned.kept] != UNKNOWN
            ),
        },
        "decision": {
            "select": chosen_by(config), "filter": learned.filter, "gnn": learned.gnn,
            "rounds": config.rounds, "consensus": work.made.method,
        },
        "graph": {
            "nodes": work.graph.size, "edges": int(work.graph.adjacency.nnz // 2), "features": int(work.graph.x.shape[1]),
            "isolated": int((work.graph.degree == 0).sum()), "without_text": sum(not e.text.strip() for e in work.examples),
        },
    }  # fmt: skip


def estimated(learned: Learned) -> dict[str, Any] | None:
    """What is said without gold of nodes not annotated; None where nothing can be said."""
    told = learned.estimate
    if told is None:
        return None
    found = {"accuracy": told.value, "low": told.low, "high": told.high}
    views = {name: round(value, 4) for name, value in told.views.items()}
    return {name: round(value, 4) for name, value in found.items()} | {"assumes": told.assumes, "views": views}


def _statuses(work: Work) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in work.made.rows.values():
        found[str(row.status)] = found.get(str(row.status), 0) + 1
    return found


def truth(work: Work, known: Annotated) -> IntArray:
    """(N,) class index of the gold label; UNKNOWN without one; STRANGE for a class nobody annotated."""
    tree = work.said.tree
    index = {fold(name): known.classes.index(leaf.id) for leaf in tree.leaves for name in (leaf.id, leaf.name)}
    return np.array([UNKNOWN if e.gold is None else index.get(fold(e.gold), STRANGE) for e in work.examples])


def compared(work: Work, gold: IntArray) -> dict[str, Any]:
    """Accuracy on nodes with gold that were not annotated: of this run, of the baseline `plain` (random nodes, no filter, two hops
    and a logistic regression), and of random nodes with this run's own training.

    Random nodes have to be annotated too. In a file of annotations they are looked up, for this comparison alone; a model is not
    paid for them: then `plain` learns from the run's own annotations, and says so.
    """
    learned, config, known = work.learned, work.config, work.known
    found: dict[str, Any] = {"llmlabel": quality(learned.probs, learned.confidence, gold, known)}
    train: dict[str, Callable[[Annotated], FloatArray]] = {
        "plain": lambda some: plain(work.graph, some, work.raw),
        "random": lambda some: learn(
            work.graph, some, gnn=config.gnn, filter=config.filter, share=config.filter_share, trainings=config.trainings,
            seed=config.seed, proof=False,
        ).probs,
    }  # fmt: skip
    if not config.annotations or work.budget is None:
        return found | {"plain": quality(train["plain"](known), None, gold, known) | {"nodes": "the run's own"}}
    try:
        drawn = _random(work)
    except DataError as e:
        return found | {"plain": None, "note": f"no baseline: {e}"}
    truths = truth(work, known)
    for name, fit in train.items():
        probs = fit(drawn)
        classes = {c: k for k, c in enumerate(known.classes)}
        wide = np.zeros((len(gold), len(known.classes) + 1))
        for k, c in enumerate(drawn.classes):
            wide[:, classes.get(c, len(known.classes))] += probs[:, k]
        found[name] = quality(wide, None, truths, drawn) | {"nodes": "random"}
    return found


def _random(work: Work) -> Annotated:
    """As many random nodes, looked up."""
    rng = np.random.default_rng(work.config.seed)
    rows = selectors.selector("random").select(work.graph, len(work.said.asked), rng)
    ids = [work.examples[i].id for i in rows]
    said = Said(work.said.taxonomy)
    said.add_given(annotations.only_known(annotations.look_up(work.config, ids), work.place, str(work.config.annotations)), ids)
    return annotations.annotated(said.decided(work.config), work.place)


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


def _accuracy(right: Any, known: Any) -> float | None:
    return round(float(right[known].mean()), 4) if known.any() else None
