"""What flows that label share: asking in shards, what holds of an earlier run, and the files of labels."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from llmlabel.annotation.label import no_text
from llmlabel.annotation.panel import Panel
from llmlabel.data import LABELS_SCHEMA, labels_table, text_digest
from llmlabel.embedding import Vectors
from llmlabel.errors import DataError
from llmlabel.events import emit
from llmlabel.records import Annotation, Example, Status, Taxonomy, batched
from llmlabel.runs import Run, RunFolder, write_atomic, write_json
from llmlabel.students.apply import annotate as by_student
from llmlabel.students.train import NONE_FITS, Classifier, train
from llmlabel.suspect import suspicions
from llmlabel.taxonomy.diff import diff

ROWS = 4096
SPREAD_OVER = 100_000  # rows that some are chosen from which are far apart
PLAIN: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
Ask = Callable[[Sequence[int], int, Callable[[int], None]], list[dict[str, Any]]]  # rows, retry round, on_done -> raw answers
Encode = Callable[[list[str]], Vectors]
Count = Callable[[str, int], Callable[[int], None]]  # step, how many -> on_done


def ask_in_shards(folder: RunFolder, name: str, rows: int, size: int, ask: Ask, counter: Count) -> list[dict[str, Any]]:
    """Ask about `rows` rows, `size` to a task, each kept when done; then, in each retry round, about those that failed.

    Args:
        name: of the step files. ask: (row numbers, retry round, on_done) -> raw answers as JSON values.
    """
    count, raw = counter(name, rows), []
    for n, shard in enumerate(batched(list(range(rows)), size)):
        part = f"rows {shard[0] + 1:,} to {shard[-1] + 1:,} of {rows:,}"
        raw += _shard(folder, f"{name}-{n:04d}", partial(ask, shard, 0, count), part).rows
    for n in range(1, folder.retries + 1):
        raw = _again(folder, f"{name}-retry-{n}", raw, n, ask, counter)
    return raw


class _Answers:
    """What a task returns, as one thing: of a list Prefect notes every row, and keeps the notes to the end of the run."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows


@task(name="label", task_run_name="{name}: {what}", **PLAIN)
def _shard(folder: RunFolder, name: str, make: Callable[[], Any], what: str) -> _Answers:
    return _Answers(folder.step(name, make))


def _again(
    folder: RunFolder, name: str, raw: list[dict[str, Any]], number: int, ask: Ask, counter: Count
) -> list[dict[str, Any]]:
    """Ask the rows that failed once more; every round is another draw, or the store would give the unusable answers back."""
    again = [i for i, row in enumerate(raw) if Status(row["status"]).failed]
    count = counter(f"retry {number}", len(again))
    answers = _shard(folder, name, partial(ask, again, number, count), f"{len(again):,} rows again").rows if again else []
    fresh = dict(zip(again, answers, strict=True))
    good = sum(not Status(row["status"]).failed for row in fresh.values())
    done = f"{len(again)} rows asked again, {good} of them well now" if again else "no row that could be asked again has failed"
    emit("note", text=f"retry round {number}: {done}")
    return [fresh.get(i, row) for i, row in enumerate(raw)]


def from_json(values: Mapping[str, Any]) -> Annotation:
    return Annotation(**{**values, "status": Status(values["status"])})


def from_table(row: Mapping[str, Any]) -> Annotation:
    """A row of labels.parquet or annotations.parquet."""
    return from_json({**row, "probs": {p["label"]: p["p"] for p in row["probs"] or []}})


def fit_student(rows: Iterable[Annotation], texts: Mapping[str, Example], encode: Encode, student: str, seed: int) -> Classifier:
    """A classifier that learns from what the teacher labelled.

    Raises: DataError with the most frequent reasons when there is no usable label.
    """
    rows = list(rows)
    usable = [row for row in rows if not row.status.failed]
    if not usable:
        reasons = Counter(f"{r.status}: {r.reason[:120]}" for r in rows).most_common(3)
        raise DataError(f"no text has a usable label, so there is nothing to train on. Most frequent reasons: {reasons}")
    vectors = encode([texts[row.id].text for row in usable])
    return train(vectors, [row.label or NONE_FITS for row in usable], seed=seed, student=student)


def far_apart(examples: Sequence[Example], size: int, encode: Encode, seed: int) -> list[Example]:
    """At most `size` examples that are far apart, out of at most `SPREAD_OVER` drawn at random."""
    if len(examples) > SPREAD_OVER:
        examples = random.Random(f"{seed}/spread").sample(examples, SPREAD_OVER)
    return [examples[i] for i in spread(encode([e.text for e in examples]), size, seed)] if size > 0 else []


