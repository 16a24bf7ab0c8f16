"""TnT-LLM phase 1, step 1: a short summary of every long text, under the use case.

Source: Wan et al. 2024 (arXiv 2403.12173); short texts are used as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from llmlabel.errors import LlmlabelError
from llmlabel.llm.structured import Question, ask_all
from llmlabel.records import Example
from llmlabel.taxonomy.names import words
from llmlabel.taxonomy.settings import Setting

SHORT = 1.5  # texts of up to this many times the summary's length are short


class Summary(BaseModel):
    summary: str


def summarise(examples: Sequence[Example], setting: Setting) -> tuple[list[str], list[dict[str, str]]]:
    """A text of at most some `summary_words` words for every example, and the failures (the cut text stands in there)."""
    texts = [example.text[: setting.max_text_chars] for example in examples]
    long = [i for i, text in enumerate(texts) if len(words(text)) > SHORT * setting.summary_words]
    client = setting.models["summarise"]
    if not long or not client.backend.features.writes:
        return [_head(t, setting.summary_words) for t in texts], []
    prompt, failures = setting.prompt("summarise"), []
    questions = [
        Question(
            prompt.render(text=texts[i], use_case=setting.use_case, words=setting.summary_words),
            Summary,
            max_tokens=160,
        )
        for i in long
    ]
    answers = ask_all(client, questions, "summarise", setting.counter("summarise", len(long)))
    for i, answer in zip(long, answers, strict=True):
        if isinstance(answer, LlmlabelError):
            failures.append({"id": examples[i].id, "status": getattr(answer, "status", "error"), "reason": f"summary: {answer}"})
            texts[i] = _head(texts[i], setting.summary_words)
        else:
            texts[i] = answer.summary
    return texts, failures


def _head(text: str, count: int) -> str:
    """The beginning of a text, three times as long as a summary."""
    return " ".join(text.split()[: 3 * count])
