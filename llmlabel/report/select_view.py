"""The report of `llmlabel run select`: which way of writing training answers fits the model, and what speaks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlabel.report import words
from llmlabel.report.files import RunFiles
from llmlabel.report.parts import part
from llmlabel.report.select_charts import Charts, charts
from llmlabel.report.select_decision import Decision, decision
from llmlabel.report.select_read import Answers, Measured, answers, measured
from llmlabel.report.select_rest import Looks, Pilot, Written, exemplars, looks, pilot, shares, written
from llmlabel.report.select_sides import Question, questions
from llmlabel.report.select_table import Strategies, strategies

Json = Mapping[str, Any]


@dataclass
class SelectSection:
    """All of it; what a run does not have is None or empty."""

    title: str
    summary: list[str]
    how: Measured
    decision: Decision
    strategies: Strategies
    charts: Charts
    looks: Looks | None
    exemplars: list[str]
    questions: list[Question]
    per_prompt: list[tuple[str, float]]
    pilot: Pilot | None
    written: Written | None


def is_select(files: RunFiles) -> bool:
    return files.run.get("flow") == "select"


def select_section(folder: Path, files: RunFiles) -> SelectSection:
    """What the run folder tells. Raises: DataError for a damaged file."""
    metrics, given = files.metrics, answers(folder)
    evidence = part(part(metrics, "decision"), "evidence")
    how = measured(evidence)
    shown = strategies(metrics, evidence, how, given)
    tried = pilot(part(metrics, "pilot"))
    told = decision(files.run, metrics, how, shown, given, tried)
    return SelectSection(
        title="Which answers to train on",
        summary=[told.answer, *([tried.answer] if tried and not tried.accepted else []), *_asked(files.run, shown, given)],
        how=how,
        decision=told,
        strategies=shown,
        charts=charts(shown, given, how),
        looks=looks(evidence, shown),
        exemplars=exemplars(metrics),
        questions=questions(shown, given, how),
        per_prompt=shares(part(metrics, "per_prompt")),
        pilot=tried,
        written=written(part(metrics, "generated")),
    )


def _asked(run: Json, shown: Strategies, given: Answers) -> list[str]:
    """What was compared, for which model, and what is not as usual."""
    config, many = part(run, "config"), len(shown.rows) + shown.hidden
    target, old = words.field(config, "target", 120), words.field(config, "from_run", 160)
    on = f" on {words.count(len(given.questions), 'prompt')}" if given.questions else ""
    seen = words.count(many, "way of writing answers was looked at", "ways of writing answers were compared")
    lines = [f"{seen}{on}{f', for the target {target}' if target else ''}."] if many else []
    if old:
        lines.append(f"That is the decision of an earlier run, {old}; this one wrote the training rows.")
    if config.get("choose") == "per_prompt":
        lines.append("The training rows hold, for each prompt, the answer the target finds likeliest.")
    return lines
