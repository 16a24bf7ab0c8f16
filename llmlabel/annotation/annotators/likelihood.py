"""Score the labels' names as given text, every token of them (kind `sequence`).

A model that only continues text reads the text and is scored on the bare names. A model that writes is asked in words,
with all labels in one fixed order, and scored on the names in quotes as its answer: the closing quote is part of what is
scored, so that a name another one begins with is not likelier for being shorter.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

from llmlabel.annotation.asking import NONE, How
from llmlabel.errors import LlmlabelError
from llmlabel.llm.client import Client
from llmlabel.llm.requests import Completion, ScoreRequest
from llmlabel.prompting import Prompt, PromptLibrary, quote
from llmlabel.records import Annotation, Example, Label, Status, Taxonomy

PROMPTS = {"writes": "annotate/classify_name@2.0.0", "continues": "annotate/classify_score@2.0.0"}
CHARS = 600  # a model that only continues text sees


def annotate(
    examples: Sequence[Example], taxonomy: Taxonomy, client: Client, prompts: PromptLibrary, how: How
) -> list[Annotation]:
    """One annotation per example, in order. `probs` holds natural log-probabilities of whole names until they are
    calibrated. For a model that writes, "none fits" is one of the names."""
    writes = client.backend.features.writes
    prompt = prompts.get(PROMPTS["writes" if writes else "continues"])
    shown = [[*how.labels(e.id, taxonomy), *([NONE] if writes else [])] for e in examples]
    ask = _in_words if writes else _continued
    requests = [ask(e, labels, prompt, how) for e, labels in zip(examples, shown, strict=True)]
    answers = client.map(requests, how.step, how.on_done)
    return [_read(e, labels, a, client, prompt) for e, labels, a in zip(examples, shown, answers, strict=True)]


def _in_words(example: Example, labels: Sequence[Label], prompt: Prompt, how: How) -> ScoreRequest:
    shots = _shots(example, labels, how, how.max_text_chars)
    text = example.text[: how.max_text_chars]
    messages = prompt.render(text=text, use_case=how.use_case, labels=labels, shots=shots)
    return ScoreRequest(messages, [str(quote(label.name)) for label in labels])


def _continued(example: Example, labels: Sequence[Label], prompt: Prompt, how: How) -> ScoreRequest:
    (message,) = prompt.render(text=example.text[:CHARS], shots=_shots(example, labels, how, CHARS))
    return ScoreRequest(message["content"], [f" {label.name}" for label in labels])


def _shots(example: Example, labels: Sequence[Label], how: How, chars: int) -> list[SimpleNamespace]:
    """Solved examples of one label; here an answer is one name."""
    solved = how.solved(example.id, labels)
    return [SimpleNamespace(text=text[:chars], name=names[0].name) for text, names in solved if len(names) == 1]


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
