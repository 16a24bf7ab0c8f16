"""`llmlabel run annotate`: texts and a taxonomy -> labels, their confidence, and what can be proved of them."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from llmlabel.flows.running.artifacts import show_table
from llmlabel.flows.running.common import Desk, carry_out, failed_rows, timed
from llmlabel.flows.running.configured import flow
from llmlabel.flows.steps.annotation import annotators as asking_of
from llmlabel.flows.steps.annotation import cascade, labelling, proof
from llmlabel.flows.steps.annotation.annotators import Asking, read_annotators
from llmlabel.flows.steps.annotation.gaps import gaps
from llmlabel.flows.steps.annotation.known import Known, known_before
from llmlabel.flows.steps.annotation.labelling import PLAIN
from prefect import task

from llmlabel.annotation.annotators import pinned
from llmlabel.annotation.backoff import back_off
from llmlabel.annotation.calibration import fitting as calibration
from llmlabel.annotation.decide import Decision, decide
from llmlabel.annotation.explain import EXPLAIN, explain
from llmlabel.annotation.panel import Column, Panel, classes_of, read_given
from llmlabel.config import AnnotateConfig
from llmlabel.data import read_examples, read_rows
from llmlabel.errors import ConfigError, DataError
from llmlabel.events import emit
from llmlabel.llm import Models
from llmlabel.prompting import PromptLibrary
from llmlabel.records import NONE_FITS, Annotation, Example, Status, Taxonomy
from llmlabel.review import Correction, append, history, load_corrections
from llmlabel.runs import DONE, PARTIAL, Run, RunFolder, load_run, read_json, write_atomic, write_json
from llmlabel.students.train import Classifier

ALONE = "a model labels every text of a multi-label run, since the classifier has one label per text; leave label_with_llm empty"
LEARNED_FROM = 5000  # labelled texts, at most, that the classifier is fitted on


class Work(Desk):
    """What the steps of one run share, and what they hand on: `columns` (who said what) and `routed`, `made` (what was
    decided), `labelled` (final rows by id), `classifier`."""

    config: AnnotateConfig
    columns: list[Column]
    routed: cascade.Routed | None = None
    made: Decision
    labelled: dict[str, Annotation]
    classifier: Classifier | None = None

    def __init__(
        self, config: AnnotateConfig, examples: list[Example], folder: RunFolder, models: Models, taxonomy: Taxonomy,
        corrections: Mapping[str, Correction], given: Sequence[Column], old: Run | None,
    ) -> None:  # fmt: skip
        super().__init__(config, examples, folder, models)
        self.taxonomy, self.corrections, self.given, self.old = taxonomy, corrections, given, old

    @cached_property
    def known(self) -> Known:
        return Known(self.examples, self.taxonomy, self.corrections)

    @cached_property
    def asking(self) -> Asking:
        config = self.config
        before = known_before(self.old.path) if self.old else {}
        fresh = frozenset(i for i, c in self.corrections.items() if i in self.by_id and before.get(i) != c.labels)
        return Asking(
            config, self.folder, self.models, self.taxonomy, PromptLibrary(config.prompts), self.encode,
            config.use_case or self.taxonomy.use_case, self.follow, config.multi_label, config.few_shot, config.order_sample,
            self.known.solved, fresh, self.old,
        )  # fmt: skip


@flow(name="annotate")
def annotate(config: AnnotateConfig) -> dict[str, Any]:
    """Label texts with a taxonomy, by one annotator or several, and prove how good the labels are.

    Returns: the run folder, exit code, counts and scores.
    """
    examples = read_examples(
        config.data, text_column=config.text_column, id_column=config.id_column, gold_column=config.gold_column
    )
    old = load_run(config.from_run) if config.from_run else None
    taxonomy = Taxonomy.load(config.taxonomy) if config.taxonomy else old.taxonomy if old else Taxonomy()
    if not taxonomy.leaves:
        raise DataError("the taxonomy has no labels")
    if config.multi_label and config.label_with_llm:
        raise ConfigError(f"label_with_llm: {ALONE}")
    corrections = load_corrections(config.from_run) if config.from_run else {}
    table = read_rows(str(config.annotations)) if config.annotations else []
    given = read_given(table, [e.id for e in examples], taxonomy, str(config.annotations)) if config.annotations else []
    hashes = PromptLibrary(config.prompts).hashes(pinned() | {"explain": EXPLAIN})
    extra: dict[str, Any] = {
        "prompts": hashes, "taxonomy": taxonomy.model_dump(), "annotations": _digest(table),
        "corrections": _digest([[i, c.labels, c.drawn] for i, c in sorted(corrections.items())]),
    }  # fmt: skip

    def steps(folder: RunFolder, models: Models) -> int:
        return run_steps(Work(config, examples, folder, models, taxonomy, corrections, given, old))

    return carry_out(config, "annotate", examples, extra, steps, shown)


def _digest(value: Any) -> str | None:
    return hashlib.blake2b(repr(value).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() if value else None


def run_steps(work: Work) -> int:
    """The chain itself; every step leaves its result in the run folder."""
    folder, config = work.folder, work.config
    write_atomic(folder.path / "taxonomy.yaml", work.taxonomy.dump())
    if work.old:  # they go on from run to run
        append(folder.path, history(work.old.path), str(work.old.path))
    write_json(folder.path / "steps" / "corrections.json", {i: c.labels for i, c in work.corrections.items()})
    for note in work.known.notes():
        emit("note", text=note)
    if config.target_precision and not work.known.gold.labels:
        raise ConfigError(
            "--target-precision is a promise, and a promise needs gold: name --gold-column, or run without it, then "
            "`llmlabel review export` and `import`, and start again with --from"
        )
    if config.back_off and not work.known.unreviewed:
        raise ConfigError("back_off goes by calibrated probabilities, and calibration needs gold: name --gold-column")
    timed(folder, "label", lambda: ask_all(work))
    timed(folder, "decide", lambda: settle(work))
    timed(folder, "train", lambda: train_student(work))
    statuses, shares, failures = timed(folder, "write", lambda: write(work))
    folder.info |= {"counts": dict(statuses), "labels": dict(shares)}
    if config.explain:
        timed(folder, "explain", lambda: give_reasons(work))
    timed(folder, "score", lambda: score(work))
    failed_rows(folder, failures)
    return PARTIAL if any(Status(s).failed for s in statuses) else DONE


@task(name="ask", task_run_name="ask the annotators", **PLAIN)
def ask_all(work: Work) -> None:
    """Every annotator's answers: all of them on all rows, or in a cascade each on what the cheaper ones left unsure."""
    config, rows = work.config, _asked(work)
    who = read_annotators(config, default=not work.given)
    if not config.cascade:
        work.columns = [*work.given, *(asking_of.answers(work.asking, one, n, rows) for n, one in enumerate(who))]
        return

    def ask(n: int, part: str, some: Sequence[Example]) -> Column:
        return asking_of.answers(work.asking, who[n], n, some, f"-{part}")

    before = {one["name"]: one.get("cost_each") for one in cascade.stages_of(work.old)}

    def cost(column: Column) -> float:
        if (known := before.get(column.name)) is not None:  # of few new rows it would be another, and so would be the plan
            return float(known)
        return float(proof.spent(column, work.models, work.folder)["cost"] or 0.0) / max(len(column.rows), 1)

    classes = classes_of(work.taxonomy)
    work.columns, work.routed = cascade.run(
        len(who), ask, cost, rows, classes, work.known.gold, config.target_precision, config.delta, config.seed
    )


