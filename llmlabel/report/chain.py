"""The report of `llmlabel run pipeline`: what every stage made, where it lies, and what the model at the end is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlabel.report import words
from llmlabel.report.checked import Checked, checked
from llmlabel.report.files import RunFiles
from llmlabel.report.parts import part, parts, whole

Json = Mapping[str, Any]
KINDS = {
    "taxonomy": "Taxonomy", "annotate": "Labels", "graph": "Labels of nodes", "select": "Training answers", "sft": "Fine-tuning",
    "sample": "Sampled answers", "rank": "Ranking", "align": "Alignment", "evaluate": "Evaluation",
}  # fmt: skip


@dataclass
class Stage:
    """`said`: what came out, in a few words; `link`: its report, beside this one; `seconds`: None where unknown."""

    name: str
    said: str
    link: str
    exit: int
    cost: float
    seconds: float | None


@dataclass
class ChainSection:
    title: str
    summary: list[str]
    stages: list[Stage]
    checked: Checked | None


def is_chain(files: RunFiles) -> bool:
    return files.run.get("flow") == "pipeline"


def chain_section(folder: Path, files: RunFiles) -> ChainSection:
    """What the run folder tells."""
    timings = part(files.run, "timings")
    stages = [_stage(folder, one, words.figure(timings.get(str(one.get("stage"))))) for one in parts(files.metrics, "stages")]
    found = checked(part(files.metrics, "accuracy"))
    failed = [one.name for one in stages if one.exit]
    lines = [f"{words.count(len(stages), 'stage')}: {words.listed([one.name.lower() for one in stages])}."] if stages else []
    lines += [found.answer] if found else []
    lines += [f"Some rows failed in: {words.listed([name.lower() for name in failed])}."] if failed else []
    return ChainSection("From raw texts to a trained model", lines, stages, found)


def _stage(folder: Path, one: Json, seconds: float | None) -> Stage:
    name = words.field(one, "stage", 40)
    link = f"{name}/report.html" if name in KINDS and (folder / name / "report.html").is_file() else ""
    cost, said = words.figure(one.get("cost")) or 0.0, TOLD.get(name, _counts)(one)
    return Stage(KINDS.get(name, name), said, link, whole(one, "exit") or 0, cost, seconds)


def _counts(one: Json) -> str:
    counts = words.figures(part(one, "counts"))
    return words.listed([f"{n:,} {words.clean(status, 40).replace('_', ' ')}" for status, n in counts.items() if n])


def _labels(one: Json) -> str:
    labels = words.figures(part(one, "labels"))
    most = sorted(labels, key=lambda name: -labels[name])[:3]
    named = f", most often {words.listed([words.clean(name, 40) for name in most])}" if most else ""
    return f"{words.count(len(labels), 'label')}{named}; texts: {_counts(one)}" if labels else _counts(one)


def _select(one: Json) -> str:
    verdict, made = words.field(one, "verdict", 20).replace("_", " "), part(one, "generated")
    chosen = words.field(one, "strategy", 80) or "no strategy"
    kept, rows = whole(made, "kept"), whole(made, "rows")
    return f"{chosen} ({verdict})" + (f"; {kept:,} of {rows:,} answers kept" if kept is not None and rows is not None else "")


def _sample(one: Json) -> str:
    answers, checked_, right, apart = (whole(one, key) or 0 for key in ("answers", "checked", "correct", "apart"))
    said = words.count(answers, "answer")
    return f"{said}, {right:,} right; {apart:,} prompts with both right and wrong ones" if checked_ else said


def _win(one: Json) -> str:
    rate = words.figure(part(part(one, "win_rate"), "win_rate").get("value"))
    found = checked(part(one, "accuracy"))
    said = [found.answer.rstrip(".")] if found else []
    return "; ".join(said + ([f"win rate {words.percent(rate)}"] if rate is not None else []))


TOLD: dict[str, Callable[[Json], str]] = {
    "taxonomy": _labels, "annotate": _labels, "graph": _labels, "select": _select, "sample": _sample, "evaluate": _win,
}  # fmt: skip