def spread(vectors: Vectors, size: int, seed: int) -> list[int]:
    """At most `size` rows that are far apart: the nearest to each of so many k-means centres. A classifier learns more from
    them than from a random draw (bench/diversity.py); to measure by they are no use."""
    from sklearn.cluster import MiniBatchKMeans

    if size < 1 or size >= len(vectors):
        return list(range(len(vectors)))[:size]
    centres = MiniBatchKMeans(size, n_init=1, random_state=seed, batch_size=max(1024, size)).fit(vectors).cluster_centers_
    nearest = [int(np.argmax(vectors @ centre - (centre @ centre) / 2)) for centre in centres]
    return sorted(set(nearest))


def by_classifier(
    classifier: Classifier, encode: Encode, embedder: str, up: Callable[[Sequence[str], Any], list[str]] | None = None
) -> Callable[[Sequence[Example]], list[Annotation]]:
    """Labels rows nobody was asked about. `up`: (classes, probabilities) -> labels of the taxonomy to give instead of the
    likeliest class."""

    def label(rows: Sequence[Example]) -> list[Annotation]:
        proba = classifier.student.predict_proba(encode([e.text for e in rows]))
        found = by_student(classifier, proba, [e.id for e in rows], f"{classifier.student.name}@{embedder}")
        for row, better in zip(found, up(classifier.labels, proba) if up else [], strict=False):
            if better not in (row.label, "-"):
                row.label, row.labels, row.status = better, [better], Status.OK
        return found

    return label


def write_labels(
    path: Path, examples: Sequence[Example], labelled: Mapping[str, Annotation],
    rest: Callable[[Sequence[Example]], list[Annotation]], on_done: Callable[[int], None], min_confidence: float,
    attempts: int = 1, needs_text: bool = True,
) -> tuple[Counter[str], Counter[str], list[dict[str, Any]]]:  # fmt: skip
    """Write labels.parquet, in input order; and suspects.jsonl, the rows whose text looks like an attack on a labeller, with
    the reasons.

    Args:
        labelled: rows that have been asked, by id. rest: labels all others that have a text, or all (`needs_text=False`).
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
                rows = [_final(row, min_confidence) for row in _rows(part, labelled, rest, needs_text)]
                suspects += _mark_suspects(part, rows)
                writer.write_table(labels_table(rows))
                statuses.update(str(row.status) for row in rows)
                labels.update(row.label for row in rows if row.label)
                failures += [failure(row, attempts if row.id in labelled else 0) for row in rows if row.status.failed]
                on_done(len(part))
        temporary.replace(path)
    except (OSError, pa.ArrowInvalid) as e:
        raise DataError(f"cannot write {path}: {e}") from e
    write_failures(path.with_name("suspects.jsonl"), suspects)
    return statuses, labels, failures


def failure(row: Annotation, attempts: int) -> dict[str, Any]:
    """A line of failures.jsonl."""
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
    part: Sequence[Example], labelled: Mapping[str, Annotation], rest: Callable[[Sequence[Example]], list[Annotation]],
    needs_text: bool,
) -> list[Annotation]:  # fmt: skip
    others = [e for e in part if e.id not in labelled and (e.text.strip() or not needs_text)]
    by_id = {row.id: row for row in rest(others)} if others else {}
    return [labelled.get(e.id) or by_id.get(e.id) or no_text(e.id) for e in part]


ANNOTATIONS_SCHEMA = LABELS_SCHEMA.append(pa.field("probs_kind", pa.string())).append(pa.field("reason", pa.string()))


def write_annotations(path: Path, panel: Panel) -> None:
    """Write annotations.parquet: every annotator's answer to every row, one row each, as labels.parquet and `probs_kind`,
    `reason` of a failure."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with pq.ParquetWriter(temporary, ANNOTATIONS_SCHEMA, compression="zstd") as writer:
            for column in panel.columns:
                for part in batched([column.rows[i] for i in panel.ids if i in column.rows], ROWS):
                    table = labels_table(replace(row, annotator=column.name) for row in part)
                    for name in ("probs_kind", "reason"):
                        table = table.append_column(name, pa.array([getattr(row, name) for row in part], pa.string()))
                    writer.write_table(table)
        temporary.replace(path)
    except (OSError, pa.ArrowInvalid) as e:
        raise DataError(f"cannot write {path}: {e}") from e


