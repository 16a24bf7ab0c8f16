"""Ask `top_k` several times and take the majority of the best guesses (kind `stated`): LLM-GNN's hybrid confidence.

Its confidence ranks labels by whether they are right better than one answer does, for the price of all answers.
Source: Chen et al. 2024 (arXiv 2310.04668), section 3.3; the formula as in the released code.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from llmlabel.annotation.annotators import top_k
from llmlabel.annotation.annotators.stated import EDGE, MOST
from llmlabel.annotation.annotators.vote import every
from llmlabel.annotation.asking import NONE, How
from llmlabel.llm.client import Client
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Status, Taxonomy

PROMPTS = top_k.PROMPTS
TEMPERATURE = 0.7
FEWEST = 3  # answers; the paper's number


def annotate(
    examples: Sequence[Example], taxonomy: Taxonomy, client: Client, prompts: PromptLibrary, how: How
) -> list[Annotation]:
    """One annotation per example, in order, from `how.samples` answers each, three at least. `confidence` is the paper's;
    `probs` holds logarithms: this confidence on the label, the rest spread evenly.

    Raises: ConfigError for several labels per text, or more of them than fit one question.
    """
    samples = max(FEWEST, how.samples)
    each = replace(how, temperature=TEMPERATURE, on_done=every(samples, how.on_done))
    draws = [top_k.annotate(examples, taxonomy, client, prompts, replace(each, sample=how.sample + i)) for i in range(samples)]
    return [
        _majority(drawn, [*(label.id for label in how.labels(example.id, taxonomy)), NONE.id])
        for example, *drawn in zip(examples, *draws, strict=True)
    ]


def confidence(best: Sequence[str | None], sure: Sequence[float]) -> tuple[str, float]:
    """The majority of K best guesses, at a tie the first of them, and its confidence, 0 to 1:

    c = 1/K sum_k [ (c_p + c_k) / 2 where answer k says the majority p, else 1 - c_k ], c_p of the first answer that says p.

    Args:
        best: K guesses, None for an answer nobody could read, which adds nothing to the sum. sure: (K,) told, 0 to 1.
    """
    votes = Counter(guess for guess in best if guess is not None)
    winner = max(votes, key=lambda guess: votes[guess])
    first = sure[best.index(winner)]
    told = [(guess, c) for guess, c in zip(best, sure, strict=True) if guess is not None]
    return winner, sum((first + c) / 2 if guess == winner else 1 - c for guess, c in told) / len(best)


def _majority(drawn: Sequence[Annotation], shown: Sequence[str]) -> Annotation:
    usable = [row for row in drawn if not row.status.failed]
    if not usable:
        return drawn[0]
    best = [None if row.status.failed else row.label or NONE.id for row in drawn]
    winner, told = confidence(best, [row.confidence or 0.0 for row in drawn])
    sure = min(max(told, 1 / len(shown) + EDGE), MOST)
    others = math.log((1 - sure) / max(len(shown) - 1, 1))
    probs = {label: math.log(sure) if label == winner else others for label in shown}
    label = None if winner == NONE.id else winner
    status = Status.OK if label else Status.NONE_FITS
    return replace(usable[0], label=label, status=status, labels=[label] if label else [], confidence=told, probs=probs)
