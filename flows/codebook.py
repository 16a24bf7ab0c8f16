"""`llmlabel codebook`: an annotate run with gold -> labelling instructions, each kept only for what it measurably brings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from llmlabel.flows import annotate
from llmlabel.flows.running.artifacts import show_markdown, verbatim
from llmlabel.flows.running.common import account, open_run, timed
from llmlabel.flows.running.configured import flow
from llmlabel.flows.steps.annotation.annotators import Annotator, answers, read_annotators
from llmlabel.flows.steps.annotation.labelling import PLAIN
from prefect import task

from llmlabel.annotation.annotators import pinned
from llmlabel.annotation.codebook.draft import PROMPT, Cases, cases, draft, must_write
from llmlabel.annotation.codebook.rules import Codebook, Rule, build, deal
from llmlabel.annotation.codebook.settings import CodebookConfig
from llmlabel.annotation.codebook.text import summary, to_json, to_markdown
from llmlabel.annotation.panel import Column
from llmlabel.data import fingerprint, read_examples
from llmlabel.errors import ConfigError, DataError
from llmlabel.events import emit
from llmlabel.prompting import PromptLibrary
from llmlabel.records import NONE_FITS, Annotation, Status, Taxonomy
from llmlabel.review import load_corrections
from llmlabel.runs import DONE, RunFolder, load_run, read_json, write_atomic
from llmlabel.suspect import suspicions

FEWEST = 30  # gold rows to start with; ten times as many are better
FILES = ("codebook.md", "codebook.json", "taxonomy.codebook.yaml")
NO_GOLD = (
    "a codebook needs gold to measure by: {n} rows of {run} have a true label, {least} are the least, 200 are better. Name "
    "--gold-column in `llmlabel run annotate`, or have people label a random draw: llmlabel review export {run} --random 1"
)


class Work(annotate.Work):
    """What the steps share: all that a run of annotate has, under the settings of a codebook."""

    config: CodebookConfig


@flow(name="codebook")
def codebook(config: CodebookConfig) -> dict[str, Any]:
    """Labelling instructions for the labels of a run.

    Returns: the run, exit code, what was kept, F1 before and after, and the cost.
    """
    examples = read_examples(
        config.data, text_column=config.text_column, id_column=config.id_column, gold_column=config.gold_column
    )
    data, made_on = {"fingerprint": fingerprint(examples), "rows": len(examples)}, load_run(config.run).info["definition"]["data"]
    if data != made_on:
        raise ConfigError(f"{config.data} is not what it was when {config.run} was made; run annotate on it first")
    taxonomy, corrections = Taxonomy.load(config.run / "taxonomy.yaml"), load_corrections(config.run)
    hashes = PromptLibrary(config.prompts).hashes(pinned() | {"codebook": PROMPT})
    extra = {"data": data, "prompts": hashes, "taxonomy": taxonomy.model_dump()}
    with open_run(config, "codebook", extra) as (folder, models):
        emit("start", flow="codebook", out=str(folder.path), rows=len(examples), run=folder.id)
        if not folder.finished:
            folder.info |= {"prompts": hashes, "seed": config.seed, "data": data}
            work = Work(
                config=config, examples=examples, folder=folder, models=models, taxonomy=taxonomy, corrections=corrections,
                given=[], old=None,
            )  # fmt: skip
            run_steps(work)
            account(folder, models)
            folder.finish(DONE)
        for name in FILES:
            write_atomic(config.run / name, (folder.path / name).read_bytes())
        return shown(config, folder)


def run_steps(work: Work) -> None:
    """The chain itself; what it asked stands in the run folder."""
    annotator, writer, gold = _annotator(work), _writer(work), _gold(work)
    parts = deal({i: gold[i] for i in work.known.gold.labels if i in gold}, work.config.seed)
    parts["learn"] = _to_learn(work, gold, parts)
    learned = timed(work.folder, "learn", lambda: ask(work, annotator, work.taxonomy, parts["learn"], parts["learn"], "learn"))
    found = _cases(work, gold, parts["learn"], learned)
    rules, failed = timed(work.folder, "draft", lambda: write_rules(work, found, gold, writer))
    book = timed(work.folder, "try", lambda: try_rules(work, annotator, rules, gold, parts))
    about = {
        "annotator": annotator.name, "writer": writer, "gold": {name: len(rows) for name, rows in parts.items()},
        "alpha": work.config.alpha, "failed": failed,
    }  # fmt: skip
    path = work.folder.path
    write_atomic(path / "codebook.json", json.dumps(to_json(book, about), ensure_ascii=False, indent=1) + "\n")
    write_atomic(path / "codebook.md", to_markdown(book, found, work.by_id, gold))
    write_atomic(path / "taxonomy.codebook.yaml", book.described.dump())
    emit("note", text=summary(book))


def _annotator(work: Work) -> Annotator:
    """Raises: ConfigError when the run has no such annotator, or none that reads rules."""
    config, every = work.config, read_annotators(work.config)
    who = [a for a in every if a.way != "nearest" and config.annotator in (None, a.name)]
    if not who:
        wanted = f"no annotator {config.annotator!r}" if config.annotator else "no annotator that reads rules"
        raise ConfigError(f"{config.run} has {wanted}; it has: {', '.join(a.name for a in every)}")
    return who[0]


def _writer(work: Work) -> str:
    spec = work.models.spec_of(work.config.writer or _annotator(work).spec or work.config.llm.spec("label"))
    must_write(work.models.client(spec))
    return spec


def _gold(work: Work) -> dict[str, str]:
    """Row id -> label id: true labels, and what people said of rows of the queue, to learn from.

    Raises: DataError when there are too few rows to measure by.
    """
    found = {i: labels[0] if labels else NONE_FITS for i, labels in {**work.known.human, **work.known.gold.labels}.items()}
    full = {i: label for i, label in found.items() if work.by_id[i].text.strip()}
    known = sum(i in work.known.gold.labels for i in full)
    if known < FEWEST:
        raise DataError(NO_GOLD.format(n=known, run=work.config.run, least=FEWEST))
    return full


def _to_learn(work: Work, gold: Mapping[str, str], parts: Mapping[str, Sequence[str]]) -> list[str]:
    """Rows whose texts the writer sees and the codebook may quote: none that looks like an attack on a labeller."""
    queued = sorted(i for i in gold if i not in work.known.gold.labels)
    rows = [*parts["learn"], *queued]
    held = {work.by_id[i].text for name in ("choose", "test") for i in parts[name]}
    fit = [i for i in rows if not suspicions(work.by_id[i].text) and work.by_id[i].text not in held]
    if len(fit) < len(rows):
        emit("note", text=f"{len(rows) - len(fit)} rows are not learned from: suspect, or the same text as one that is measured")
    return fit


@task(name="ask", task_run_name="ask under the rules", **PLAIN)
def ask(
    work: Work, annotator: Annotator, taxonomy: Taxonomy, rows: Sequence[str], learn: Sequence[str], step: str
) -> dict[str, Annotation]:
    """The annotator's answers to some rows under a taxonomy; solved examples come from `learn` only."""
    if not rows:
        return {}
    known = set(learn)
    solved = [e for e in work.known.solved if e.id in known]
    asking = replace(work.asking, taxonomy=taxonomy, gold=solved, fresh=frozenset(), order_sample=0)
    column: Column = answers(asking, annotator, 0, [work.by_id[i] for i in rows], f"-{step}")
    return dict(column.rows)


