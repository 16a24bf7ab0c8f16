"""Labelled rows as what training needs of them: texts to write answers for, prompts to sample on, and prompts to test on."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from llmlabel.annotation.panel import read_gold
from llmlabel.config import SelectConfig
from llmlabel.errors import ConfigError, DataError
from llmlabel.events import emit
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example, Taxonomy
from llmlabel.runs import load_run, write_parquet
from llmlabel.selection.answers import Question
from llmlabel.selection.questions import LABEL_TASK, read_questions

if TYPE_CHECKING:
    from llmlabel.flows.pipeline import Work

FEW = 10  # rows to train on: fewer are no training
SHARE = 5  # at most one row in so many is kept for tests


def write_rows(work: Work) -> dict[str, Any]:
    """Share the labelled rows out, each text once: train.parquet (id, text, label), the same as prompts in prompts.parquet, and
    prompts to test on, rows with gold first, in tests.parquet.

    Returns: the paths as `train`, `prompts`, `tests`; `rows` to train on; `gold`: tests whose label is true, not a model's.
    Raises: DataError where too few rows have a label; ConfigError where nothing says what the labels are.
    """
    config, folder = work.config, work.folder.path / "rows"
    if work.taxonomy is None:
        raise ConfigError("which labels are there? Name the file: --set select.taxonomy=FILE, or a labelled run: --from RUN")
    taxonomy = Taxonomy.load(work.taxonomy)
    true = {i: labels[0] for i, labels in read_gold(work.examples, taxonomy).labels.items() if labels}
    labels = _said(work.labels) | true
    rows = [e for e in work.examples if e.id in labels and e.text.strip()]
    _write(folder / "labelled.parquet", rows, labels)
    settings = config.stage("select", data=str(folder / "labelled.parquet"), out=folder, taxonomy=work.taxonomy,
                            text_column="text", gold_column="label")  # fmt: skip
    assert isinstance(settings, SelectConfig)
    questions, _ = read_questions(settings, taxonomy, PromptLibrary(config.prompts).get(LABEL_TASK))
    random.Random(f"{config.seed}/rows").shuffle(questions)
    questions.sort(key=lambda one: one.id not in true)
    kept = min(config.test_rows, len(questions) // SHARE)
    tests, train = questions[:kept], questions[kept : kept + config.train_rows]
    if len(train) < FEW:
        raise DataError(f"{len(questions)} different texts have a label, too few to train and test on; {SHARE * FEW} would do")
    gold = sum(one.id in true for one in tests)
    emit("note", text=f"{len(train)} labelled texts to train on, {kept} to test on, {gold} of these with gold")
    return {
        "train": _write(folder / "train.parquet", [work.by_id[one.id] for one in train], labels),
        "prompts": _prompts(folder / "prompts.parquet", train), "tests": _prompts(folder / "tests.parquet", tests),
        "rows": len(train), "gold": gold,
    }  # fmt: skip


def _said(run: Path | None) -> dict[str, str]:
    """Row id -> label, of rows a run has labelled and is sure enough of."""
    rows = load_run(run).columns("labels.parquet", "id", "label", "status") if run else []
    return {id_: label for id_, label, status in rows if label is not None and status == "ok"}


def _write(path: Path, rows: Sequence[Example], labels: Mapping[str, str]) -> str:
    made = {"id": [e.id for e in rows], "text": [e.text for e in rows], "label": [labels[e.id] for e in rows]}
    write_parquet(path, pa.table(made))
    return str(path)


def _prompts(path: Path, questions: Sequence[Question]) -> str:
    made = {"id": [q.id for q in questions], "prompt": [q.text for q in questions], "label": [q.gold for q in questions]}
    write_parquet(path, pa.table(made))
    return str(path)
