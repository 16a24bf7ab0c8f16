"""Score the labels' names as given text, every token of them (kind `sequence`).

A model that only continues text reads the text and is scored on the bare names. A model that writes is asked in words,
with all labels in one fixed order, and scored on the names in quotes as its answer: the closing quote is part of what is
scored, so that a name another one begins with is not likelier for being shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from llmlabel.annotation.annotators.classify import NONE
from llmlabel.errors import LlmlabelError
from llmlabel.llm.client import Client
from llmlabel.llm.requests import Completion, ScoreRequest
from llmlabel.prompting import Prompt, quote
from llmlabel.records import Annotation, Example, Label, Status, Taxonomy

CHARS = 600


def annotate(
    examples: Sequence[Example],
    taxonomy: Taxonomy,
    client: Client,
    prompt: Prompt,
    *,
    on_done: Callable[[int], None] | None = None,
) -> list[Annotation]:
    """One annotation per example, in order, by a model that continues plain text.

    `probs` holds natural log-probabilities of whole names until they are calibrated.
    """
    names = [f" {label.name}" for label in taxonomy.leaves]
    requests = [ScoreRequest(prompt.render(text=e.text[:CHARS])[0]["content"], names) for e in examples]
    answers = client.map(requests, "label", on_done)
    return [_read(e, taxonomy.leaves, a, client, prompt) for e, a in zip(examples, answers, strict=True)]


def annotate_chat(
    examples: Sequence[Example],
    taxonomy: Taxonomy,
    client: Client,
    prompt: Prompt,
    *,
    use_case: str = "",
    max_text_chars: int = 4000,
    shortlist: Mapping[str, Sequence[str]] | None = None,
    on_done: Callable[[int], None] | None = None,
) -> list[Annotation]:
    """One annotation per example, in order, by a model that writes and can score; "none fits" is one of the names.

    Args:
        shortlist: row id -> ids of the labels to show; None: all.
    """
    shown = [taxonomy.leaves if shortlist is None else [taxonomy[i] for i in shortlist[e.id]] for e in examples]
    requests = []
    for example, labels in zip(examples, shown, strict=True):
        messages = prompt.render(text=example.text[:max_text_chars], use_case=use_case, labels=[*labels, NONE])
        requests.append(ScoreRequest(messages, [str(quote(label.name)) for label in [*labels, NONE]]))
    answers = client.map(requests, "label", on_done)
    return [_read(e, [*s, NONE], a, client, prompt) for e, s, a in zip(examples, shown, answers, strict=True)]


def _read(
    example: Example, labels: Sequence[Label], answer: Completion | LlmlabelError, client: Client, prompt: Prompt
) -> Annotation:
    row = Annotation(example.id, None, Status.ERROR, annotator=client.backend.model, prompt=prompt.id, prompt_hash=prompt.hash)
    if isinstance(answer, LlmlabelError):
        row.reason = str(answer)
        return row
    row.probs = {label.id: score for label, score in zip(labels, answer.scores, strict=True)}
    row.probs_kind = "sequence"
    best = max(row.probs, key=lambda i: row.probs[i])
    row.status = Status.NONE_FITS if best == NONE.id else Status.OK
    if best != NONE.id:
        row.label, row.labels = best, [best]
    return row
