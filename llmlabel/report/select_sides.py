"""Answers of all strategies to the same question, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmlabel.report import words
from llmlabel.report.align_read import Passage, passage
from llmlabel.report.parts import whole
from llmlabel.report.select_read import Answers, Measured, named, two
from llmlabel.report.select_table import Strategies
from llmlabel.selection.answers import OWN

PROMPT, ANSWER, MOST = 700, 700, 12  # characters shown, and answers to one question


@dataclass
class Side:
    """One answer. `mark`: right, wrong or ""; `said`: what else is known of it; `own`: the target wrote it."""

    name: str
    mark: str
    score: str
    said: list[str]
    text: Passage
    chosen: bool
    own: bool


@dataclass
class Question:
    """`why`: what makes it worth a look."""

    why: str
    prompt: Passage
    gold: str
    sides: list[Side]
    hidden: int


def questions(shown: Strategies, given: Answers, how: Measured) -> list[Question]:
    """The question whose answers differ most in how well they fit, one in the middle, and one where the best strategy loses."""
    scores = {row.key: given.values(row.key, how.score) for row in shown.rows}
    chosen = _chosen({key: found for key, found in scores.items() if found}, [row.key for row in shown.rows], how.higher)
    return [_question(why, key, shown, given, how) for key, why in chosen]


def _chosen(scores: Mapping[str, Mapping[str, float]], order: Sequence[str], higher: bool) -> list[tuple[str, str]]:
    """(id, why), among the questions with most answers that have a score."""
    many: dict[str, list[float]] = {}
    for found in scores.values():
        for key, value in found.items():
            many.setdefault(key, []).append(value)
    most = max(map(len, many.values()), default=0)
    spread = {key: max(values) - min(values) for key, values in many.items() if len(values) == most}
    if not spread:
        return []
    ranked = sorted(spread, key=lambda key: (-spread[key], key))
    chosen = {ranked[0]: "Where the answers differ most" if most > 1 else "An answer"}
    best = next((scores[key] for key in order if key in scores), {})
    sign = -1 if higher else 1
    lost = {key: max(sign * (best[key] - value) for value in many[key]) for key in ranked if key in best and key not in chosen}
    worst = max(lost, key=lambda key: (lost[key], key), default=None)
    middle = ranked[len(ranked) // 2]
    if middle != worst:
        chosen.setdefault(middle, "A question in the middle")
    if worst is not None and lost[worst] > 0:
        chosen.setdefault(worst, "Where the best strategy fits worse than another")
    return [*chosen.items()]


def _question(why: str, key: str, shown: Strategies, given: Answers, how: Measured) -> Question:
    asked = given.questions.get(key, {})
    order = [(row.key, row.mark == "chosen") for row in shown.rows] + [(OWN, False)]
    sides = [_side(name, given.of[name][key], chosen, how) for name, chosen in order if key in given.of.get(name, {})]
    gold = words.clean(asked["gold"], 200) if asked.get("gold") is not None else ""
    return Question(why, passage(asked.get("prompt") or key, PROMPT), gold, sides[:MOST], max(0, len(sides) - MOST))


def _side(name: str, row: Mapping[str, Any], chosen: bool, how: Measured) -> Side:
    correct, score, tokens = _told(row.get("correct")), words.figure(row.get(how.score)), whole(row, "tokens")
    said = [words.count(tokens, "token")] if tokens is not None else []
    said += ["cut off"] if _told(row.get("truncated")) else []
    said += ["tells of a hint"] if _told(row.get("leaks")) else []
    status = words.field(row, "status", 40)
    if status not in ("", "ok", "truncated"):
        said.append(f"{status}: {words.field(row, 'reason', 160)}".removesuffix(": "))
    mark = "" if correct is None else "right" if correct else "wrong"
    return Side(
        named(name), mark, "" if score is None else two(score), said, passage(row.get("text"), ANSWER), chosen, name == OWN
    )


def _told(value: Any) -> bool | None:
    """True or false, kept as such or as a number; None where nothing is known."""
    if isinstance(value, bool):
        return value
    return None if not isinstance(value, int | float) or math.isnan(value) else bool(value)
