"""One sentence per label on why it fits, asked after the label is settled: reasons asked for before it would sway it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmlabel.annotation.asking import How
from llmlabel.errors import LlmlabelError
from llmlabel.llm.client import Client
from llmlabel.llm.requests import Request
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Taxonomy

EXPLAIN = "annotate/explain@1.0.0"
TOKENS = 80


def explain(
    rows: Sequence[Annotation], texts: Mapping[str, Example], taxonomy: Taxonomy, client: Client, prompts: PromptLibrary, how: How
) -> list[dict[str, Any]]:
    """`{id, label, reason}` by row, in order; `error` instead of a reason where there was no usable answer.

    Raises: what stopped the model.
    """
    prompt, labels = prompts.get(EXPLAIN), {label.id: label for label in taxonomy.labels}
    requests = [
        Request(
            prompt.render(text=texts[row.id].text[: how.max_text_chars], use_case=how.use_case, label=labels[str(row.label)]),
            max_tokens=TOKENS,
        )
        for row in rows
    ]
    found = []
    for row, answer in zip(rows, client.map(requests, "explain", how.on_done), strict=True):
        said = str(answer) if isinstance(answer, LlmlabelError) else " ".join(answer.text.split())
        good = not isinstance(answer, LlmlabelError) and said
        found.append({"id": row.id, "label": row.label, ("reason" if good else "error"): said or "an empty answer"})
    return found
