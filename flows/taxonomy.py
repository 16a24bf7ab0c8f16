"""`llmlabel run taxonomy`: raw texts -> taxonomy -> labels -> classifier -> scores -> report."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from llmlabel.flows.running.common import carry_out, failed_rows, timed
from llmlabel.flows.running.configured import flow
from llmlabel.flows.running.progress import Follower
from llmlabel.flows.steps.annotation import labelling, teaching
from llmlabel.flows.steps.annotation.labelling import PLAIN
from prefect import task

from llmlabel.annotation import label as labels_of
from llmlabel.annotation import unseen_mass
from llmlabel.config import TaxonomyConfig
from llmlabel.data import read_examples
from llmlabel.errors import DataError
from llmlabel.events import emit
from llmlabel.llm import Models
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Label, Status, Taxonomy
from llmlabel.runs import DONE, PARTIAL, Run, RunFolder, load_run, read_json, write_atomic, write_json
from llmlabel.students.train import Classifier
from llmlabel.taxonomy import scores as scoring
from llmlabel.taxonomy.ability import can_edit
from llmlabel.taxonomy.induce import induce_taxonomy, sample, setting_of
from llmlabel.taxonomy.settings import PROMPTS, Induction

SCORED = 5000  # rows with gold that scores are computed on


class Work:
    """What the tasks of one run share; a plain object, so that Prefect does not look inside."""

    def __init__(self, config: TaxonomyConfig, examples: list[Example], folder: RunFolder, models: Models) -> None:
        self.config, self.examples, self.folder, self.models = config, examples, folder, models
        self.by_id = {e.id: e for e in examples}
        self.follow = Follower(models, folder.id)
        self.sample = sample(examples, config.induce_on, config.seed)
        self.setting = setting_of(config, models, self.sample)
        self.setting.progress = self.follow
        self.old: Run | None = load_run(config.from_run) if config.from_run else None
        self.unseen_mass: float | None = None  # of the model's answers: probability that stood on no label


@flow(name="taxonomy")
def taxonomy(config: TaxonomyConfig) -> dict[str, Any]:
    """Induce a taxonomy from raw texts, label them, train a classifier, and write a report.

    Returns: the run folder, exit code, and counts.
    """
    examples = read_examples(
        config.data, text_column=config.text_column, id_column=config.id_column, gold_column=config.gold_column
    )
    hashes = PromptLibrary(config.prompts).hashes(PROMPTS | scoring.PROMPTS | labels_of.PROMPTS)
    given = Taxonomy.load(config.taxonomy).model_dump() if config.taxonomy else None

    def steps(folder: RunFolder, models: Models) -> int:
        return run_steps(timed(folder, "open", lambda: Work(config, examples, folder, models)))

    return carry_out(config, "taxonomy", examples, {"prompts": hashes, "taxonomy": given}, steps, shown)


def run_steps(work: Work) -> int:
    """The chain itself; every step leaves its result in the run folder."""
    folder = work.folder
    induction = timed(folder, "induce", lambda: induce(work))
    tree = induction.taxonomy
    write_atomic(folder.path / "taxonomy.yaml", tree.dump())
    teacher = timed(folder, "label", lambda: teach(work, induction))
    classifier = timed(folder, "train", lambda: train_student(work, teacher))
    statuses, shares, failures = timed(folder, "apply", lambda: apply_student(work, teacher, classifier))
    timed(folder, "score", lambda: score(work, induction, teacher, classifier, statuses))
    before = [{"step": "induce", **failure, "attempts": 1} for failure in induction.failures]
    labelling.write_failures(folder.path / "failures.jsonl", before + failures)
    folder.info["counts"] = dict(statuses)
    folder.info["labels"] = dict(shares)
    write_texts(work, tree)
    failed_rows(folder, failures)
    return PARTIAL if any(Status(s).failed for s in statuses) else DONE


@task(name="induce", task_run_name="induce the taxonomy", **PLAIN)
def induce(work: Work) -> Induction:
    """A taxonomy: the one given, that of the run this one starts from, or a new one."""

    def make() -> dict[str, Any]:
        if work.config.taxonomy:
            return Induction(Taxonomy.load(work.config.taxonomy), "given", "the taxonomy was given").to_json()
        if work.old:
            return Induction(work.old.taxonomy, "given", f"the taxonomy of {work.old.path}").to_json()
        return induce_taxonomy(work.sample, work.setting, work.config).to_json()

    induction = Induction.from_json(work.folder.step("induction", make))
    emit("note", text=f"method {induction.method}: {induction.why}; {len(induction.taxonomy)} labels")
    if not induction.taxonomy.leaves:
        raise DataError("the taxonomy has no labels")
    return induction


def teach(work: Work, induction: Induction) -> list[Annotation]:
    """The rows the model labels, and those an earlier run's model labelled."""
    config, tree = work.config, induction.taxonomy
    kept: dict[str, Annotation] = {}
    if work.old:
        kept, why = teaching.carried_over(work.old, work.examples, tree, work.setting)
        emit("note", text=f"{len(kept)} labels taken over from {work.old.path}; asked again: {why or 'none'}")
    chosen = teaching.to_label(
        work.examples, (e.id for e in work.sample), max(0, config.label_with_llm - len(kept)), config.seed, kept
    )
    if not chosen:
        return list(kept.values())
    shown = {*induction.assignment, *(row for label in tree.labels for row in label.examples)}
    texts = {row: work.by_id[row].text for row in shown if row in work.by_id}
    evidence = teaching.label_evidence(chosen, tree, induction, texts, work.setting)
    able, reason = (False, "as asked for") if config.label_by == "vectors" else can_edit(work.setting)
    if not able and config.label_by != "llm":
        emit("note", text=f"labels by vectors: {reason}")
        return [*kept.values(), *teaching.by_vectors(chosen, tree, evidence, work.setting)]
    raw = labelling.ask_in_shards(
        work.folder, "label", len(chosen), config.shard_size,
        lambda part, retry, count: teaching.ask_shard(
            [chosen[i] for i in part], tree, evidence[part], work.setting, config, count, retry
        ),
        work.setting.counter,
    )  # fmt: skip
    work.unseen_mass = unseen_mass([labelling.from_json(row) for row in raw])
    return [*kept.values(), *teaching.settle(raw, tree, evidence, work.setting, weak=not able)]


