"""The teacher of a taxonomy run: a model, or the vectors where the model is weak, labels a sample."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from llmlabel.flows.steps.annotation.labelling import from_json, from_table, stale_rows, table_of

from llmlabel import annotation
from llmlabel.annotation.label import Evidence
from llmlabel.config import TaxonomyConfig
from llmlabel.records import Annotation, Example, Status, Taxonomy
from llmlabel.runs import Run
from llmlabel.taxonomy.cluster import centroids, soft_assign
from llmlabel.taxonomy.settings import Induction, Setting

SHORTLIST = 25
WEAK_SHARE = 1 / 6  # of a weak model's own distribution beside that of the vectors


def to_label(
    examples: Sequence[Example], induced_on: Iterable[str], size: int, seed: int, kept: Mapping[str, Annotation]
) -> list[Example]:
    """Which rows the teacher labels: texts the taxonomy was made from first, then others, drawn with the seed."""
    rest = [e for e in examples if e.text.strip() and e.id not in kept]
    known = set(induced_on)
    random.Random(f"{seed}/label").shuffle(rest)
    chosen = {e.id for e in sorted(rest, key=lambda e: e.id not in known)[:size]}
    return [e for e in examples if e.id in chosen]


def label_evidence(
    examples: Sequence[Example], taxonomy: Taxonomy, induction: Induction, texts: Mapping[str, str], setting: Setting
) -> np.ndarray[Any, Any]:
    """(N, L) log-probabilities of the taxonomy's leaves by vectors alone.

    The induction's own distribution where it has one of these labels for a text; else by nearness to the labels' centres.
    A label's centre is the mean of the texts that were assigned to it in the induction, else of its name with its
    description and its example texts.
    """
    leaves = taxonomy.leaves
    place = {label.id: k for k, label in enumerate(leaves)}
    own = [induction.probs.get(e.id, {}) for e in examples]
    if all(p.keys() == place.keys() for p in own):
        return np.asarray(np.log(np.array([[p[label.id] for label in leaves] for p in own]) + 1e-12))
    members = [(row, place[label]) for row, label in induction.assignment.items() if label in place and row in texts]
    found = {k for _, k in members}
    said = [(label.meaning, k) for k, label in enumerate(leaves) if k not in found]
    said += [(texts[row], k) for k, label in enumerate(leaves) if k not in found for row in label.examples if row in texts]
    words = [texts[row] for row, _ in members] + [text for text, _ in said]
    where = np.array([k for _, k in members] + [k for _, k in said], dtype=np.int64)
    centres = centroids(setting.encode(words), where)
    return np.asarray(np.log(soft_assign(setting.encode([e.text for e in examples]), centres) + 1e-12))


def ask_shard(
    shard: Sequence[Example], taxonomy: Taxonomy, evidence: np.ndarray[Any, Any], setting: Setting, config: TaxonomyConfig,
    on_done: Callable[[int], None], retry: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """The model's raw answers for some rows, as JSON values. `retry`: the number of the retry round, 0 for the first."""
    leaves = [label.id for label in taxonomy.leaves]
    shortlist = None
    if len(leaves) > SHORTLIST:
        likeliest = np.argsort(-evidence, axis=1, kind="stable")[:, :SHORTLIST]
        shortlist = {e.id: [leaves[k] for k in row] for e, row in zip(shard, likeliest.tolist(), strict=True)}
    how = annotation.How(
        use_case=config.use_case or taxonomy.use_case, seed=config.seed, max_text_chars=config.max_text_chars, shown=shortlist,
        probs=config.label_probs, samples=config.samples, retry=retry, on_done=on_done,
    )  # fmt: skip
    rows = annotation.ask(shard, taxonomy, setting.models["label"], setting.prompts, how)
    return [asdict(row) for row in rows]


def settle(
    raw: Sequence[dict[str, Any]], taxonomy: Taxonomy, evidence: np.ndarray[Any, Any], setting: Setting, weak: bool
) -> list[Annotation]:
    """Final labels of the teacher.

    A model that passed the editing exercise is taken at its word. A weak one favours some labels whatever the text, so it
    is calibrated over the batch, and the vectors have most of the say.
    """
    rows = [from_json(values) for values in raw]
    if not weak:
        return annotation.settle(rows, taxonomy, strength=0.0)
    return annotation.settle(rows, taxonomy, Evidence(evidence, 1 - WEAK_SHARE))


def by_vectors(
    examples: Sequence[Example], taxonomy: Taxonomy, evidence: np.ndarray[Any, Any], setting: Setting
) -> list[Annotation]:
    """Labels by the vectors alone, where no model is good enough to be asked."""
    ids = [label.id for label in taxonomy.leaves]
    rows = []
    for example, probs in zip(examples, np.exp(evidence), strict=True):
        best, sure = ids[int(probs.argmax())], round(float(probs.max()), 6)
        named = dict(zip(ids, np.round(probs, 6).tolist(), strict=True))
        name = f"vectors@{setting.embedder.spec}"
        rows.append(Annotation(example.id, best, Status.OK, [best], sure, named, "vector", "student", name))
    return rows


def carried_over(
    old: Run, examples: Sequence[Example], taxonomy: Taxonomy, setting: Setting
) -> tuple[dict[str, Annotation], dict[str, int]]:
    """The teacher's labels of an earlier run that still hold under this taxonomy, and counts of why others do not."""
    asked = table_of(old, "labels.parquet", filters=[("source", "=", "llm")])
    before = {row["id"]: row for row in asked.to_pylist()}
    why, stale = stale_rows(old, examples, taxonomy, {i: row["label"] for i, row in before.items()}, setting.encode)
    kept = {e.id: from_table(before[e.id]) for e in examples if e.id in before and e.id not in stale}
    return kept, why
