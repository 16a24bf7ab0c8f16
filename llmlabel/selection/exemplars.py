"""The target's own answers to other questions, which stand before a question in self-aligned perplexity.

Source: Ren, Chen, Liu 2025, arXiv 2502.11779v3 (three correct zero-shot answers of the target to other questions). Ours: the
answers are cut into groups, all strategies see the same group before a question, and questions take the groups in turn.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from llmlabel.errors import ConfigError
from llmlabel.records import fold
from llmlabel.selection.answers import Answer, Question

Shown = tuple[Question, Answer]
LONG = 4  # times the median length of question and answer: longer ones would fill the context of every prompt


@dataclass(frozen=True)
class Pool:
    """Own answers of the target, one for a question, in groups of `k` that have no member in common.

    `kind`: verified (all are correct) or unverified (nothing here has gold). `enough`: whether there are exemplars for every
    question. `why`: a sentence on what they are, or on why there are none. `asked`: questions the target answered;
    `answered`: those with an answer that could be shown; `too_long`: left out because of their length.
    """

    kind: Literal["verified", "unverified"]
    enough: bool
    why: str
    asked: int
    answered: int
    too_long: int
    groups: tuple[tuple[Shown, ...], ...]
    turns: dict[str, int]

    @classmethod
    def of(
        cls, questions: Sequence[Question], own: Sequence[Sequence[Answer]], k: int = 3, seed: int = 0, least: int = 10
    ) -> Pool:
        """The first correct answer of each question (without any gold: the first whole one); a text counts once.

        Args:
            questions: those that will be scored. own: for each of them the target's own answers. k: exemplars before a question.
            least: with fewer answers, or fewer than two groups of them, there is no pool.
        """
        kind: Literal["verified", "unverified"] = "verified" if any(q.gold is not None for q in questions) else "unverified"
        found: dict[str, Shown] = {}
        for question, answers in zip(questions, own, strict=True):
            usable = [a for a in answers if a.usable and not a.truncated and (a.correct or kind == "unverified")]
            if usable:
                found.setdefault(fold(question.text), (question, usable[0]))
        least = max(least, 2 * k)
        kept = _of_bearable_length(list(found.values()), least)
        enough = len(kept) >= least
        groups = _groups(kept, k, seed) if enough else ()
        too_long = len(found) - len(kept)
        why = _why(kind, len(found), len(questions), too_long, least, k, len(groups))
        return cls(kind, enough, why, len(questions), len(found), too_long, groups, _turns(questions, groups))

    def before(self, question: Question) -> tuple[Shown, ...]:
        """The `k` questions with own answers that stand before a question; its own text is never among them.

        Raises: ConfigError where there are not enough answers.
        """
        return self.groups[self.group(question)]

    def group(self, question: Question) -> int:
        """Questions of one group have the same exemplars. Raises: as `before`."""
        if not self.enough:
            raise ConfigError(f"no exemplars: {self.why}")
        if question.id in self.turns:
            return self.turns[question.id]
        start = zlib.crc32(question.id.encode("utf-8", "surrogatepass"))  # of a question that came later
        after = ((start + n) % len(self.groups) for n in range(len(self.groups)))
        return next(g for g in after if all(fold(q.text) != fold(question.text) for q, _ in self.groups[g]))


def _of_bearable_length(found: list[Shown], least: int) -> list[Shown]:
    """Without those longer than `LONG` times the median, as long as `least` remain."""
    if len(found) < least:
        return found
    lengths = sorted(map(_length, found))
    bound = max(LONG * median(lengths), lengths[least - 1])
    return [shown for shown in found if _length(shown) <= bound]


def _length(shown: Shown) -> int:
    question, answer = shown
    return len(question.text) + len(answer.text)


def _groups(kept: list[Shown], k: int, seed: int) -> tuple[tuple[Shown, ...], ...]:
    """What is left over when the answers are cut into groups is not used."""
    order = random.Random(seed).sample(kept, len(kept))
    return tuple(tuple(order[i : i + k]) for i in range(0, len(order) - k + 1, k))


def _turns(questions: Sequence[Question], groups: Sequence[Sequence[Shown]]) -> dict[str, int]:
    """For each question the group used least so far that lacks its text; of several the first after the last one taken."""
    if not groups:
        return {}
    holds = [{fold(question.text) for question, _ in group} for group in groups]
    used = [0] * len(groups)
    turns: dict[str, int] = {}
    last = -1
    for question in questions:
        free = [g for g in range(len(groups)) if fold(question.text) not in holds[g]]
        last = min(free, key=lambda g: (used[g], (g - last - 1) % len(groups)))
        used[last] += 1
        turns[question.id] = last
    return turns


def _why(kind: str, answered: int, asked: int, too_long: int, least: int, k: int, groups: int) -> str:
    if not asked:
        return "the target was not asked for answers of its own"
    what = "a correct answer" if kind == "verified" else "a whole answer"
    said = f"the target gave {what} to {answered} of {asked} prompts"
    if not groups:
        return f"{said}, {least} are needed for self-aligned perplexity: plain perplexity is used instead"
    checked = "" if kind == "verified" else ", unchecked because there is no gold"
    shorter = f", {too_long} of them too long to show" if too_long else ""
    return f"{said}{checked}{shorter}; {groups} groups of {k} of them stand before the prompts in turn"
