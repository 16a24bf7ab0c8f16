"""Ask for a label and for how sure the model is of it (kind `stated`): for models that tell no probabilities.

What models say of themselves is coarse and too high; it is worth something after calibration on gold.
Source: Tian et al. 2023 (arXiv 2305.14975).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from llmlabel.annotation.annotators.classify import MOST_LABELS, question
from llmlabel.annotation.asking import NONE, How
from llmlabel.errors import ConfigError, LlmlabelError
from llmlabel.llm.client import Client
from llmlabel.llm.requests import Completion, Request
from llmlabel.prompting import Prompt, PromptLibrary
from llmlabel.records import Annotation, Example, Label, Status, Taxonomy

PROMPTS = {"stated": "annotate/classify_stated@1.0.0"}
TOKENS = 12
SAID = re.compile(r"\W*([A-Z])\b\D{0,20}(\d{1,3})(?:[.,]\d+)?\s*%?")
MOST = 0.99  # nobody is taken at a word of 100
EDGE = 0.01  # that the label named has above an even share, however unsure the model says it is


def annotate(
    examples: Sequence[Example], taxonomy: Taxonomy, client: Client, prompts: PromptLibrary, how: How
) -> list[Annotation]:
    """One annotation per example, in order. `probs` holds logarithms: the stated share on the label, the rest spread evenly.

    Raises: ConfigError for several labels per text, or more of them than fit one question.
    """
    prompt, shown = prompts.get(PROMPTS["stated"]), [how.labels(e.id, taxonomy) for e in examples]
    if how.multi or any(len(labels) > MOST_LABELS for labels in shown):
        raise ConfigError(f"stated asks for one label of {MOST_LABELS} at most; use classify or shortlist")
    asked = [question(e, labels, prompt, how) for e, labels in zip(examples, shown, strict=True)]
    requests = [Request(messages, max_tokens=TOKENS, temperature=how.temperature, sample=how.sample) for _, messages in asked]
    answers = client.map(requests, how.step, how.on_done)
    return [_read(e, codes, a, client, prompt) for e, (codes, _), a in zip(examples, asked, answers, strict=True)]


def _read(
    example: Example, codes: Mapping[str, Label], answer: Completion | LlmlabelError, client: Client, prompt: Prompt
) -> Annotation:
    made: dict[str, Any] = {"annotator": client.backend.model, "prompt": prompt.id, "prompt_hash": prompt.hash}
    if isinstance(answer, LlmlabelError):
        return Annotation(example.id, None, Status.ERROR, reason=str(answer), **made)
    if answer.refusal:
        return Annotation(example.id, None, Status.REFUSED, reason=answer.refusal, **made)
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
