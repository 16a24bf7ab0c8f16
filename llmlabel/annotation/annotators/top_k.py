"""Ask for the three best labels with probabilities that add up to 100 (kind `stated`): a distribution in one answer.

Source: the Top-K prompt of LLM-GNN, Chen et al. 2024 (arXiv 2310.04668), after Tian et al. 2023 (arXiv 2305.14975).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmlabel.annotation.annotators.classify import MOST_LABELS, question
from llmlabel.annotation.asking import How
from llmlabel.errors import ConfigError
from llmlabel.llm.client import Client
from llmlabel.llm.requests import Request
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Taxonomy

PROMPTS = {"top_k": "annotate/top_k@1.0.0"}
K = 3
TOKENS = 48
GUESS = re.compile(r"(?<![A-Za-z])([A-Z])(?![A-Za-z])[^\dA-Z\n]{0,12}?(?:[A-Z][^\d\n]{0,60}?)?(\d{1,3}(?:[.,]\d+)?)(?!\d)\s*%?")
MOST = 0.99  # nobody is taken at a word of 100


def annotate(
    examples: Sequence[Example], taxonomy: Taxonomy, client: Client, prompts: PromptLibrary, how: How
) -> list[Annotation]:
    """One annotation per example, in order. `probs` holds logarithms of the stated shares; what is left over is spread evenly.

    Raises: ConfigError for several labels per text, or more of them than fit one question.
    """
    prompt, shown = prompts.get(PROMPTS["top_k"]), [how.labels(e.id, taxonomy) for e in examples]
    if how.multi or any(len(labels) > MOST_LABELS for labels in shown):
        raise ConfigError(f"top_k asks for one label of {MOST_LABELS} at most; use classify or shortlist")
    asked = [question(e, labels, prompt, how) for e, labels in zip(examples, shown, strict=True)]
    requests = [Request(messages, max_tokens=TOKENS, temperature=how.temperature, sample=how.sample) for _, messages in asked]
    answers = client.map(requests, how.step, how.on_done)
    return [_read(e, codes, a, client, prompt) for e, (codes, _), a in zip(examples, asked, answers, strict=True)]
