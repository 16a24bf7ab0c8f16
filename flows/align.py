"""`llmlabel run align`: ranked answers, or prompts and a judge -> a trained model, and what it is worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from llmlabel.flows import align_evaluate
from llmlabel.flows.running.artifacts import show_table
from llmlabel.flows.running.common import Desk, carry_out, timed
from llmlabel.flows.running.configured import flow
from llmlabel.flows.steps.alignment import cycle
from llmlabel.flows.steps.alignment.training import split_by_prompt, told, trained
from llmlabel.flows.steps.annotation.labelling import PLAIN
from prefect import task

from llmlabel.alignment import convert, losses
from llmlabel.alignment.check_tokens import encoder
from llmlabel.alignment.checks import check
from llmlabel.annotation.judges import pinned
from llmlabel.config import AlignConfig
from llmlabel.data import fingerprint
from llmlabel.errors import ConfigError, DataError
from llmlabel.events import emit
from llmlabel.lists import Broken, RankedList, as_examples, read_lists
from llmlabel.llm import Models
from llmlabel.prompting import PromptLibrary
from llmlabel.runs import DONE, RunFolder, read_json, write_json

CYCLE = ("cycle", "judged", "passed", "agreement", "held_out_agreement", "mean_lcs", "judge_questions", "ended")  # as shown
TOLD = 5  # findings of the check that are told while it runs


class Work(Desk):
    """What the steps of one run share. `lists`: to train on; `held_out`: to measure on."""

    config: AlignConfig

    def __init__(
        self, config: AlignConfig, lists: list[RankedList], held_out: list[RankedList], broken: list[Broken],
        shown: list[RankedList], folder: RunFolder, models: Models,
    ) -> None:  # fmt: skip
        super().__init__(config, as_examples(lists), folder, models)
        self.lists, self.held_out, self.broken, self.shown = lists, held_out, broken, shown
        self.made: dict[str, Any] = {}

    @property
    def judged(self) -> bool:
        """Whether there is a judge to say what the trained model is worth."""
        return bool(self.config.llm.judge or self.config.llm.default)


@flow(name="align")
def align(config: AlignConfig) -> dict[str, Any]:
    """Train a model on lists of ranked answers.

    Returns: the run folder, exit code, where the model is, and its figures before and after.
    """
    losses.loss(config.loss)  # a wrong name is told before anything is read
    lists, broken = read_data(config)
    if config.method == "cyclealign" and not (config.llm.judge or config.llm.default):
        raise ConfigError("cyclealign needs a judge: --judge SPEC, such as openai:MODEL, or embedded to try it out")
    if config.method == "lipo" and not any(one.ranked for one in lists):
        raise DataError(
            f"{config.data} ranks no answers (no scores, ranks or win_matrix); `llmlabel rank` does that, and "
            "--method cyclealign starts from prompts"
        )
    lists, held_out = split(config, lists)
    shown_lists = read_lists(config.demonstrations, option="demonstrations") if config.demonstrations else []
    extra: dict[str, Any] = {
        "prompts": PromptLibrary(config.prompts).hashes(pinned()),
        "held_out": fingerprint(as_examples(held_out)), "demonstrations": fingerprint(as_examples(shown_lists)),
    }  # fmt: skip

    def steps(folder: RunFolder, models: Models) -> int:
        return run_steps(Work(config, lists, held_out, broken, shown_lists, folder, models))

    return carry_out(config, "align", as_examples(lists), extra, steps, shown)


def read_data(config: AlignConfig) -> tuple[list[RankedList], list[Broken]]:
    """Ranked lists, in any form `llmlabel align convert` reads, and rows that are none; or prompts for cycles."""
    if config.method == "lipo":
        found = convert.read(config.data, id_column=config.id_column)
        return found.lists, found.broken
    broken: list[Broken] = []
    return read_lists(config.data, id_column=config.id_column, broken=broken), broken


def split(config: AlignConfig, lists: Sequence[RankedList]) -> tuple[list[RankedList], list[RankedList]]:
    """Lists to train on and to measure on; lists of the same prompt stay together."""
    if config.held_out:
        return list(lists), convert.read(config.held_out, id_column=config.id_column, option="--held-out").lists
    return split_by_prompt(config, lists)


def run_steps(work: Work) -> int:
    """The chain itself; every step leaves its result in the run folder."""
    folder, config = work.folder, work.config
    timed(folder, "check", lambda: examine(work))
    if config.method == "lipo":
        timed(folder, "train", lambda: learn(work))
    else:
        cycle.run_cycles(work)
    if work.judged and work.held_out and work.made.get("model"):
        work.made["win_rate"] = timed(folder, "evaluate", lambda: evaluate(work))
    folder.info["counts"] = dict(Counter(work.made["counts"]))
    write_json(folder.path / "metrics.json", {"schema": 1, **work.made})
    return DONE


@task(name="check", task_run_name="check the data", **PLAIN)
def examine(work: Work) -> None:
    """What is wrong with the data; nothing but what makes training impossible stops the run."""
    if work.config.method == "cyclealign":
        work.made["check"] = {"lists": len(work.lists), "held_out": len(work.held_out)}
        return
    found = check(
        work.lists, work.broken, by=work.config.labels, other=work.held_out, encode=encoder(work.config, work.lists)
    ).to_json()
    write_json(work.folder.path / "check.json", found)
    work.made["check"] = found
    grave = [f for f in found["findings"] if f["severity"] != "note"]
    for finding in grave[:TOLD]:
        emit("note", text=f"{finding['severity']}: {finding['sentence']}")


@task(name="train", task_run_name="train the model", **PLAIN)
def learn(work: Work) -> None:
    """Train on the lists as they are."""
    work.made |= told(trained(work, work.lists, work.held_out, work.folder.path, "train", card={}))


@task(name="evaluate", task_run_name="compare the models, with the judge", **PLAIN)
def evaluate(work: Work) -> dict[str, Any]:
    """How often the judge prefers the trained model's answers to those of the model it started from."""
    return align_evaluate.compare(work, work.held_out, work.config, work.made["model"])


def shown(folder: RunFolder) -> dict[str, Any]:
    """The run in a few figures, in Prefect's UI and as a result."""
    metrics = read_json(folder.path / "metrics.json")
    scores = {name: found for name, found in metrics["scores"].items() if found}
    show_table("scores", [{"model": name, **found} for name, found in scores.items()], "held-out lists before and after")
    cycles = [{key: found[key] for key in CYCLE} for found in metrics.get("cycles", [])]
    if cycles:
        show_table("cycles", cycles, "judge and policy, cycle by cycle")
    win_rate = align_evaluate.in_short(metrics.get("win_rate"))
    return {
        "out": str(folder.path), "exit": folder.info["exit"], "model": metrics.get("model"), "counts": folder.info["counts"],
        "scores": scores, "cycles": cycles or None, "win_rate": win_rate, "ended": metrics.get("ended"),
        "cost": folder.info["cost"]["money"], "report": str(folder.path / "report.html"),
    }  # fmt: skip
