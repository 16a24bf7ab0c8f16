"""`llmlabel run audit`: labels somebody gave -> which of them are probably wrong, and why."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from llmlabel.flows.running.common import Desk, carry_out, failed_rows, timed
from llmlabel.flows.running.configured import flow
from llmlabel.flows.steps.annotation.annotators import Annotator, Asking, answers, read_annotators
from llmlabel.flows.steps.annotation.audit_results import check, estimate, metrics, shown
from llmlabel.flows.steps.annotation.labelling import PLAIN, write_failures
from prefect import task

from llmlabel.annotation.annotators import pinned
from llmlabel.annotation.audit import noise
from llmlabel.annotation.audit.check import draw_check
from llmlabel.annotation.audit.judging import judge_probs, mixture_weights, pooled, tempered
from llmlabel.annotation.audit.noise import FloatArray, IntArray
from llmlabel.annotation.audit.queue import Evidence, Given, queue, read_given
from llmlabel.annotation.panel import Column
from llmlabel.config import AuditConfig
from llmlabel.data import read_examples
from llmlabel.errors import DataError
from llmlabel.events import emit
from llmlabel.llm import Models
from llmlabel.llm.specs import parse_spec
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example, Taxonomy
from llmlabel.runs import DONE, PARTIAL, RunFolder, write_atomic, write_json, write_parquet
from llmlabel.students.train import out_of_sample

ASK_PER_ERROR = 3  # suspicious rows judges are asked about, for each estimated error
WORKING_MB = 64  # that comparing all rows with all rows may take at a time; scikit-learn would take a gigabyte
EXCERPT = 300  # characters of a text in audit.parquet
SCHEMA = pa.schema(
    [("id", pa.string()), ("rank", pa.int64()), ("given", pa.string()), ("proposed", pa.string()), ("score", pa.float64()),
     ("flagged", pa.bool_()), ("reason", pa.string()), ("text", pa.string())]
)  # fmt: skip


class Work(Desk):
    """What the steps of one run share. `rows`: places of those that can be judged; `classes`: ids of theirs."""

    config: AuditConfig

    def __init__(
        self, config: AuditConfig, examples: list[Example], folder: RunFolder, models: Models, given: Given, rows: list[int],
        classes: list[str], few: Mapping[str, int],
    ) -> None:  # fmt: skip
        super().__init__(config, examples, folder, models)
        self.given, self.rows, self.classes, self.few = given, rows, classes, few

    @cached_property
    def labels(self) -> IntArray:
        place = {label: k for k, label in enumerate(self.classes)}
        return np.array([place[str(self.given.label[i])] for i in self.rows], dtype=np.int64)

    @property
    def judged(self) -> list[Example]:
        return [self.examples[i] for i in self.rows]


@flow(name="audit")
def audit(config: AuditConfig) -> dict[str, Any]:
    """Find wrong labels in labelled data.

    Returns: the run folder, exit code, counts, and what was found.
    """
    examples = read_examples(
        config.data, text_column=config.text_column, id_column=config.id_column, gold_column=config.label_column
    )
    given = read_given(examples, Taxonomy.load(config.taxonomy) if config.taxonomy else None)
    rows, classes, few = given.judged(examples)
    if len(classes) < 2:
        raise DataError(f"an audit needs two labels with {noise.FEWEST} rows or more; here are {len(classes)}")
    extra = {"prompts": PromptLibrary(config.prompts).hashes(pinned()), "taxonomy": given.taxonomy.model_dump()}

    def steps(folder: RunFolder, models: Models) -> int:
        return run_steps(Work(config, examples, folder, models, given, rows, classes, few))

    found: dict[str, Any] = carry_out(config, "audit", examples, extra, steps, shown)
    return found | ({"checked": check(config)} if config.check else {})


def run_steps(work: Work) -> int:
    """The chain itself; every step leaves its result in the run folder."""
    folder = work.folder
    write_atomic(folder.path / "taxonomy.yaml", work.given.taxonomy.dump())
    alone = timed(folder, "classify", lambda: classify_rows(work))
    columns = timed(folder, "judge", lambda: judge(work, alone))
    found, weights = timed(folder, "weigh", lambda: weigh(work, alone, columns))
    queued = timed(folder, "write", lambda: write(work, found))
    said = metrics(work.examples, work.given, work.few, alone, found, queued, columns, weights)
    write_json(folder.path / "metrics.json", said)
    folder.info["counts"] = said["counts"]
    bad = [(column.name, row) for column in columns for row in column.rows.values() if row.status.failed]
    failures = [
        {
            "id": row.id,
            "step": "judge",
            "status": str(row.status),
            "reason": f"{who}: {row.reason}",
            "attempts": folder.retries + 1,
        }
        for who, row in bad
    ]
    write_failures(folder.path / "failures.jsonl", failures)
    failed_rows(folder, failures)
    return PARTIAL if failures else DONE


@task(name="classify", task_run_name="find suspicious rows", **PLAIN)
def classify_rows(work: Work) -> Evidence:
    """What the classifier and the neighbours find, without any judge; kept in the run folder."""
    from sklearn import config_context

    path = work.folder.path / "steps" / "classifier.npz"
    if not path.is_file():
        vectors, config, size = work.encode([e.text for e in work.judged]), work.config, len(work.classes)
        with config_context(working_memory=WORKING_MB):
            near, alike = noise.neighbours(vectors)
        shares = noise.neighbour_shares(near, alike, work.labels, size)
        learn = lambda rows: out_of_sample(vectors, work.labels, size, config.seed, config.student, rows)  # noqa: E731
        first, both = noise.class_probs(learn, shares, work.labels)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, classifier=first, pooled=both, near=near)
        write_atomic(path, buffer.getvalue())
    with np.load(path) as kept:
        joint = noise.confident_joint(kept["pooled"], work.labels)
        return evidence(work, kept["classifier"], kept["pooled"], work.labels[kept["near"]], joint, {})


def evidence(
    work: Work, first: FloatArray, probs: FloatArray, near: IntArray, joint: FloatArray, said: Mapping[str, Any]
) -> Evidence:
    wrong = noise.wrongness(probs, work.labels, noise.transition(joint))
    return Evidence(work.classes, work.labels, first, probs, wrong, near, joint, said)


def judges(config: AuditConfig) -> list[Annotator]:
    """Who is asked: the annotators named, else a model that was named or that a key or URL stands for. The packaged model is
    too weak to judge."""
    named = read_annotators(config, default=False)
    spec = config.llm.spec("judge")
    parsed = parse_spec(spec)
    weak = parsed.kind == "embedded" and not parsed.model
    return named or ([] if weak else [Annotator("label", "auto", spec)])


@task(name="judge", task_run_name="ask the judges", **PLAIN)
def judge(work: Work, alone: Evidence) -> list[Column]:
    """The judges' answers about the most suspicious rows and a random sample."""
    who = judges(work.config) if work.config.ask else []
    if not who:
        emit("note", text="no model judges: the audit rests on the classifier and the neighbours (--annotator names a judge)")
        return []
    config = work.config
    worst = np.argsort(-alone.wrong, kind="stable")[: min(config.ask, round(ASK_PER_ERROR * float(alone.wrong.sum())))]
    asked = sorted({*worst.tolist(), *sampled(work).tolist()})
    emit("note", text=f"{len(asked)} of {len(work.rows)} rows are judged by: {', '.join(a.name for a in who)}")
    known = [Example(e.id, e.text, work.given.label[i]) for e, i in zip(work.judged, work.rows, strict=True)]
    asking = Asking(
        config, work.folder, work.models, work.given.taxonomy, PromptLibrary(config.prompts), work.encode,
        config.use_case or work.given.taxonomy.use_case, work.follow, gold=known,
    )  # fmt: skip
    rows = [work.judged[n] for n in asked]
    return [answers(asking, one, n, rows) for n, one in enumerate(who)]


