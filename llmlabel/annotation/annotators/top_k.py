"""Ask for the three best labels with probabilities that add up to 100 (kind `stated`): a distribution in one answer.

Source: the Top-K prompt of LLM-GNN, Chen et al. 2024 (arXiv 2310.04668), after Tian et al. 2023 (arXiv 2305.14975).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from llmlabel.annotation.annotators.stated import MOST, one_question
from llmlabel.annotation.asking import NONE, How
from llmlabel.llm.client import Client
from llmlabel.llm.requests import Completion
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Label, Status, Taxonomy

PROMPTS = {"top_k": "annotate/top_k@1.0.0"}
TOKENS = 48
NUMBER = r"(?<![\d.,])(\d{1,3}(?:[.,]\d+)?)\s*%?"
BARE = re.compile(rf"\W*([A-Z])(?!\w)[^\w\n]{{0,6}}{NUMBER}(?!\w)")  # B 70
NAMED = re.compile(rf"\W*([A-Z])[.:)\]-].*?{NUMBER}\W*")  # B. Loans: 70%


def annotate(
    examples: Sequence[Example], taxonomy: Taxonomy, client: Client, prompts: PromptLibrary, how: How
) -> list[Annotation]:
    """One annotation per example, in order. `confidence` is the best label's share as told, 0 to 1; `probs` holds logarithms of
    all shares, the rest spread evenly.

    The label is the one with the largest share, at a tie the first. Shares above 100 in sum are scaled down; a label that was
    not named has at most half of what the last one named has.
    Raises: ConfigError for several labels per text, or more of them than fit one question.
    """
    return one_question("top_k", PROMPTS["top_k"], TOKENS, _read, examples, taxonomy, client, prompts, how)


def guesses(answer: str, finish: str = "stop") -> list[tuple[str, float]]:
    """(code, percent) of what an answer names, the largest first; nothing where any line is a number without its letter, or
    is no number from 0 to 100. A line that ran into the token limit does not count, nor one without any number."""
    lines = answer.strip().splitlines()
    if finish == "length":
        lines = _unbroken(lines)
    found: dict[str, float] = {}
    for line in lines:
        pairs = _pairs(line)
        if not pairs and re.search(r"\d\s*%?\W*$", line):
            return []
        for code, share in pairs:
            found.setdefault(code, share)
    if found and max(found.values()) <= 1 and any(share % 1 for share in found.values()):
        found = {code: 100 * share for code, share in found.items()}
    usable = bool(found) and 0 < max(found.values()) <= 100
    return sorted(found.items(), key=lambda pair: -pair[1]) if usable else []


def _unbroken(lines: Sequence[str]) -> list[str]:
    """Without what stands after the last comma or line break: that may be half a number."""
    *whole, last = lines or [""]
    return [*whole, re.sub(r"[,;]?[^,;]*$", "", last)]


def _pairs(line: str) -> list[tuple[str, float]]:
    """`B 70`, `B 70, D 20, C 10`, or one pair with the label's name between: `B. Loans: 70%`."""
    line = re.sub(r"^\W*(?i:answer)\W+|^\s*\d[.)]\s+(?=\W*[A-Z]\b)", "", line)
    pairs = BARE.findall(line)
    if not pairs or not re.match(BARE, line):
        named = NAMED.fullmatch(line)
        pairs = [named.groups()] if named else []
    return [(code, float(number.replace(",", "."))) for code, number in pairs]


def _read(example: Example, codes: Mapping[str, Label], answer: Completion, made: dict[str, Any]) -> Annotation:
    said = guesses(answer.text, answer.finish)
    if not said:
        status = Status.TRUNCATED if answer.finish == "length" else Status.PARSE_FAILED
        return Annotation(example.id, None, status, reason=f"no codes with numbers in {answer.text[:80]!r}", **made)
    if said[0][0] not in codes:
        return Annotation(example.id, None, Status.OFF_LIST, reason=f"{said[0][0]!r} is no code", **made)
    named = {codes[code].id: share / 100 for code, share in said if code in codes and share}
    best, total = codes[said[0][0]], max(sum(named.values()), 1.0)
    probs = {i: math.log(p) for i, p in _spread(named, [label.id for label in codes.values()]).items()}
    kind: dict[str, Any] = {"confidence": named[best.id] / total, "probs": probs, "probs_kind": "stated"}
    if best is NONE:
        return Annotation(example.id, None, Status.NONE_FITS, **kind, **made)
    return Annotation(example.id, best.id, Status.OK, [best.id], **kind, **made)


def _spread(named: Mapping[str, float], labels: Sequence[str]) -> dict[str, float]:
    """Probabilities above 0 of all labels, adding up to 1."""
    others = [label for label in labels if label not in named]
    total = sum(named.values())
    scale = MOST / total if total > MOST and others else 1.0
    probs = {label: share * scale for label, share in named.items()}
    if others:
        left = (1 - sum(probs.values())) / len(others)
        probs |= dict.fromkeys(others, min(left, min(probs.values()) / 2))
    return {label: p / sum(probs.values()) for label, p in probs.items()}
