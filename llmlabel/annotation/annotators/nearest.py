"""No model at all: the labels of the nearest gold rows, else the label whose name and description are nearest.

A second opinion whose errors are not those of language models, and whose reasons can be looked at.
Source: k-nearest neighbours on sentence vectors, as in PatentSBERTa (arXiv 2103.11933).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmlabel.annotation.asking import NONE, How
from llmlabel.errors import ConfigError
from llmlabel.llm.client import Client
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Status, Taxonomy

PROMPTS: dict[str, str] = {}
NEIGHBOURS = 10
SHARPNESS = 20.0  # of the weight exp(SHARPNESS * cosine): the scale sentence models are trained with
FloatArray = NDArray[np.floating[Any]]


def annotate(
    examples: Sequence[Example], taxonomy: Taxonomy, client: Client | None, prompts: PromptLibrary | None, how: How
) -> list[Annotation]:
    """One annotation per example, in order; `probs` holds log-probabilities. A row's own gold is not used for it.

    Raises: ConfigError without vectors.
    """
    if how.encode is None:
        raise ConfigError("nearest neighbours are found with vectors; name an embedder")
    if not examples:
        return []
    known = [*(label.id for label in taxonomy.leaves), NONE.id]
    place = {label: k for k, label in enumerate(known)}
    gold = [g for g in how.gold if g.gold and all(i in place for i in g.golds)]
    weights = _weights(examples, how, gold)
    meant = np.exp(SHARPNESS * (how.encode([e.text for e in examples]) @ _meanings(taxonomy, how).T))
    spread = np.array([[float(label in (g.golds or [NONE.id])) for label in known] for g in gold])
    rows = []
    for i, example in enumerate(examples):
        prior = np.append(meant[i], 0.0) / meant[i].sum()
        seen = weights[i] @ spread if len(gold) else np.zeros(len(known))
        probs = (seen + prior) / (weights[i].sum() + 1)
        rows.append(_row(example.id, known, probs, len(gold)))
        if how.on_done:
            how.on_done(1)
    return rows


def _weights(examples: Sequence[Example], how: How, gold: Sequence[Example]) -> FloatArray:
    """(N, G): NEIGHBOURS votes shared among the nearest gold rows by nearness, none from a row to itself."""
    if not gold or how.encode is None:
        return np.zeros((len(examples), 0))
    near = how.encode([e.text for e in examples]) @ how.encode([g.text for g in gold]).T
    ids = np.array([g.id for g in gold])
    own = np.array([e.id for e in examples])[:, None] == ids[None, :]
    near[own] = -1.0
    most = min(NEIGHBOURS, len(gold))
    cut = np.partition(near, -most, axis=1)[:, [-most]]
    weights = np.where((near >= cut) & ~own, np.exp(SHARPNESS * near), 0.0)
    return np.asarray(most * weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-30))


def _meanings(taxonomy: Taxonomy, how: How) -> FloatArray:
    assert how.encode is not None
    return np.asarray(how.encode([label.meaning for label in taxonomy.leaves]))


def _row(row_id: str, known: Sequence[str], probs: FloatArray, gold: int) -> Annotation:
    best = known[int(probs.argmax())]
    logs = {label: math.log(max(float(p), 1e-9)) for label, p in zip(known, probs, strict=True)}
    status = Status.NONE_FITS if best == NONE.id else Status.OK
    label = None if best == NONE.id else best
    name = f"nearest of {gold} gold rows" if gold else "nearest label"
    return Annotation(row_id, label, status, [label] if label else [], probs=logs, probs_kind="vector", annotator=name)