def sampled(work: Work) -> IntArray:
    """The random rows that judges are weighed by."""
    draw = np.random.default_rng(work.config.seed)
    return np.sort(draw.permutation(len(work.rows))[: work.config.ask_random])


@task(name="weigh", task_run_name="weigh classifier and judges", **PLAIN)
def weigh(work: Work, alone: Evidence, columns: Sequence[Column]) -> tuple[Evidence, dict[str, float]]:
    """The classifier's probabilities and the judges' as one; what is mixed up with what, the classifier alone says: judges saw
    suspicious rows only."""
    if not columns:
        return alone, {}
    ids, sample = [e.id for e in work.judged], np.zeros(len(work.rows), dtype=bool)
    sample[sampled(work)] = True
    raw = [judge_probs(column.rows, ids, work.classes, work.labels, sample) for column in columns]
    probs = [tempered(p, work.labels, sample) for p in raw]
    whole = sample & ~np.any([np.isnan(p).any(axis=1) for p in probs], axis=0)
    weights = mixture_weights([alone.pooled[whole], *(p[whole] for p in probs)], work.labels[whole])
    said = {i: [column.rows[i] for column in columns if i in column.rows] for i in ids}
    mixed = pooled(alone.pooled, probs, weights.tolist())
    found = evidence(work, alone.classifier, mixed, alone.near, alone.joint, said)
    names = ["classifier and neighbours", *(column.name for column in columns)]
    return found, dict(zip(names, np.round(weights, 3).tolist(), strict=True))


@task(name="write", task_run_name="write audit.parquet", **PLAIN)
def write(work: Work, found: Evidence) -> list[dict[str, Any]]:
    """audit.parquet and check.csv."""
    folder, texts = work.folder.path, {e.id: e.text for e in work.examples}
    queued = queue(work.examples, work.given, work.rows, found)
    rows = [row | {"text": texts[row["id"]][:EXCERPT]} for row in queued]
    write_parquet(folder / "audit.parquet", pa.Table.from_pylist(rows, schema=SCHEMA))
    drawn = work.folder.step("check", lambda: draw_check(queued, work.config.check_rows, work.config.seed))
    place, names = {e.id: n for n, e in enumerate(work.judged)}, {label.id: label.name for label in work.given.taxonomy.labels}
    other, by_id = noise.second_choice(found.pooled, found.given), {row["id"]: row for row in queued}
    lines = io.StringIO()
    sheet = csv.writer(lines)
    sheet.writerow(["id", "text", "given", "other", "verdict"])
    for i in drawn["flagged"]:
        label = work.classes[other[place[i]]] if i in place else ""
        sheet.writerow([i, texts[i], by_id[i]["given"], names.get(label, label), ""])
    if not (folder / "check.csv").exists():  # it may have been filled in
        write_atomic(folder / "check.csv", lines.getvalue())
    return queued


def estimate_audit(config: AuditConfig) -> dict[str, Any]:
    """Calls, tokens and US dollars, at the most."""
    return estimate(config, [one.spec for one in judges(config) if one.way != "nearest"] if config.ask else [])