@task(name="train", task_run_name="train the classifier", **PLAIN)
def train_student(work: Work, teacher: list[Annotation]) -> Classifier:
    classifier: Classifier = labelling.fit_student(
        teacher, work.by_id, work.setting.encode, work.config.student, work.config.seed
    )
    folder = work.folder.path / "classifier"
    classifier.save(folder)
    work.setting.embedder.save(folder)
    return classifier


@task(name="apply", task_run_name="label all texts", **PLAIN)
def apply_student(
    work: Work, teacher: list[Annotation], classifier: Classifier
) -> tuple[Counter[str], Counter[str], list[dict[str, Any]]]:
    count = work.setting.counter("apply", len(work.examples))
    by_id = {row.id: row for row in teacher}
    path = work.folder.path / "labels.parquet"
    labelling.write_row_digests(work.folder.path / "steps" / "rows.parquet", work.examples)
    written: tuple[Counter[str], Counter[str], list[dict[str, Any]]] = labelling.write_labels(
        path,
        work.examples,
        by_id,
        labelling.by_classifier(classifier, work.setting.encode, work.setting.embedder.spec),
        count,
        work.config.min_confidence,
        work.folder.retries + 1,
    )
    return written


@task(name="score", task_run_name="measure and score", **PLAIN)
def score(work: Work, induction: Induction, teacher: list[Annotation], classifier: Classifier, counts: Counter[str]) -> None:
    gold = [e for e in work.examples if e.gold is not None and e.text.strip()]
    chosen = random.Random(f"{work.config.seed}/scored").sample(gold, min(SCORED, len(gold)))
    sampled = {e.id for e in work.sample} | {row.id for row in teacher}
    said = labelling.columns_of(load_run(work.folder.path), "labels.parquet", "id", "label", "status")
    wanted = sampled | {e.id for e in chosen}
    final = {i: (label, Status(status)) for i, label, status in said if i in wanted}
    scores: dict[str, Any] = {}
    if gold:
        names = {label.id: label.name for label in induction.taxonomy.labels}
        truth = [str(e.gold) for e in chosen]
        scores["llmlabel"] = scoring.against_gold([final[e.id][0] for e in chosen], truth, names)
        scores["kmeans"] = scoring.kmeans_baseline(work.setting.encode([e.text for e in chosen]), truth, work.config.seed)
    scores["no_gold"] = scoring.without_gold(induction.taxonomy, teacher, work.by_id, work.setting)
    if induction.method == "cluster":
        vectors = work.setting.encode([e.text for e in work.sample])
        scores["no_gold"]["stability_ari"] = scoring.stability(vectors, work.config.max_labels, work.config.seed)
    scores["no_gold"]["unseen_mass"] = work.unseen_mass
    scores["student"] = classifier.scores
    decision = {"method": induction.method, "why": induction.why}
    write_json(work.folder.path / "metrics.json", {"schema": 1, "scores": scores, "counts": dict(counts), "decision": decision})
    shown = [Annotation(i, *final[i]) for i in final if i in sampled]
    labelling.write_map(work.folder.path, shown, work.by_id, work.setting.encode, work.config.seed)


def write_texts(work: Work, tree: Taxonomy) -> None:
    """The first part of every example text, so that the report needs nothing but the run folder."""
    wanted = {row for label in tree.labels for row in label.examples}
    texts = {row: work.by_id[row].text[:300] for row in sorted(wanted) if row in work.by_id}
    write_json(work.folder.path / "steps" / "texts.json", texts)


def shown(folder: RunFolder) -> dict[str, Any]:
    """The run in a few figures."""
    metrics, tree = read_json(folder.path / "metrics.json"), load_run(folder.path).taxonomy
    return {
        "out": str(folder.path), "exit": folder.info["exit"], "counts": folder.info["counts"],
        "labels": _named(tree.labels, folder), "scores": metrics["scores"],
        "cost": folder.info["cost"]["money"], "retries": folder.retries, "report": str(folder.path / "report.html"),
    }  # fmt: skip


def _named(labels: list[Label], folder: RunFolder) -> dict[str, int]:
    return {label.name: folder.info.get("labels", {}).get(label.id, 0) for label in labels}
