"""The same words: what the answer ends in, or the whole of it, is gold."""

from __future__ import annotations

from llmlabel.records import Taxonomy, fold
from llmlabel.selection.verifiers._final import bare, final_answer


def verify(answer: str, gold: str, taxonomy: Taxonomy | None = None) -> bool:
    """Whether the final answer (the last `Answer:` line, `####` line or box), else the whole text, equals gold; case, blanks,
    quotation marks and a final period aside."""
    said = final_answer(answer)
    return _folded(answer if said is None else said) == _folded(gold)


def _folded(text: str) -> str:
    return bare(fold(text)) or fold(text)
