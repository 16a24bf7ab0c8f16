"""Ask a model in words: the codes of the labels that apply, the best one first.

The labels stand under single-letter codes in an order shuffled for every text, so that neither the order nor the letter
favours a label over the whole; the distribution is read from the alternatives of the first token (kind `code`).
"""

from __future__ import annotations

import math
import random
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from llmlabel.annotation.asking import NONE, How
from llmlabel.errors import ConfigError, LlmlabelError
from llmlabel.llm.client import Client
from llmlabel.llm.requests import Completion, Message, Request
from llmlabel.prompting import Prompt, PromptLibrary
from llmlabel.records import Annotation, Example, Label, Status, Taxonomy

PROMPTS = {"one": "annotate/classify@2.0.0", "many": "annotate/classify_multi@1.0.0"}
CODES = string.ascii_uppercase
MOST_LABELS = len(CODES) - 1  # one code is for "none fits"
ALTERNATIVES = 20
ONE_TOKENS, MANY_TOKENS = 12, 24
ANSWER = re.compile(r"^\W*(?i:answer)\b\W*(?=[A-Z]\b)")  # as solved examples are headed


@dataclass(frozen=True)
class _Sheet:
    """What one text was asked: which code stood for which label."""

    codes: Mapping[str, Label]
    request: Request


def annotate(
    examples: Sequence[Example], taxonomy: Taxonomy, client: Client, prompts: PromptLibrary, how: How
) -> list[Annotation]:
    """One annotation per example, in order. `probs` holds natural log-probabilities until they are calibrated.

    Raises: ConfigError when there are more than `MOST_LABELS` labels and no shortlist; what stopped the model.
    """
    if len(taxonomy.leaves) > MOST_LABELS and how.shown is None:
        raise ConfigError(f"{len(taxonomy.leaves)} labels do not fit one question; give a shortlist of {MOST_LABELS}")
    prompt = prompts.get(PROMPTS["many" if how.multi else "one"])
    sheets = [_sheet(example, how.labels(example.id, taxonomy), prompt, client, how) for example in examples]
    answers = client.map([sheet.request for sheet in sheets], how.step, how.on_done)
    rows = [_read(e, s, a, client, prompt) for e, s, a in zip(examples, sheets, answers, strict=True)]
    return _second_try(examples, sheets, rows, client, prompt, how.step)


def in_order(row_id: str, shown: Sequence[Label], how: How) -> dict[str, Label]:
    """Which code stands for which label in the question about a row."""
    order = list(shown)
    draw = f"/{how.sample}" if how.sample else ""
    random.Random(f"{how.seed}/{row_id}{draw}").shuffle(order)
    return dict(zip(CODES, [*order, NONE], strict=False))


def question(example: Example, shown: Sequence[Label], prompt: Prompt, how: How) -> tuple[dict[str, Label], Sequence[Message]]:
    """Which code stands for which label, and the messages that ask about a text."""
    codes = in_order(example.id, shown, how)
    code_of = {label.id: code for code, label in codes.items()}
    labels = [SimpleNamespace(code=code, name=label.name, description=label.description) for code, label in codes.items()]
    shots = [
        SimpleNamespace(text=text, codes=" ".join(code_of[label.id] for label in solved))
        for text, solved in how.solved(example.id, shown)
    ]
    text = example.text[: how.max_text_chars]
    return codes, prompt.render(text=text, use_case=how.use_case, labels=labels, shots=shots)


def _sheet(example: Example, shown: Sequence[Label], prompt: Prompt, client: Client, how: How) -> _Sheet:
    codes, messages = question(example, shown, prompt, how)
    tops = ALTERNATIVES if client.backend.features.logprobs and not how.temperature else 0
    most = MANY_TOKENS if how.multi else ONE_TOKENS
    return _Sheet(codes, Request(messages, max_tokens=most, temperature=how.temperature, top_logprobs=tops, sample=how.sample))


def _second_try(
    examples: Sequence[Example],
    sheets: Sequence[_Sheet],
    rows: list[Annotation],
    client: Client,
    prompt: Prompt,
    step: str,
) -> list[Annotation]:
    """Ask once more where the answer was no code; a fresh context, with the reason."""
    again = [i for i, row in enumerate(rows) if row.status in (Status.OFF_LIST, Status.PARSE_FAILED)]
    requests = []
    for i in again:
        *before, last = sheets[i].request.messages
        note = f"{last['content']}\n\nAnswer with codes from {', '.join(sheets[i].codes)} only, without any other word."
        requests.append(replace(sheets[i].request, messages=[*before, {"role": last["role"], "content": note}]))
    for i, answer in zip(again, client.map(requests, step), strict=True):
        rows[i] = _read(examples[i], sheets[i], answer, client, prompt)
    return rows


def _read(example: Example, sheet: _Sheet, answer: Completion | LlmlabelError, client: Client, prompt: Prompt) -> Annotation:
    made: dict[str, Any] = {"annotator": client.backend.model, "prompt": prompt.id, "prompt_hash": prompt.hash}
    if isinstance(answer, LlmlabelError):
        return Annotation(example.id, None, Status.ERROR, reason=str(answer), **made)
    if answer.refusal or answer.finish == "content_filter":
        return Annotation(example.id, None, Status.REFUSED, reason=answer.refusal or "content filter", **made)
    said = _codes(answer.text)
    if not said:
        status = Status.TRUNCATED if answer.finish == "length" and not answer.text.strip() else Status.PARSE_FAILED
        return Annotation(example.id, None, status, reason=f"no code in {answer.text[:80]!r}", **made)
    if said[0] not in sheet.codes:
        return Annotation(example.id, None, Status.OFF_LIST, reason=f"{said[0]!r} is no code", **made)
    chosen = [sheet.codes[code] for code in dict.fromkeys(said) if code in sheet.codes]
    probs = _by_label(answer.logprobs, sheet.codes)
    kind: dict[str, Any] = {"probs": probs, "probs_kind": "code"} if probs else {}
    if chosen[0] is NONE:
        return Annotation(example.id, None, Status.NONE_FITS, **kind, **made)
    labels = [label.id for label in chosen if label is not NONE]
    return Annotation(example.id, labels[0], Status.OK, labels, **kind, **made)


def _codes(answer: str) -> list[str]:
    """The codes an answer starts with: `B`, `B D`, `B. Loans`, `Answer: B`; nothing where it starts with a sentence."""
    answer = ANSWER.sub("", answer)
    if re.fullmatch(r"\W*[A-Z](?:[\s,;]+[A-Z])*\W*", answer):
        return re.findall("[A-Z]", answer)
    first = re.match(r"\W*([A-Z])[.:)]", answer)
    return [first[1]] if first else []


def _by_label(alternatives: Mapping[str, float], codes: Mapping[str, Label]) -> dict[str, float]:
    """Log-probability of every label whose code is among the first token's alternatives; the variants of a code add up."""
    found: dict[str, list[float]] = {}
    for token, logprob in alternatives.items():
        if (code := token.strip(" \n\t\"'*([").upper()) in codes and len(code) == 1:
            found.setdefault(codes[code].id, []).append(logprob)
    return {label: math.log(sum(map(math.exp, values)) or 1e-300) for label, values in found.items()}
