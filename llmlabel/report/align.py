"""Reports about answers: training on lists or rows of them (`align`, `sft`), ranking (`rank`), a model's worth (`evaluate`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlabel.report import sft
from llmlabel.report.align_curves import curves
from llmlabel.report.align_cycles import Cycles, cycles
from llmlabel.report.align_judge import Agreement, Judge, agreement, judge
from llmlabel.report.align_lists import Lists, lists
from llmlabel.report.align_measures import Change, change
from llmlabel.report.align_summary import summary
from llmlabel.report.align_training import Data, data, last_training, trainings
from llmlabel.report.align_wins import Wins, wins
from llmlabel.report.charts import Chart
from llmlabel.report.checked import Checked, checked
from llmlabel.report.files import RunFiles
from llmlabel.report.parts import part, parts, whole
from llmlabel.report.sft import Learnt

TITLES = {
    "align": ("Alignment", "A model trained on ranked answers"),
    "sft": ("Fine-tuning", "A model trained on prompts with one answer each"),
    "rank": ("Ranking", "Answers put in order by a judge"),
    "evaluate": ("Evaluation", "A trained model against the one it started from"),
}
NO_JUDGE = "No judge was named (--judge), so what the answers it writes are worth is not known."


@dataclass
class AlignSection:
    """All of it; what a run does not have is None or empty. `which`: the training that `change` is about, "" for the only one."""

    flow: str
    kind: str
    title: str
    summary: list[str]
    which: str
    change: Change | None
    cycles: Cycles | None
    curves: list[Chart]
    held_out_curves: bool
    data: Data | None
    wins: Wins | None
    no_wins: str
    checked: Checked | None
    judge: Judge | None
    judged_in: str
    agreement: Agreement | None
    lists: Lists | None
    learnt: Learnt | None

    @property
    def things(self) -> str:
        """What it was trained on."""
        return "rows" if self.flow == "sft" else "lists"


def is_align(files: RunFiles) -> bool:
    return files.run.get("flow") in TITLES


def align_section(folder: Path, files: RunFiles) -> AlignSection:
    """What the run folder tells."""
    flow, metrics = str(files.run["flow"]), files.metrics
    which, scores, told = last_training(folder, metrics) if flow != "rank" else ("", {}, {})
    logs = trainings(folder) if flow in ("align", "sft") else []
    won = None if flow == "rank" else wins(folder, part(metrics, "win_rate"))
    statistics, judged_in = _judged(metrics, flow)
    kind, title = TITLES[flow]
    section = AlignSection(
        flow=flow,
        kind=kind,
        title=title,
        summary=[],
        which=which,
        change=change(scores, part(scores, "change") or part(told, "change")) if flow != "sft" else None,
        cycles=cycles(folder, metrics, files.run),
        curves=curves(logs, "rows" if flow == "sft" else "lists"),
        held_out_curves=any(key.startswith("eval_") for _, rows in logs for row in rows for key in row),
        data=data(folder, metrics, told) if flow in ("align", "sft") else None,
        wins=won,
        checked=checked(part(metrics, "accuracy")),
        no_wins="" if won else _no_wins(files.run, metrics, flow),
        judge=judge(statistics),
        judged_in=judged_in,
        agreement=agreement(part(metrics, "agreement")) if flow == "rank" else None,
        lists=lists(folder, files.run, metrics) if flow == "rank" else None,
        learnt=sft.learnt(scores, part(told, "change")) if flow == "sft" else None,
    )
    if flow == "sft":
        section.summary = sft.summary(files.run, told, section.learnt)
    else:
        section.summary = summary(files.run, metrics, told, section)
    return section


def _judged(metrics: Mapping[str, Any], flow: str) -> tuple[Mapping[str, Any], str]:
    """The statistics of the judge and where it judged: of a ranking, of the comparison of both models, else of the last cycle."""
    if flow == "rank":
        return part(metrics, "judge"), ""
    own, rounds = part(part(metrics, "win_rate"), "judge"), parts(metrics, "cycles")
    if whole(own, "lists") or not rounds:
        return own, "the comparison of both models" if own and rounds else ""
    return part(rounds[-1], "judge"), "the last cycle"


def _no_wins(run: Mapping[str, Any], metrics: Mapping[str, Any], flow: str) -> str:
    if flow in ("rank", "sft"):
        return ""
    roles = part(part(run, "config"), "llm")
    if flow == "align" and not (roles.get("judge") or roles.get("default")):
        return NO_JUDGE
    if flow == "align" and metrics and not metrics.get("model"):
        return "No model was trained, so there are no answers to compare."
    if flow == "align" and not part(part(metrics, "scores"), "policy"):
        return "No lists were held out, so there were no prompts to compare answers on."
    return "The run did not get as far as comparing answers."
