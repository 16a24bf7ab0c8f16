"""Score the label names as continuations of the text; for models that can score but not write (kind `sequence`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llmlabel.errors import LlmlabelError
from llmlabel.llm.client import Client
from llmlabel.llm.requests import ScoreRequest
from llmlabel.prompting import Prompt
from llmlabel.records import Annotation, Example, Status, Taxonomy

CHARS = 600


def annotate(
    examples: Sequence[Example],
    taxonomy: Taxonomy,
    client: Client,
    prompt: Prompt,
    *,
    on_done: Callable[[int], None] | None = None,
) -> list[Annotation]:
    """One annotation per example, in order. `probs` holds natural log-probabilities until they are calibrated."""
    names = [f" {label.name}" for label in taxonomy.leaves]
    requests = [ScoreRequest(prompt.render(text=e.text[:CHARS])[0]["content"], names) for e in examples]
    rows = []
    for example, answer in zip(examples, client.map(requests, "label", on_done), strict=True):
        row = Annotation(
            example.id, None, Status.ERROR, annotator=client.backend.model, prompt=prompt.id, prompt_hash=prompt.hash
        )
        if isinstance(answer, LlmlabelError):
            row.reason = str(answer)
        else:
            row.probs = {label.id: s for label, s in zip(taxonomy.leaves, answer.scores, strict=True)}
            row.probs_kind, row.status = "sequence", Status.OK
            row.label = max(row.probs, key=lambda i: row.probs[i])
        rows.append(row)
    return rows
