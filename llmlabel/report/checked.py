"""How often models' answers to prompts with gold are right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlabel.report import words
from llmlabel.report.charts import Scale
from llmlabel.report.parts import Estimate, estimate, part, whole

NAMES = {"policy": "Trained model", "reference": "Model it started from"}


@dataclass
class Checked:
    """`answer`: in one sentence; `rows`: (model, share of right answers, gain over the model it started from in points)."""

    answer: str
    rows: list[tuple[str, Estimate, str]]
    scale: Scale


def checked(raw: Mapping[str, Any]) -> Checked | None:
    """From `accuracy` of metrics.json; None where answers were not checked."""
    models = {name: part(raw, name) for name in raw}
    rows = [(_name(name), estimate(one, "accuracy"), _gain(one)) for name, one in models.items()]
    rows = [row for row in rows if row[1].value is not None]
    return Checked(_answer(models), rows, Scale(1.0)) if rows else None


def _name(name: str) -> str:
    path = Path(words.clean(name, 200))
    return NAMES.get(name) or (f"Before any training: {path.name}" if path.name else "Another model")


def _gain(one: Mapping[str, Any]) -> str:
    gain, low, high = (words.figure(one.get(key)) for key in ("gain", "gain_low", "gain_high"))
    if gain is None:
        return ""
    return f"{100 * gain:+.1f}" + (f" ({100 * low:+.1f} to {100 * high:+.1f})" if low is not None and high is not None else "")


def _answer(models: Mapping[str, Mapping[str, Any]]) -> str:
    mine = models.get("policy", {})
    share, tests = estimate(mine, "accuracy"), whole(mine, "tests")
    if share.value is None or not tests:
        return "The trained model's answers were not checked."
    said = f"The trained model is right on {words.percent(share.value)} of {words.count(tests, 'test prompt')}"
    gain, low, high = (words.figure(mine.get(key)) for key in ("gain", "gain_low", "gain_high"))
    if gain is None or low is None or high is None:
        return f"{said}."
    points = f"{abs(100 * gain):.1f} points {'more' if gain > 0 else 'less'} than the model it started from"
    if low > 0 or high < 0:
        return f"{said}, {points}, and more than chance would explain."
    return f"{said}, which cannot be told from the model it started from ({100 * low:+.1f} to {100 * high:+.1f} points)."
