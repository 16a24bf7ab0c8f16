"""Ask for a label and for how sure the model is of it (kind `stated`): for models that tell no probabilities.

What models say of themselves is coarse and too high; it is worth something after calibration on gold.
Source: Tian et al. 2023 (arXiv 2305.14975).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmlabel.annotation.annotators.classify import MOST_LABELS, question
from llmlabel.annotation.asking import NONE, How
from llmlabel.errors import ConfigError, LlmlabelError
from llmlabel.llm.client import Client
from llmlabel.llm.requests import Completion, Request
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Label, Status, Taxonomy

PROMPTS = {"stated": "annotate/classify_stated@1.0.0"}
TOKENS = 12
SAID = re.compile(r"\W*([A-Z])\b\D{0,20}(\d{1,3})(?:[.,]\d+)?\s*%?")
MOST = 0.99  # nobody is taken at a word of 100
Read = Callable[[Example, Mapping[str, Label], Completion, dict[str, Any]], Annotation]
EDGE = 0.01  # that the label named has above an even share, however unsure the model says it is


def annotate(
    examples: Sequence[Example], taxonomy: Taxonomy, client: Client, prompts: PromptLibrary, how: How
) -> list[Annotation]:
    """One annotation per example, in order. `probs` holds logarithms: the stated share on the label, the rest spread evenly.

    Raises: ConfigError for several labels per text, or more of them than fit one question.
    """
    return one_question("stated", PROMPTS["stated"], TOKENS, _read, examples, taxonomy, client, prompts, how)


def one_question(
    way: str, prompt_id: str, tokens: int, read: Read, examples: Sequence[Example], taxonomy: Taxonomy, client: Client,
    prompts: PromptLibrary, how: How,
) -> list[Annotation]:  # fmt: skip
    """Ask once about each text, for one label under a code, in an answer of `tokens` at most.

    Args:
        read: (example, labels by code, answer, what every annotation has) -> annotation.
    Raises: ConfigError for several labels per text, or more of them than fit one question.
    """
    prompt, shown = prompts.get(prompt_id), [how.labels(e.id, taxonomy) for e in examples]
    if how.multi or any(len(labels) > MOST_LABELS for labels in shown):
        raise ConfigError(f"{way} asks for one label of {MOST_LABELS} at most; use classify or shortlist")
    asked = [question(e, labels, prompt, how) for e, labels in zip(examples, shown, strict=True)]
    requests = [Request(messages, max_tokens=tokens, temperature=how.temperature, sample=how.sample) for _, messages in asked]
    made = {"annotator": client.backend.model, "prompt": prompt.id, "prompt_hash": prompt.hash}
    answers = client.map(requests, how.step, how.on_done)
    return [_answered(e, codes, a, made, read) for e, (codes, _), a in zip(examples, asked, answers, strict=True)]


def _answered(
    example: Example, codes: Mapping[str, Label], answer: Completion | LlmlabelError, made: dict[str, Any], read: Read
) -> Annotation:
    if isinstance(answer, LlmlabelError):
        return Annotation(example.id, None, Status.ERROR, reason=str(answer), **made)
    if answer.refusal or answer.finish == "content_filter":
        return Annotation(example.id, None, Status.REFUSED, reason=answer.refusal or "content filter", **made)
    return read(example, codes, answer, made)


def _read(example: Example, codes: Mapping[str, Label], answer: Completion, made: dict[str, Any]) -> Annotation:
    said = SAID.match(answer.text)
    if said is None or int(said[2]) > 100:
        return Annotation(example.id, None, Status.PARSE_FAILED, reason=f"no code and number in {answer.text[:80]!r}", **made)
    if said[1] not in codes:
        return Annotation(example.id, None, Status.OFF_LIST, reason=f"{said[1]!r} is no code", **made)
    best, sure = codes[said[1]], min(max(int(said[2]) / 100, 1 / len(codes) + EDGE), MOST)
    others = math.log((1 - sure) / max(len(codes) - 1, 1))
    probs = {label.id: math.log(sure) if label is best else others for label in codes.values()}
    kind: dict[str, Any] = {"probs": probs, "probs_kind": "stated"}
    if best is NONE:
        return Annotation(example.id, None, Status.NONE_FITS, **kind, **made)
    return Annotation(example.id, best.id, Status.OK, [best.id], **kind, **made)
