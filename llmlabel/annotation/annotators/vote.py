"""Ask in words several times and count (kind `vote`): for models that tell no probabilities at all.

Every draw is taken at temperature 1, where shares estimate the model's own distribution, the one that kind `code` reads
off, and each draw shuffles the labels anew, so that what a model thinks of a letter or a place averages out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from llmlabel.annotation.annotators import classify
from llmlabel.annotation.asking import NONE, How
from llmlabel.llm.client import Client
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Status, Taxonomy

PROMPTS = classify.PROMPTS
TEMPERATURE = 1.0


def annotate(
    examples: Sequence[Example], taxonomy: Taxonomy, client: Client, prompts: PromptLibrary, how: How
) -> list[Annotation]:
    """One annotation per example, in order, from `how.samples` answers each, numbered from `how.sample`; unusable ones do
    not count.

    One label per text: `probs` holds logarithms of the shares, with one further vote spread evenly over the labels that
    were shown, so that none is impossible and the same answer three times of three is not certainty. Any number of labels:
    of the share of answers that name a label, with half a vote more for it and half against.
    """
    each = replace(how, temperature=TEMPERATURE, on_done=every(how.samples, how.on_done))
    draws = [
        classify.annotate(examples, taxonomy, client, prompts, replace(each, sample=how.sample + i)) for i in range(how.samples)
    ]
    count = _marked if how.multi else _counted
    return [
        count(drawn, [*(label.id for label in how.labels(example.id, taxonomy)), NONE.id])
        for example, *drawn in zip(examples, *draws, strict=True)
    ]


def every(samples: int, on_done: Callable[[int], None] | None) -> Callable[[int], None]:
    """Progress in texts: one for as many answers as each text is asked for."""
    answers = 0

    def done(n: int) -> None:
        nonlocal answers
        texts = (answers + n) // samples - answers // samples
        answers += n
        if texts and on_done:
            on_done(texts)

    return done


def _counted(drawn: Sequence[Annotation], shown: Sequence[str]) -> Annotation:
    """Ties go to the label that stands first in the taxonomy; further labels are those named in half of the answers."""
    usable = [row for row in drawn if not row.status.failed]
    if not usable:
        return drawn[0]
    votes = Counter(row.label or NONE.id for row in usable)
    named = Counter(label for row in usable for label in row.labels)
    best = max(shown, key=lambda label: votes[label])
    made = _made(drawn[0])
    probs = {label: math.log((votes[label] + 1 / len(shown)) / (len(usable) + 1)) for label in shown}
    if best == NONE.id:
        return Annotation(drawn[0].id, None, Status.NONE_FITS, probs=probs, probs_kind="vote", **made)
    more = [label for label, n in named.most_common() if label != best and 2 * n >= len(usable)]
    return Annotation(drawn[0].id, best, Status.OK, [best, *more], probs=probs, probs_kind="vote", **made)


def _marked(drawn: Sequence[Annotation], shown: Sequence[str]) -> Annotation:
    """Labels named in more than half of the answers, most often named first."""
    usable = [row for row in drawn if not row.status.failed]
    if not usable:
        return drawn[0]
    named = Counter(label for row in usable for label in (row.labels or [NONE.id]))
    probs = {label: math.log((named[label] + 0.5) / (len(usable) + 1)) for label in shown}
    chosen = [label for label, n in named.most_common() if 2 * n > len(usable) and label != NONE.id]
    status = Status.OK if chosen else Status.NONE_FITS
    first = chosen[0] if chosen else None
    return Annotation(drawn[0].id, first, status, chosen, probs=probs, probs_kind="vote", **_made(drawn[0]))


def _made(row: Annotation) -> dict[str, Any]:
    return {"annotator": row.annotator, "prompt": row.prompt, "prompt_hash": row.prompt_hash}
