"""`llmlabel run pipeline`: raw texts -> taxonomy -> labels -> training answers -> a trained, aligned and tested model.

Every stage is a flow of its own with its own run folder, OUT/STAGE, which the next one starts from. What a stage returned is
kept in OUT/steps/STAGE.json: the same command goes on with the first stage that has not ended.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmlabel.flows.running.artifacts import show_table
from llmlabel.flows.running.chain import Chain
from llmlabel.flows.running.common import carry_out
from llmlabel.flows.running.configured import flow
from llmlabel.flows.steps.pipeline.rows import FEW, write_rows

from llmlabel.config import PipelineConfig
from llmlabel.data import read_examples
from llmlabel.errors import DataError
from llmlabel.events import emit
from llmlabel.llm import Models
from llmlabel.runs import DONE, PARTIAL, RunFolder, read_json, write_json
from llmlabel.selection.target import weights_of

ORDER = ("taxonomy", "annotate", "graph", "select", "sft", "sample", "rank", "align", "evaluate")
APART = 2  # prompts, at least, with right and with wrong answers, or there is nothing to align on


class Work(Chain):
    """What stages hand on. `labels`: the run that labelled the rows; `taxonomy`: its file; `answers`: rows to fine-tune on;
    `lists`: answers to align on; `model`: the model as far as it is trained; `trained`: the run that made it."""

    config: PipelineConfig

    def __init__(self, *of_desk: Any) -> None:
        super().__init__(*of_desk)
        self.labels: Path | None = self.config.from_run
        named = self.config.select.get("taxonomy")
        self.taxonomy = Path(named) if named else self.labels / "taxonomy.yaml" if self.labels else None
        self.answers: Path | None = None
        self.lists: Path | None = None
        self.trained: Path | None = None
        self.model = weights_of(self.config.target) or "embedded" if self.config.target else "embedded"
        self.untrained = self.model


@flow(name="pipeline", asks=False)
def pipeline(config: PipelineConfig) -> dict[str, Any]:
    """The chain of all stages that are named.

    Returns: the folder, exit code, every stage's run folder and exit code, the models' accuracies, and the cost of all.
    """
    rows = texts(config)
    examples = read_examples(rows.pop("data"), **rows)

    def steps(folder: RunFolder, models: Models) -> int:
        return run_steps(Work(config, examples, folder, models))

    return carry_out(config, "pipeline", examples, {"prompts": {}}, steps, shown)


def run_steps(work: Work) -> int:
    wanted = set(work.config.stages)
    for stage in ORDER:
        if stage in wanted:
            STAGES[stage](work)
    exits = {one["stage"]: one["exit"] for one in work.done}
    counts: dict[str, int] = next(
        (one["counts"] for one in reversed(work.done) if one["stage"] in ("taxonomy", "annotate", "graph")), {}
    )
    work.folder.info["counts"] = counts
    evaluated: dict[str, Any] = next((one for one in work.done if one["stage"] == "evaluate"), {})
    write_json(
        work.folder.path / "metrics.json",
        {"schema": 1, "stages": work.done, "accuracy": evaluated.get("accuracy"), "win_rate": evaluated.get("win_rate"),
         "counts": counts},
    )  # fmt: skip
    return PARTIAL if PARTIAL in exits.values() else DONE


def _label(stage: str) -> Callable[[Work], None]:
    """A stage that labels the texts, from the run that labelled them before it, if one did."""

    def label(work: Work) -> None:
        given = {"from_run": work.labels} if work.labels else {}
        work.labels = run = work.run(stage, **texts(work.config), **given)
        work.taxonomy = run / "taxonomy.yaml"

    return label


def texts(config: PipelineConfig) -> dict[str, Any]:
    """What a stage that labels reads."""
    return {name: getattr(config, name) for name in ("data", "text_column", "id_column", "gold_column")}


def _select(work: Work) -> None:
    rows = work.folder.step("rows", lambda: write_rows(work))
    run = work.run(
        "select", data=rows["train"], text_column="text", gold_column="label", taxonomy=work.taxonomy, generate_all=rows["rows"]
    )
    work.answers = run / "sft.parquet"


def _tune(work: Work) -> None:
    chosen = next(one for one in work.done if one["stage"] == "select")
    kept = (chosen["generated"] or {"kept": 0})["kept"]
    if kept < FEW:
        raise DataError(
            f"{kept} training answers are too few, see {chosen['report']}. What may help, with another --out: a stronger "
            "--teacher, --set select.max_answer_tokens=1024 (longer answers), --set select.keep=all (wrong ones too)"
        )
    work.trained = run = work.run("sft", data=str(work.answers), policy=work.model)
    work.model = str(run / "model")


def _sample(work: Work) -> None:
    rows = work.folder.step("rows", lambda: write_rows(work))
    run = work.run("sample", data=rows["prompts"], gold_column="label", taxonomy=work.taxonomy, policy=work.model)
    work.lists = run / "responses.parquet"


def _rank(work: Work) -> None:
    if work.config.judged:
        work.lists = work.run("rank", data=str(work.lists)) / "ranked.parquet"
    else:
        emit(
            "note", text="answers are ranked by whether they end in their row's label; a judge ranks them where --judge names one"
        )


def _align(work: Work) -> None:
    apart = next(one["apart"] for one in work.done if one["stage"] == "sample")
    if not work.config.judged and apart < APART:
        emit("note", text=f"nothing to align on: {apart} prompts have both right and wrong answers; the model stays as it is")
        return
    judge = {} if work.config.judged else {"llm": work.config.llm.model_copy(update={"default": None})}  # none of the trained
    work.trained = run = work.run("align", data=str(work.lists), policy=work.model, **judge)
    work.model = str(run / "model")


def _evaluate(work: Work) -> None:
    if work.trained is None:
        return
    rows = work.folder.step("rows", lambda: write_rows(work))
    work.run(
        "evaluate", data=rows["tests"], gold_column="label", taxonomy=work.taxonomy, run=work.trained, beside=[work.untrained]
    )


STAGES: dict[str, Callable[[Work], None]] = {
    "taxonomy": _label("taxonomy"), "annotate": _label("annotate"), "graph": _label("graph"), "select": _select, "sft": _tune,
    "sample": _sample, "rank": _rank, "align": _align, "evaluate": _evaluate,
}  # fmt: skip


def shown(folder: RunFolder) -> dict[str, Any]:
    metrics = read_json(folder.path / "metrics.json")
    stages = [{key: one.get(key) for key in ("stage", "exit", "cost", "out", "report")} for one in metrics["stages"]]
    show_table("stages", stages, "what was done, and where it lies")
    return {
        "out": str(folder.path), "exit": folder.info["exit"], "stages": {one["stage"]: one["out"] for one in stages},
        "counts": metrics["counts"], "accuracy": metrics["accuracy"], "win_rate": metrics["win_rate"],
        "cost": folder.info["cost"]["money"], "report": str(folder.path / "report.html"),
    }  # fmt: skip