@task(name="decide", task_run_name="decide on labels", **PLAIN)
def settle(work: Work) -> None:
    config, columns, routed = work.config, work.columns, work.routed
    asked = {i for column in columns for i in column.rows}
    panel = Panel([e.id for e in work.examples if e.id in asked and e.text.strip()], classes_of(work.taxonomy), columns)
    made = decide(
        panel, work.known.gold, several=config.multi_label, method=config.consensus,
        target=None if routed else config.target_precision, delta=config.delta, epsilon=config.epsilon, seed=config.seed,
    )  # fmt: skip
    if routed:
        cascade.settle(made, routed)
    emit("note", text=f"consensus: {made.method}; {made.why}")
    if made.deferral and not routed:
        emit("note", text=f"deferral: {made.deferral['why']}; {int(made.accepted.sum())} of {len(made.accepted)} labels stand")
    work.made, work.labelled = made, made.rows | _by_people(work)


def _asked(work: Work) -> list[Example]:
    """All rows, or rows spread over the data; rows with a known label are always among them, to measure by. After an earlier
    run: the rows it asked, and of those it did not have as large a share, drawn at random."""
    size, full = work.config.label_with_llm, [e for e in work.examples if e.text.strip()]
    if size is None or size >= len(full):
        return full
    known = {e.id for e in full if e.id in work.known.gold.labels}
    asked, new = labelling.asked_before(work.old, full) if work.old else (set(), full)
    if asked:
        drawn = [e.id for e in new if e.id not in known]
        count = min(len(drawn), math.ceil(size * len(new) / len(full)))
        chosen = known | asked | set(random.Random(f"{work.config.seed}/new").sample(drawn, count))
        return [e for e in full if e.id in chosen]
    rest = [e for e in full if e.id not in known]
    chosen = known | {e.id for e in labelling.far_apart(rest, size - len(known), work.encode, work.config.seed)}
    return [e for e in full if e.id in chosen]


