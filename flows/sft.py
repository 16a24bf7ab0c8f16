"""`llmlabel run sft`: prompts with one good answer each -> a model fine-tuned on them, and what it learnt."""

from __future__ import annotations

from typing import Any

from llmlabel.flows.running.artifacts import show_table
from llmlabel.flows.running.common import Desk, carry_out, timed
from llmlabel.flows.running.configured import flow
from llmlabel.flows.steps.alignment.training import split_by_prompt, told, trained
from llmlabel.flows.steps.annotation.labelling import PLAIN
from prefect import task

from llmlabel.alignment.sft_rows import read_rows
from llmlabel.config import SftConfig
from llmlabel.data import fingerprint
from llmlabel.events import emit
from llmlabel.lists import Broken, RankedList, as_examples
from llmlabel.llm import Models
from llmlabel.runs import DONE, RunFolder, read_json, write_json


class Work(Desk):
    """What the steps of one run share. `rows`: to train on; `held_out`: to measure on; `broken`: rows that are neither."""

    config: SftConfig

    def __init__(
        self, config: SftConfig, rows: list[RankedList], held_out: list[RankedList], broken: list[Broken], folder: RunFolder,
        models: Models,
    ) -> None:  # fmt: skip
        super().__init__(config, as_examples(rows), folder, models)
        self.rows, self.held_out, self.broken = rows, held_out, broken
        self.made: dict[str, Any] = {}


@flow(name="sft", asks=False)
def sft(config: SftConfig) -> dict[str, Any]:
    """Fine-tune a model on prompts with one answer each.

    Returns: the run folder, exit code, where the model is, and its loss on held-out rows before and after.
    """
    found, broken = read_rows(config.data, id_column=config.id_column)
    rows, held_out = split_by_prompt(config, found)

    def steps(folder: RunFolder, models: Models) -> int:
        return run_steps(Work(config, rows, held_out, broken, folder, models))

    extra: dict[str, Any] = {"prompts": {}, "held_out": fingerprint(as_examples(held_out))}
    return carry_out(config, "sft", as_examples(rows), extra, steps, shown)


def run_steps(work: Work) -> int:
    """Trains; metrics.json has what came of it."""
    folder, broken = work.folder, work.broken
    if broken:
        emit("note", text=f"{len(broken)} rows are left out, such as row {broken[0].row}: {broken[0].reason}")
    timed(folder, "train", lambda: learn(work))
    work.made["counts"]["rows_broken"] = len(broken)
    work.made["dropped"] += [{"id": one.id or f"row {one.row}", "reason": one.reason} for one in broken]
    folder.info["counts"] = dict(work.made["counts"])
    write_json(folder.path / "metrics.json", {"schema": 1, **work.made})
    return DONE


@task(name="train", task_run_name="train the model", **PLAIN)
def learn(work: Work) -> None:
    """Train, from the last checkpoint if there is one."""
    work.made |= told(trained(work, work.rows, work.held_out, work.folder.path, "train", card={}))


def shown(folder: RunFolder) -> dict[str, Any]:
    """The run in a few figures, in Prefect's UI and as a result."""
    metrics = read_json(folder.path / "metrics.json")
    scores = {name: found for name, found in metrics["scores"].items() if found}
    show_table("scores", [{"model": name, **found} for name, found in scores.items()], "held-out rows before and after")
    return {
        "out": str(folder.path), "exit": folder.info["exit"], "model": metrics["model"], "counts": folder.info["counts"],
        "scores": scores, "change": metrics["change"] or None, "cost": folder.info["cost"]["money"],
        "report": str(folder.path / "report.html"),
    }  # fmt: skip
