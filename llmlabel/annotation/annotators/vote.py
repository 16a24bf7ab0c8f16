"""Ask in words several times and count (kind `vote`): for models that tell no probabilities at all.

Every draw is taken at temperature 1, where shares estimate the model's own distribution, the one that kind `code` reads
off, and each draw shuffles the labels anew, so that what a model thinks of a letter or a place averages out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmlabel.annotation.annotators import classify
from llmlabel.annotation.annotators.classify import NONE
from llmlabel.llm.client import Client
from llmlabel.prompting import Prompt
from llmlabel.records import Annotation, Example, Status, Taxonomy

TEMPERATURE = 1.0


def annotate(
    examples: Sequence[Example],
    taxonomy: Taxonomy,
    client: Client,
    prompt: Prompt,
    *,
    samples: int = 5,
    first: int = 0,
    use_case: str = "",
    seed: int = 0,
    max_text_chars: int = 4000,
    shortlist: Mapping[str, Sequence[str]] | None = None,
    on_done: Callable[[int], None] | None = None,
) -> list[Annotation]:
    """One annotation per example, in order, from `samples` answers each, numbered from `first`; unusable ones do not count.

    `probs` holds logarithms of the shares, with one further vote spread evenly over the labels that were shown, so that
    none is impossible and the same answer three times of three is not certainty.
    """
    progress = _every(samples, on_done)
    draws = [
        classify.annotate(
            examples, taxonomy, client, prompt, use_case=use_case, seed=seed, max_text_chars=max_text_chars, shortlist=shortlist,
            sample=first + i, temperature=TEMPERATURE, on_done=progress,
        )
        for i in range(samples)
    ]  # fmt: skip
    rows = []
    for example, *drawn in zip(examples, *draws, strict=True):
        shown = [label.id for label in taxonomy.leaves] if shortlist is None else list(shortlist[example.id])
        rows.append(_counted(drawn, [*shown, NONE.id]))
    return rows


def _every(samples: int, on_done: Callable[[int], None] | None) -> Callable[[int], None]:
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
    made: dict[str, Any] = {"annotator": drawn[0].annotator, "prompt": drawn[0].prompt, "prompt_hash": drawn[0].prompt_hash}
    probs = {label: math.log((votes[label] + 1 / len(shown)) / (len(usable) + 1)) for label in shown}
    if best == NONE.id:
        return Annotation(drawn[0].id, None, Status.NONE_FITS, probs=probs, probs_kind="vote", **made)
    more = [label for label, n in named.most_common() if label != best and 2 * n >= len(usable)]
    return Annotation(drawn[0].id, best, Status.OK, [best, *more], probs=probs, probs_kind="vote", **made)