def _by_people(work: Work) -> dict[str, Annotation]:
    """Rows people have looked at: their word stands."""
    found = {}
    for i, labels in work.known.human.items():
        status = Status.OK if labels else Status.NONE_FITS
        who = work.known.reviewed[i].by or "reviewer"
        found[i] = Annotation(i, labels[0] if labels else None, status, list(labels), 1.0, source="human", annotator=who)
    return found


@task(name="train", task_run_name="train the classifier", **PLAIN)
def train_student(work: Work) -> None:
    """A classifier that learns from the labels, for `llmlabel apply` and for rows that were not asked; not from gold rows
    where it labels others, so that they can say how good it is."""
    labelled = list(work.labelled.values())
    if work.config.multi_label or all(row.status.failed for row in labelled):
        return
    held = set(work.known.unreviewed) if work.config.label_with_llm else set()
    rows = [row for row in labelled if row.id not in held and not row.status.failed]
    if len(rows) > LEARNED_FROM:
        rows = random.Random(f"{work.config.seed}/student").sample(rows, LEARNED_FROM)
    classifier: Classifier = labelling.fit_student(rows, work.by_id, work.encode, work.config.student, work.config.seed)
    folder = work.folder.path / "classifier"
    classifier.save(folder)
    work.embedder.save(folder)
    work.classifier = classifier


@task(name="write", task_run_name="write labels.parquet", **PLAIN)
def write(work: Work) -> tuple[Counter[str], Counter[str], list[dict[str, Any]]]:
    folder, config, classifier = work.folder.path, work.config, work.classifier
    labelling.write_row_digests(folder / "steps" / "rows.parquet", work.examples)
    labelling.write_annotations(folder / "annotations.parquet", work.made.panel)
    rest = labelling.by_classifier(classifier, work.encode, work.embedder.spec, _up(work, classifier)) if classifier else _nobody
    written: tuple[Counter[str], Counter[str], list[dict[str, Any]]] = labelling.write_labels(
        folder / "labels.parquet", work.examples, work.labelled, rest, work.counter("write", len(work.examples)),
        config.min_confidence, work.folder.retries + 1,
    )  # fmt: skip
    labelling.write_failures(folder / "failures.jsonl", written[2])
    return written


def _up(work: Work, classifier: Classifier) -> Callable[[Sequence[str], Any], list[str]] | None:
    """How the classifier's answers go up the tree: from probabilities calibrated on gold rows, which it did not learn from."""
    if not work.config.back_off:
        return None
    known = work.known.unreviewed
    place = {label or NONE_FITS: k for k, label in enumerate(classifier.labels)}
    proba = classifier.student.predict_proba(work.encode([work.by_id[i].text for i in known]))
    truth = np.array([place.get((work.known.gold.labels[i] or (NONE_FITS,))[0], -1) for i in known])
    fitted = calibration.fit(proba, truth, seed=work.config.seed)

    def up(classes: Sequence[str], probs: Any) -> list[str]:
        return back_off(fitted.apply(probs), [label or NONE_FITS for label in classes], work.taxonomy)[0]

    return up