def write_row_digests(path: Path, examples: Sequence[Example]) -> None:
    """Which text each row id stood for, so that a later run knows which rows changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, pa.schema([("id", pa.string()), ("digest", pa.string())])) as writer:
        for part in batched(list(examples), ROWS):
            columns = {"id": [e.id for e in part], "digest": [text_digest(e.text) for e in part]}
            writer.write_table(pa.table(columns, schema=writer.schema))


def columns_of(run: Run, name: str, *wanted: str) -> Iterator[tuple[Any, ...]]:
    """Some columns of a parquet file of a run, a row at a time. Raises: as `table_of`."""
    for part in table_of(run, name, columns=list(wanted)).to_batches(ROWS):
        yield from zip(*(part.column(column).to_pylist() for column in wanted), strict=True)


def table_of(run: Run, name: str, **which: Any) -> pa.Table:
    """A parquet file of a run, `columns` of it, or rows that `filters` let through, without the memory for the others.

    Raises: DataError when it is missing or damaged.
    """
    try:
        return pq.read_table(run.path / name, **which)
    except (OSError, pa.ArrowInvalid) as e:
        raise DataError(f"cannot read {run.path / name}: {e}. Is {run.path} a finished run?") from e


def digests_of(run: Run) -> dict[str, str]:
    """Row id -> digest of its text, of the rows of a run of annotate."""
    return dict(columns_of(run, "steps/rows.parquet", "id", "digest"))


def stale_rows(
    old: Run,
    examples: Sequence[Example],
    taxonomy: Taxonomy,
    labels: Mapping[str, str | None],
    encode: Encode,
) -> tuple[dict[str, int], set[str]]:
    """Which labels of an earlier run no longer hold under this taxonomy: counts by reason, and row ids.

    A label holds when the row's text, and the label's name, description and parent, are what they were; and when no
    label that is new or changed lies nearest to the text, by vectors.

    Args:
        labels: row id -> the old run's label id, None where there was none.
    """
    change = diff(old.taxonomy, taxonomy)
    gone = {label.id for label in change.removed} | {label.id for _, label in change.changed}
    moved = {label.id for label in change.added} | {label.id for _, label in change.changed}
    now = {e.id: text_digest(e.text) for e in examples if e.id in labels}
    before = {row: digest for row, digest in columns_of(old, "steps/rows.parquet", "id", "digest") if row in now}
    stale: dict[str, str] = {}
    for row, label in labels.items():
        if row in now and before.get(row) != now[row]:
            stale[row] = "text changed"
        elif label is None or label in gone:
            stale[row] = "label changed or not ok"
    held = [e for e in examples if e.id in labels and e.id not in stale]
    if moved and held:
        meanings = encode([label.meaning for label in taxonomy.leaves])
        best = np.argmax(encode([e.text for e in held]) @ meanings.T, axis=1).tolist()
        stale |= {
            e.id: "nearest to a new or changed label" for e, k in zip(held, best, strict=True) if taxonomy.leaves[k].id in moved
        }
    return dict(Counter(stale.values())), set(stale)


def asked_before(old: Run, examples: Sequence[Example]) -> tuple[set[str], list[Example]]:
    """Ids of rows an earlier run asked a model about, with the text they have now, and the rows it did not have like that.

    None and all where it was no run of annotate, which alone keeps what annotators said.
    """
    if not (old.path / "annotations.parquet").is_file() or not (old.path / "steps" / "rows.parquet").is_file():
        return set(), list(examples)
    before = digests_of(old)
    same = {e.id for e in examples if before.get(e.id) == text_digest(e.text)}
    asked = {i for (i,) in columns_of(old, "annotations.parquet", "id")}
    return asked & same, [e for e in examples if e.id not in same]


def given_reasons(old: Run, rows: Sequence[Annotation]) -> list[dict[str, Any]]:
    """Lines of an earlier run's explanations.jsonl, of rows whose label is what it was."""
    path = old.path / "explanations.jsonl"
    if not path.is_file():
        return []
    label = {row.id: row.label for row in rows}
    before = {i: given for i, given in columns_of(old, "labels.parquet", "id", "label") if i in label and given}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [one for one in lines if "reason" in one and one["id"] in before and label.get(one["id"]) == before[one["id"]]]


def write_map(
    folder: Path, rows: Sequence[Annotation], texts: Mapping[str, Example], encode: Encode, seed: int,
    most: int = 2000,
) -> None:  # fmt: skip
    """A 2-D map of at most `most` texts: t-SNE of their vectors, PCA where there are few."""
    chosen = [row for row in rows if not row.status.failed]
    chosen = random.Random(f"{seed}/map").sample(chosen, min(most, len(chosen)))
    if len(chosen) < 3:
        return
    places = two_dimensions(encode([texts[row.id].text for row in chosen]), seed)
    write_json(
        folder / "steps" / "map.json",
        {
            "id": [row.id for row in chosen], "label": [row.label for row in chosen],
            "x": np.round(places[:, 0], 3).tolist(), "y": np.round(places[:, 1], 3).tolist(),
            "text": [texts[row.id].text[:160] for row in chosen],
        },
    )  # fmt: skip


def two_dimensions(vectors: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """(N, 2) places on a map."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    small = PCA(min(30, len(vectors) - 1, vectors.shape[1]), random_state=seed).fit_transform(vectors)
    if len(vectors) < 30 or np.ptp(small) < 1e-6:
        return np.asarray(np.hstack([small, np.zeros((len(small), 1))])[:, :2])
    return np.asarray(TSNE(2, perplexity=min(30, len(small) // 4), init="pca", random_state=seed).fit_transform(small))


def write_failures(path: Path, failures: Sequence[Mapping[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(f, ensure_ascii=False) + "\n" for f in failures))
