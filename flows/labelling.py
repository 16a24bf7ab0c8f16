"""Phase 2 as the flows use it: the teacher labels a sample in shards, a student learns from it and labels the rest."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llmlabel import annotation
from llmlabel.annotation.label import Evidence, no_text
from llmlabel.config import TaxonomyConfig
from llmlabel.data import LABELS_SCHEMA, hashed_ids, labels_table
from llmlabel.errors import DataError
from llmlabel.records import Annotation, Example, Status, Taxonomy, batched
from llmlabel.runs import Run, write_atomic, write_json
from llmlabel.students.apply import annotate as by_student
from llmlabel.students.train import NONE_FITS, Classifier
from llmlabel.suspect import suspicions
from llmlabel.taxonomy.cluster import centroids, soft_assign
from llmlabel.taxonomy.diff import diff
from llmlabel.taxonomy.induce import nearest
from llmlabel.taxonomy.settings import Induction, Setting

SHORTLIST = 25
WEAK_SHARE = 1 / 6  # of a weak model's own distribution beside that of the vectors
ROWS = 4096


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


def from_json(values: Mapping[str, Any]) -> Annotation:
    return Annotation(**{**values, "status": Status(values["status"])})


def targets(rows: Iterable[Annotation]) -> tuple[list[str], list[str]]:
    """Row ids and class of what a student can learn from."""
    usable = [row for row in rows if row.status in (Status.OK, Status.NONE_FITS)]
    return [row.id for row in usable], [row.label or NONE_FITS for row in usable]


def write_labels(
    path: Path, examples: Sequence[Example], teacher: Mapping[str, Annotation], classifier: Classifier, setting: Setting,
    on_done: Callable[[int], None], min_confidence: float, attempts: int = 1,
) -> tuple[Counter[str], Counter[str], list[dict[str, Any]]]:  # fmt: skip
    """Write labels.parquet: the teacher's rows, the student's for all others, in input order; and suspects.jsonl, the rows
    whose text looks like an attack on a labeller, with the reasons.

    Args:
        attempts: how often rows that failed were asked.
    Returns: rows by status, rows by label, failures (id, step, status, reason, attempts).
    """
    statuses: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    failures: list[dict[str, Any]] = []
    suspects: list[dict[str, Any]] = []
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with pq.ParquetWriter(temporary, LABELS_SCHEMA, compression="zstd") as writer:
            for part in batched(list(examples), ROWS):
                rows = [_final(row, min_confidence) for row in _rows(part, teacher, classifier, setting)]
                suspects += _mark_suspects(part, rows)
                writer.write_table(labels_table(rows))
                statuses.update(str(row.status) for row in rows)
                labels.update(row.label for row in rows if row.label)
                failures += [_failure(row, attempts if row.id in teacher else 0) for row in rows if row.status.failed]
                on_done(len(part))
        temporary.replace(path)
    except (OSError, pa.ArrowInvalid) as e:
        raise DataError(f"cannot write {path}: {e}") from e
    write_failures(path.with_name("suspects.jsonl"), suspects)
    return statuses, labels, failures


def _failure(row: Annotation, attempts: int) -> dict[str, Any]:
    return {"id": row.id, "step": "label", "status": str(row.status), "reason": row.reason, "attempts": attempts}


def _final(row: Annotation, min_confidence: float) -> Annotation:
    if row.status is Status.OK and row.confidence is not None and row.confidence < min_confidence:
        row.status = Status.LOW_CONFIDENCE
    return row


def _mark_suspects(part: Sequence[Example], rows: Sequence[Annotation]) -> list[dict[str, Any]]:
    found = []
    for example, row in zip(part, rows, strict=True):
        reasons = suspicions(example.text)
        row.suspect = bool(reasons)
        if reasons:
            found.append({"id": row.id, "reasons": reasons})
    return found


def _rows(
    part: Sequence[Example], teacher: Mapping[str, Annotation], classifier: Classifier, setting: Setting
) -> list[Annotation]:
    rest = [e for e in part if e.id not in teacher and e.text.strip()]
    by_id: dict[str, Annotation] = {}
    if rest:
        proba = classifier.student.predict_proba(setting.encode([e.text for e in rest]))
        name = f"{classifier.student.name}@{setting.embedder.spec}"
        by_id = {row.id: row for row in by_student(classifier, proba, [e.id for e in rest], name)}
    return [teacher.get(e.id) or by_id.get(e.id) or no_text(e.id) for e in part]


def write_row_digests(path: Path, examples: Sequence[Example]) -> None:
    """Which text each row id stood for, so that a later run knows which rows changed."""
    digests = list(hashed_ids((e.text for e in examples), Counter()))
    plain = [d.split("-")[0] for d in digests]
    pq.write_table(pa.table({"id": [e.id for e in examples], "digest": plain}), path)


def carried_over(
    old: Run, examples: Sequence[Example], taxonomy: Taxonomy, setting: Setting
) -> tuple[dict[str, Annotation], dict[str, int]]:
    """The teacher's labels of an earlier run that still hold under this taxonomy, and counts of why others do not.

    A label holds when the row's text, and the label's name, description and parent, are what they were; and when no
    label that is new lies nearer to the text, by vectors, than the one it has.
    """
    change = diff(old.taxonomy, taxonomy)
    stale = {label.id for label in change.removed} | {label.id for _, label in change.changed}
    added = {label.id for label in change.added}
    before = dict(
        zip(
            *(pq.read_table(old.path / "steps" / "rows.parquet").column(c).to_pylist() for c in ("id", "digest")),
            strict=True,
        )
    )
    now = {e.id: next(iter(hashed_ids([e.text], Counter()))) for e in examples}
    why: Counter[str] = Counter()
    kept: dict[str, Annotation] = {}
    for row in pq.read_table(old.path / "labels.parquet").to_pylist():
        if row["source"] != "llm" or row["id"] not in now:
            continue
        if before.get(row["id"]) != now[row["id"]]:
            why["text changed"] += 1
        elif row["status"] != "ok" or row["label"] in stale:
            why["label changed or not ok"] += 1
        else:
            kept[row["id"]] = _annotation(row)
    for row_id in _nearer_to_new([e for e in examples if e.id in kept], taxonomy, added, setting):
        del kept[row_id]
        why["nearer to a new label"] += 1
    return kept, dict(why)


def _annotation(row: Mapping[str, Any]) -> Annotation:
    probs = {p["label"]: p["p"] for p in row["probs"] or []}
    return from_json({**row, "probs": probs})


def _nearer_to_new(examples: Sequence[Example], taxonomy: Taxonomy, added: set[str], setting: Setting) -> list[str]:
    if not added or not examples:
        return []
    best = nearest(examples, [e.text for e in examples], taxonomy, setting)
    return [row_id for row_id, label in best.items() if label in added]


def write_map(folder: Path, rows: Sequence[Annotation], texts: Mapping[str, Example], setting: Setting, most: int = 2000) -> None:
    """A 2-D map of at most `most` texts: t-SNE of their vectors, PCA where there are few."""
    chosen = [row for row in rows if not row.status.failed]
    chosen = random.Random(f"{setting.seed}/map").sample(chosen, min(most, len(chosen)))
    if len(chosen) < 3:
        return
    places = _two_dimensions(setting.encode([texts[row.id].text for row in chosen]), setting.seed)
    write_json(
        folder / "steps" / "map.json",
        {
            "id": [row.id for row in chosen], "label": [row.label for row in chosen],
            "x": np.round(places[:, 0], 3).tolist(), "y": np.round(places[:, 1], 3).tolist(),
            "text": [texts[row.id].text[:160] for row in chosen],
        },
    )  # fmt: skip


def _two_dimensions(vectors: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    small = PCA(min(30, len(vectors) - 1, vectors.shape[1]), random_state=seed).fit_transform(vectors)
    if len(vectors) < 30 or np.ptp(small) < 1e-6:
        return np.asarray(np.hstack([small, np.zeros((len(small), 1))])[:, :2])
    return np.asarray(TSNE(2, perplexity=min(30, len(small) // 4), init="pca", random_state=seed).fit_transform(small))


def write_failures(path: Path, failures: Sequence[Mapping[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(f, ensure_ascii=False) + "\n" for f in failures))