def _nobody(rows: Sequence[Example]) -> list[Annotation]:
    return [Annotation(e.id, None, Status.ERROR, reason="no annotator was asked about this row") for e in rows]


@task(name="explain", task_run_name="ask for reasons", **PLAIN)
def give_reasons(work: Work) -> None:
    rows = [row for row in work.labelled.values() if row.status is Status.OK and row.source == "llm"]
    client, count = work.models["label"], work.counter("explain", len(rows))
    if not client.backend.features.writes:
        emit("note", text=f"no reasons: {client.backend.model} scores labels and cannot write; --llm names another model")
        return
    given = labelling.given_reasons(work.old, rows) if work.old else []
    rows = [row for row in rows if row.id not in {one["id"] for one in given}]
    found = explain(rows, work.by_id, work.taxonomy, client, work.asking.prompts, work.asking.how([], count))
    labelling.write_failures(work.folder.path / "explanations.jsonl", [*given, *found])


@task(name="score", task_run_name="measure and score", **PLAIN)
def score(work: Work) -> None:
    folder, made, rows = work.folder.path, work.made, list(work.labelled.values())
    used = {column.name: proof.spent(column, work.models, work.folder) for column in made.panel.columns if column.spec}
    found = proof.metrics(made, work.known.gold, used, work.classifier, work.corrections, _votes(work), _everything(work))
    found["order_bias"] = work.asking.order_bias
    found["coverage"], proposed = gaps(rows, work.by_id, work.taxonomy, work.encode, work.config.seed)
    write_json(folder / "metrics.json", {"schema": 1, **found, "counts": work.folder.info["counts"]})
    if proposed:
        wider = work.taxonomy.model_copy(update={"labels": [*work.taxonomy.labels, *proposed]})
        write_atomic(folder / "taxonomy.proposed.yaml", wider.dump())
    wanted = {i for label in work.taxonomy.labels for i in label.examples}
    write_json(folder / "steps" / "texts.json", {i: work.by_id[i].text[:300] for i in sorted(wanted) if i in work.by_id})
    labelling.write_map(folder, rows, work.by_id, work.encode, work.config.seed)


def _votes(work: Work) -> dict[str, dict[str, str | None]]:
    """What each person said of rows drawn at random."""
    found: dict[str, dict[str, str | None]] = {}
    for c in history(work.old.path) if work.old else []:
        if c.drawn == "random" and c.id in work.by_id:
            found.setdefault(c.by, {})[c.id] = c.label
    return found


def _everything(work: Work) -> tuple[Any, list[str]] | None:
    """The classifier's word on all texts, where it labelled some and there is gold: shares need one and the same labeller."""
    full, classifier, made = [e for e in work.examples if e.text.strip()], work.classifier, work.made
    if classifier is None or len(made.panel.ids) == len(full) or not work.known.gold.labels:
        return None
    wide = np.zeros((len(full), len(made.panel.classes)))
    places = [made.panel.place[label or NONE_FITS] for label in classifier.labels]
    for start in range(0, len(full), labelling.ROWS):
        texts = [e.text for e in full[start : start + labelling.ROWS]]
        wide[start : start + len(texts), places] = classifier.student.predict_proba(work.encode(texts))
    return wide, [e.id for e in full]


def shown(folder: RunFolder) -> dict[str, Any]:
    """The annotators in Prefect's UI, and the run in a few figures."""
    metrics, tree = read_json(folder.path / "metrics.json"), load_run(folder.path).taxonomy
    shares = folder.info.get("labels", {})
    plain = [{k: v for k, v in row.items() if not isinstance(v, dict | list)} for row in metrics["annotators"]]
    show_table("annotators", plain, "who labelled, and how well")
    return {
        "out": str(folder.path), "exit": folder.info["exit"], "counts": folder.info["counts"],
        "labels": {label.name: shares.get(label.id, 0) for label in tree.leaves}, "scores": metrics["scores"],
        "consensus": metrics["decision"]["method"], "deferral": (metrics.get("deferral") or {}).get("why"),
        "cost": folder.info["cost"]["money"], "retries": folder.retries, "report": str(folder.path / "report.html"),
    }  # fmt: skip
