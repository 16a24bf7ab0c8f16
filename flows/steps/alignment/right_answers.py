"""How often a model's answers to prompts with gold are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from llmlabel.flows.running.common import Desk

from llmlabel.errors import LlmlabelError
from llmlabel.llm.requests import Request
from llmlabel.records import Taxonomy
from llmlabel.selection import sft
from llmlabel.selection.answers import Question
from llmlabel.selection.verifiers import verifier
from llmlabel.stats import bootstrap, wilson


def tested(
    work: Desk, spec: str, tests: Sequence[Question], verify: str, taxonomy: Taxonomy | None, most: int, step: str
) -> dict[str, Any]:
    """Greedy answers of a model to questions with gold.

    Args:
        verify: how they are checked. most: tokens of the longest answer.
    Returns: correct (one for each question; a request that failed is wrong), failed (how many did).
    """
    check = verifier(verify)
    answers = work.models.client(spec).map(
        [Request(sft.messages(question), max_tokens=most) for question in tests], step, work.counter(step, len(tests))
    )
    work.models.unload()
    correct = [
        not isinstance(answer, LlmlabelError) and bool(check.verify(answer.text, question.gold, taxonomy))
        for question, answer in zip(tests, answers, strict=True)
    ]
    return {"correct": correct, "failed": sum(isinstance(answer, LlmlabelError) for answer in answers)}


def accuracies(correct: Mapping[str, Sequence[bool]], against: str, seed: int) -> dict[str, dict[str, Any]]:
    """By model: accuracy with Wilson's interval; gain, the mean difference to the model `against` on the same questions, with a
    bootstrap interval over questions (95% both)."""
    found: dict[str, dict[str, Any]] = {}
    base = np.asarray(correct[against], float)
    for name, verdicts in correct.items():
        low, high = wilson(sum(verdicts), len(verdicts))
        gaps = np.asarray(verdicts, float) - base
        gain = bootstrap(np.mean, [gaps], seed=seed) if np.ptp(gaps) else (float(gaps[0]), float(gaps[0]))
        found[name] = {"accuracy": sum(verdicts) / len(verdicts), "low": low, "high": high, "tests": len(verdicts)}
        if name != against:
            found[name] |= {"gain": float(gaps.mean()), "gain_low": gain[0], "gain_high": gain[1], "against": against}
    return found
