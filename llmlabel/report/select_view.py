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
from llmlabel.report.select_table import FACTS, Strategies, strategies

Json = Mapping[str, Any]


@dataclass
class SelectSection:
    """All of it; what a run does not have is None or empty."""

    summary: list[str]
    how: Measured
    decision: Decision
    strategies: Strategies
    facts: dict[str, str]
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
    told = decision(files.run, metrics, how, shown, given)
    tried = pilot(part(metrics, "pilot"))
    return SelectSection(
        summary=[told.answer, *([tried.answer] if tried else []), *_asked(files.run, shown, given)],
        how=how,
        decision=told,
        strategies=shown,
        facts=FACTS,
        charts=charts(shown, given, how),
        looks=looks(evidence, shown),
        exemplars=exemplars(part(metrics, "exemplars"), how),
        questions=questions(shown, given, how),
        per_prompt=shares(part(metrics, "per_prompt")),
        pilot=tried,
        written=written(part(metrics, "generated")),
    )


def _asked(run: Json, shown: Strategies, given: Answers) -> list[str]:
    """What was compared, for which model."""
    config = part(run, "config")
    target = words.field(config, "target", 120)
    many = len(shown.rows) + shown.hidden
    if not many:
        return []
    on = f" on {words.count(len(given.questions), 'prompt')}" if given.questions else ""
    to = f", for the target {target}" if target else ""
    return [f"{words.count(many, 'way', 'ways')} of writing answers compared{on}{to}."]
