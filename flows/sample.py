"""`llmlabel run sample`: several answers of a model to each prompt, to be ranked by a judge, or by whether they are right."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llmlabel.flows.running.common import Desk, carry_out, timed
from llmlabel.flows.running.configured import flow
from llmlabel.flows.steps.alignment.sampling import model_spec, sample
from llmlabel.flows.steps.annotation.labelling import PLAIN
from prefect import task

from llmlabel.config import SampleConfig
from llmlabel.data import as_label
from llmlabel.errors import DataError
from llmlabel.lists import RankedList, as_examples, read_lists, write_lists
from llmlabel.llm import Models
from llmlabel.records import Taxonomy
from llmlabel.runs import DONE, RunFolder, read_json, write_json
from llmlabel.selection.verifiers import auto, verifier


class Work(Desk):
    config: SampleConfig


@flow(name="sample")
def sample_answers(config: SampleConfig) -> dict[str, Any]:
    """Answers of a model, different ones, to every prompt.

    Returns: the run folder, exit code, counts, and responses.parquet: lists of answers; with gold also `correct`, and `scores`
        of 1 or 0.
    """
    lists = read_lists(config.data, id_column=config.id_column)
    if config.gold_column and config.gold_column not in lists[0].more:
        raise DataError(f"{config.data} has no column {config.gold_column!r} (--gold-column)")
    if config.most is not None and config.most < len(lists):
        lists = random.Random(f"{config.seed}/sample").sample(lists, config.most)
    taxonomy = Taxonomy.load(config.taxonomy) if config.taxonomy else None
    extra = {"prompts": {}, "taxonomy": taxonomy and taxonomy.model_dump(mode="json")}

    def steps(folder: RunFolder, models: Models) -> int:
        work = Work(config, as_examples(lists), folder, models)
        found = timed(folder, "sample", lambda: _sampled(work, lists))
        if config.gold_column:
            found = _checked(found, lists, config, taxonomy)
        write_lists(folder.path / "responses.parquet", found)
        answers, known = sum(map(len, found)), [c for one in found for c in one.more.get("correct") or [] if c is not None]
        folder.info["counts"] = {"prompts": len(found), "answers": answers}
        told = {"answers": answers, "checked": len(known), "correct": sum(known), "apart": sum(_apart(one) for one in found)}
        write_json(folder.path / "metrics.json", {"schema": 1, **told, "counts": folder.info["counts"]})
        return DONE

    return carry_out(config, "sample", as_examples(lists), extra, steps, shown)


@task(name="sample", task_run_name="sample answers", **PLAIN)
def _sampled(work: Work, lists: Sequence[RankedList]) -> list[RankedList]:
    client = work.models.client(model_spec(work.config.policy, work.config.sampler))
    return sample(work.folder, client, lists, work.config, "sample", work.config.samples, work.counter)


def _checked(
    found: Sequence[RankedList], lists: Sequence[RankedList], config: SampleConfig, taxonomy: Taxonomy | None
) -> list[RankedList]:
    """With `correct`, and scores made of it, where there is gold."""
    golds = [as_label(one.more[str(config.gold_column)]) for one in lists]
    check = verifier(auto([g for g in golds if g], taxonomy) if config.verify == "auto" else config.verify)
    made = []
    for one, gold in zip(found, golds, strict=True):
        right = None if gold is None else [bool(check.verify(text, gold, taxonomy)) for text in one.completions]
        scores = None if right is None else tuple(map(float, right))
        made.append(replace(one, scores=scores, more={"gold": gold, "correct": right}))
    return made


def _apart(one: RankedList) -> bool:
    """Whether some of its answers are right and some wrong, so that a model can learn from it."""
    return len({*(one.more.get("correct") or [])}) == 2


def shown(folder: RunFolder) -> dict[str, Any]:
    metrics = read_json(folder.path / "metrics.json")
    return {
        "out": str(folder.path), "exit": folder.info["exit"], "responses": str(folder.path / "responses.parquet"),
        **{key: metrics[key] for key in ("answers", "checked", "correct", "apart")}, "counts": metrics["counts"],
        "cost": folder.info["cost"]["money"], "report": str(folder.path / "report.html"),
    }  # fmt: skip