def said(rows: Mapping[str, Annotation]) -> dict[str, str | None]:
    return {i: None if r.status.failed else NONE_FITS if r.status is Status.NONE_FITS else r.label for i, r in rows.items()}


def _cases(work: Work, gold: Mapping[str, str], rows: Sequence[str], learned: Mapping[str, Annotation]) -> list[Cases]:
    vectors = np.asarray(work.encode([work.by_id[i].text for i in rows]))
    sure = {i: row.confidence for i, row in learned.items() if row.confidence is not None}
    labels = [label.id for label in work.taxonomy.leaves]
    return cases(rows, gold, said(learned), sure, vectors, labels, work.config.cases)


@task(name="draft", task_run_name="draft rules", **PLAIN)
def write_rules(work: Work, found: Sequence[Cases], gold: Mapping[str, str], writer: str) -> tuple[list[Rule], list[str]]:
    count = work.counter("draft", sum(c.wrong > 0 for c in found))
    how = work.asking.how([], count)
    rules, failed = draft(found, work.by_id, gold, work.taxonomy, work.models.client(writer), work.asking.prompts, how)
    for line in failed:
        emit("note", text=f"no rules for {line}")
    tried = rules[: work.config.tries]
    emit("note", text=f"{len(rules)} rules drafted, {len(tried)} of them to be tried")
    return tried, failed


@task(name="try", task_run_name="try the rules", **PLAIN)
def try_rules(
    work: Work, annotator: Annotator, rules: Sequence[Rule], gold: Mapping[str, str], parts: Mapping[str, Sequence[str]]
) -> Codebook:

    def answer(taxonomy: Taxonomy, rows: Sequence[str], step: str) -> dict[str, str | None]:
        return said(ask(work, annotator, taxonomy, rows, parts["learn"], step))

    return build(work.taxonomy, rules, gold, parts, answer, alpha=work.config.alpha, seed=work.config.seed)


def shown(config: CodebookConfig, folder: RunFolder) -> dict[str, Any]:
    """The codebook in a few figures, and itself in Prefect's UI."""
    found = read_json(folder.path / "codebook.json")
    show_markdown("codebook", verbatim((folder.path / "codebook.md").read_text(encoding="utf-8")), "the codebook")
    return {
        "out": str(config.run), "exit": folder.info["exit"], "tried": len(found["rules"]), "kept": found["kept"],
        "why": found["why"], "f1_before": found["f1_before"], "tested": found["tested"],
        "cost": folder.info["cost"]["money"], "codebook": str(Path(config.run) / "codebook.md"),
        "taxonomy": str(Path(config.run) / "taxonomy.codebook.yaml"),
    }  # fmt: skip
