"""What fine-tuning changed on rows that were held out, and the run in a few sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmlabel.report import words
from llmlabel.report.align_measures import FEW, TOO_FEW, chance
from llmlabel.report.parts import Estimate, part, whole

Json = Mapping[str, Any]


@dataclass
class Learnt:
    """The loss on held-out answers. `answer`: the change in a sentence; `warnings`: what a reader must not overlook."""

    rows: int
    prompts: int
    answer: str
    warnings: list[str]
    before: Estimate
    after: Estimate
    change: Estimate

    def number(self, which: str) -> str:
        value = getattr(self, which).value
        return words.NONE if value is None else f"{value:{'+' if which == 'change' else ''}.3f}"

    def between(self, which: str) -> str:
        """Its interval, "" where unknown."""
        found: Estimate = getattr(self, which)
        sign = "+" if which == "change" else ""
        return "" if found.low is None or found.high is None else f"{found.low:{sign}.3f} to {found.high:{sign}.3f}"

    @property
    def perplexity(self) -> tuple[str, str]:
        """Before and after; the same in other words."""
        before, after = ("" if e.value is None or e.value > 50 else f"{math.exp(e.value):.3g}" for e in (self.before, self.after))
        return before, after


def learnt(scores: Json, paired: Json) -> Learnt | None:
    """From the looks at held-out rows before (`reference`) and after (`policy`), and their change; None without any."""
    before, after = part(scores, "reference"), part(scores, "policy")
    rows, prompts = whole(after, "rows"), whole(after, "prompts") or 0
    if not rows:
        return None
    found = Learnt(rows, prompts, "", _warnings(prompts), _loss(before), _loss(after), _loss(paired))
    found.answer = _answer(found)
    return found


def _loss(raw: Json) -> Estimate:
    interval = raw.get("loss_interval")
    ends = [words.figure(v) for v in interval] if isinstance(interval, list) and len(interval) == 2 else [None, None]
    return Estimate(words.figure(raw.get("loss")), *ends)


def _answer(found: Learnt) -> str:
    low, high = found.change.low, found.change.high
    known = low is not None and high is not None and found.prompts >= TOO_FEW
    moved = not (low or 0) <= 0 <= (high or 0) if known else None
    between = f" (95% interval {found.between('change')})" if found.between("change") else ""
    return (
        f"On {words.count(found.rows, 'held-out row')} an answer costs {found.number('after')} nats a token, "
        f"{found.number('before')} before training: {found.number('change')}{between}, {chance(moved)}."
    )


def _warnings(prompts: int) -> list[str]:
    if prompts >= FEW:
        return []
    return [f"Only {words.count(prompts, 'prompt was', 'prompts were')} held out: all but large changes are hidden by chance."]


def summary(run: Json, told: Json, found: Learnt | None) -> list[str]:
    """The lead. `told`: trained.json."""
    name = words.field(part(run, "config"), "policy", 120)
    model = "The packaged small model" if name == "embedded" else name or "The model"
    if not told:
        return [f"The training of {model[:1].lower() if model.startswith('The ') else model[:1]}{model[1:]} has not ended."]
    counts, seconds = part(told, "counts"), words.figure(told.get("seconds"))
    rows, tokens, steps = (whole(raw, key) or 0 for raw, key in ((counts, "rows"), (counts, "tokens"), (told, "steps")))
    adapters = ", with adapters," if part(run, "config").get("lora") is True else ""
    took = f" in {words.duration(seconds)}" if seconds else ""
    lines = [
        f"{model} was fine-tuned{adapters} on {words.count(rows, 'row')} with {tokens:,} tokens of answers: "
        f"{words.count(steps, 'step')}{took}."
    ]
    lines.append(found.answer if found else "No rows were held out, so what training changed was not measured.")
    lines.append("What the answers it writes are worth is another question: llmlabel align evaluate asks a judge or gold.")
    return lines
