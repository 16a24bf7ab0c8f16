"""Rules for a codebook, drafted by a model from prototypes and borderline cases of each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from llmlabel.annotation.asking import How
from llmlabel.annotation.codebook.rules import Kind, Rule
from llmlabel.errors import ConfigError, LlmlabelError
from llmlabel.llm.client import Client
from llmlabel.llm.structured import Question, ask_all
from llmlabel.prompting import PromptLibrary, quote
from llmlabel.records import NONE_FITS, Example, Label, Taxonomy

PROMPT = "annotate/codebook@1.0.0"
WORDS, SHOWN_CHARS, QUOTED_CHARS, TOKENS = 20, 300, 160, 300
FloatArray = NDArray[np.floating[Any]]
Line = Annotated[str, Field(max_length=240)]


class Drafted(BaseModel):
    include: list[Line] = Field(max_length=2)
    exclude: list[Line] = Field(max_length=2)


@dataclass(frozen=True)
class Cases:
    """Rows that show what a label is about: `typical` ones, those that were `missed`, and those `outside` of it that were taken
    for it or lie near to it. `wrong`: how many of the known rows were missed, or taken for it."""

    label: str
    typical: Sequence[str]
    missed: Sequence[str]
    outside: Sequence[str]
    wrong: int


def cases(
    ids: Sequence[str], gold: Mapping[str, str], said: Mapping[str, str | None], sure: Mapping[str, float], vectors: FloatArray,
    labels: Sequence[str], k: int,
) -> list[Cases]:  # fmt: skip
    """The cases of every label with a known row, the label with most wrong ones first.

    Args:
        ids: N rows to learn from. gold, said: their labels, true ones and the annotator's. sure: of its answers, 0 to 1: the most
            confident errors are shown first. vectors: (N, D) unit vectors of the texts. k: rows of each kind, at most.
    """
    found = []
    for label in labels:
        inside = [n for n, i in enumerate(ids) if gold[i] == label]
        missed = [n for n in inside if said[ids[n]] != label]
        taken = [n for n, i in enumerate(ids) if gold[i] != label and said[i] == label]
        if not inside:
            continue
        surest = [sorted(some, key=lambda n: (-sure.get(ids[n], 0.0), ids[n]))[:k] for some in (missed, taken)]
        centre = vectors[inside].mean(axis=0)
        others = [n for n, i in enumerate(ids) if gold[i] != label and n not in taken]
        near = sorted(others, key=lambda n: (-(vectors[n] @ centre), ids[n]))
        middle = [inside[n] for n in medoids(vectors[inside], k)]
        shown = (middle, *surest, near[: max(0, k - len(surest[1]))])
        typical, wrong, false, close = ([ids[n] for n in rows] for rows in shown)
        found.append(Cases(label, typical, wrong, [*false, *close], len(missed) + len(taken)))
    return sorted(found, key=lambda c: -c.wrong)


def medoids(vectors: FloatArray, k: int) -> list[int]:
    """At most k rows that together lie nearest to all rows: each adds most to the sum of nearest similarities (greedy facility
    location, within 1 - 1/e of the best; Nemhauser et al. 1978)."""
    alike = vectors @ vectors.T
    best, chosen = np.full(len(vectors), -1.0), list[int]()
    for _ in range(min(k, len(vectors))):
        worth = np.maximum(alike, best[:, None]).sum(axis=0)
        worth[chosen] = -np.inf
        chosen.append(int(worth.argmax()))
        best = np.maximum(best, alike[:, chosen[-1]])
    return chosen


def draft(
    found: Sequence[Cases], texts: Mapping[str, Example], gold: Mapping[str, str], taxonomy: Taxonomy, client: Client,
    prompts: PromptLibrary, how: How,
) -> tuple[list[Rule], list[str]]:  # fmt: skip
    """Rules to try for labels that are got wrong, in the order of the cases: what a label includes, what it does not, and one
    example, of a text that was missed where there is one.

    Returns: the rules; and what failed, one line for each label.
    Raises: ConfigError when the model cannot write; what stopped it.
    """
    must_write(client)
    found = [c for c in found if c.wrong]
    prompt, names = prompts.get(PROMPT), {label.id: label for label in taxonomy.leaves}
    cut = {i: texts[i].text[:SHOWN_CHARS] for c in found for i in (*c.typical, *c.missed, *c.outside)}
    questions = [
        Question(
            prompt.render(
                use_case=how.use_case, label=names[c.label], labels=taxonomy.leaves, words=WORDS,
                texts=list(dict.fromkeys(cut[i] for i in (*c.missed, *c.typical))),
                shots=[{"text": cut[i], "name": _name(gold[i], names)} for i in c.outside],
            ),
            Drafted, max_tokens=TOKENS,
        )
        for c in found
    ]  # fmt: skip
    rules, failed = dict[Rule, None](), []
    for c, answer in zip(found, ask_all(client, questions, "draft", how.on_done), strict=True):
        if isinstance(answer, LlmlabelError):
            failed.append(f"{names[c.label].name}: {answer}")
        else:
            rules |= dict.fromkeys(_rules(c.label, answer, names[c.label]))
        short = [texts[i].text for i in (*c.missed, *c.typical) if len(texts[i].text) <= QUOTED_CHARS]
        rules |= {Rule(c.label, "example", quote(_plain(text))): None for text in short[:1]}
    return list(rules), failed


def must_write(client: Client) -> None:
    """Raises: ConfigError when the model only scores."""
    if not client.backend.features.writes:
        raise ConfigError(f"{client.backend.model} cannot write rules; name a model that can, with --writer")


def _name(label: str, names: Mapping[str, Label]) -> str:
    return "none of these" if label == NONE_FITS else names[label].name


def _rules(label: str, drafted: Drafted, own: Label) -> list[Rule]:
    kinds: list[tuple[Kind, list[str]]] = [("include", drafted.include), ("exclude", drafted.exclude)]
    known = {_plain(own.name).casefold(), _plain(own.description).casefold(), ""}
    return [Rule(label, kind, _plain(text)) for kind, lines in kinds for text in lines if _plain(text).casefold() not in known]


def _plain(text: str) -> str:
    return " ".join(text.split()).strip(" .;-")
