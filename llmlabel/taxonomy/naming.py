"""Names for groups: candidates from a model and from the texts, chosen in code so that no two groups share one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from llmlabel.errors import LlmlabelError
from llmlabel.llm.requests import ScoreRequest
from llmlabel.llm.structured import Question, ask_all
from llmlabel.taxonomy.groups import Groups
from llmlabel.taxonomy.keyphrases import calibrate, candidate_names, choose_names, describe
from llmlabel.taxonomy.names import is_vague, same_name, shorten, words
from llmlabel.taxonomy.settings import Setting

FloatArray = NDArray[np.floating]

SHOWN, SHOWN_CHARS, CONTRASTED, CONTRASTED_CHARS = 8, 110, 4, 100
NAME_WORDS = 3
FROM_KEYWORDS = 4
MARGIN, PER_RANK, PER_WORD = 0.5, 0.02, 0.03  # how a name's fit, place and length count, in cosine
SCORED, SCORED_CHARS, CANDIDATES = 6, 90, 8
OPENING = re.compile(
    r"^(this|these|the) (category|group|texts?|label)s?( of texts)? (is|are|contains?|covers?|includes?|discuss(es)?|relates?"
    r"|involves?)( texts)?( (about|related to|on|all|to))?\s*",
    re.IGNORECASE,
)

Name = Annotated[str, Field(max_length=40)]


class Names(BaseModel):
    names: list[Name] = Field(min_length=1, max_length=8)


class Description(BaseModel):
    description: str


@dataclass(frozen=True)
class Named:
    """A name and a description for one group."""

    name: str
    description: str


@dataclass(frozen=True)
class _Candidate:
    group: int
    name: str
    rank: int


def name_by_model(
    groups: Groups, typical: Sequence[Sequence[str]], places: Sequence[FloatArray], setting: Setting
) -> tuple[list[Named], list[dict[str, str]]]:
    """Ask for four candidates per group, choose among them and the group's keywords by vectors, then ask for descriptions.

    Args:
        typical: the keywords of every group. places: (K, D) centres of the groups in the spaces names are compared in.
    Returns: K names with descriptions, all different; and what failed.
    """
    offered, failures = _offers(groups, typical, setting)
    candidates = [c for k, names in enumerate(offered) for c in _usable(k, names, typical[k], groups, setting)]
    chosen = _choose(candidates, places, groups, setting)
    names = [chosen.get(k) or _fallback(groups, k, list(chosen.values())) for k in range(groups.count)]
    prompt = setting.prompt("describe")
    limit = min(15, setting.limits.description_words)
    questions = [
        Question(
            prompt.render(use_case=setting.use_case, name=name, texts=_shown(groups, k), description_words=limit),
            Description, max_tokens=80,
        )
        for k, name in enumerate(names)
    ]  # fmt: skip
    named = []
    for k, answer in enumerate(ask_all(setting.models["name"], questions, "describe", setting.counter("describe", len(names)))):
        text = "" if isinstance(answer, LlmlabelError) else _plain(answer.description)
        if not text or same_name(text, names[k]):
            text = describe(groups.texts, groups.assignment, k, list(typical[k]) or [names[k]])
        named.append(Named(names[k], shorten(text, setting.limits.description_words)))
    return named, failures


def _offers(groups: Groups, typical: Sequence[Sequence[str]], setting: Setting) -> tuple[list[list[str]], list[dict[str, str]]]:
    prompt, questions = setting.prompt("name"), []
    offered: list[list[str]] = []
    failures: list[dict[str, str]] = []
    for k in range(groups.count):
        around = [groups.nearest(j, 1)[0] for j in groups.neighbours(k, CONTRASTED)]
        messages = prompt.render(
            use_case=setting.use_case,
            texts=_shown(groups, k),
            keywords=list(typical[k]),
            contrast=[groups.texts[i][:CONTRASTED_CHARS] for i in around],
            name_words=min(NAME_WORDS, setting.limits.name_words),
        )
        questions.append(Question(messages, Names, max_tokens=80))
    answers = ask_all(setting.models["name"], questions, "name", setting.counter("name", groups.count))
    for k, answer in enumerate(answers):
        if isinstance(answer, LlmlabelError):
            failures.append({"id": f"group {k + 1}", "status": getattr(answer, "status", "error"), "reason": f"name: {answer}"})
            offered.append([])
        else:
            offered.append(answer.names)
    return offered, failures


def _shown(groups: Groups, k: int) -> list[str]:
    return [groups.texts[i][:SHOWN_CHARS] for i in groups.typical(k, SHOWN)]


def _usable(k: int, names: Sequence[str], typical: Sequence[str], groups: Groups, setting: Setting) -> list[_Candidate]:
    """What may be a name: short, not vague, no digits, and not simply the words of one text."""
    own = "\n".join(groups.texts[i].lower() for i in np.flatnonzero(groups.assignment == k).tolist())
    pooled = [(n, min(rank, FROM_KEYWORDS)) for rank, n in enumerate(names)]
    pooled += [(word.title(), FROM_KEYWORDS) for word in typical[:FROM_KEYWORDS]]
    kept: dict[str, _Candidate] = {}
    for raw, rank in pooled:
        name = " ".join(raw.split())
        count = len(words(name))
        copied = count >= NAME_WORDS and name.lower() in own
        if 1 <= count <= min(NAME_WORDS, setting.limits.name_words) and not (
            is_vague(name) or copied or re.search(r"\d", name) or setting.limits.is_taken(name)
        ):
            kept.setdefault(name.lower(), _Candidate(k, name, rank))
    return list(kept.values())


def _choose(candidates: Sequence[_Candidate], places: Sequence[FloatArray], groups: Groups, setting: Setting) -> dict[int, str]:
    """The best name of every group, best fit first; a name that says the same as one given away is passed over."""
    if not candidates:
        return {}
    vectors = setting.encode([c.name for c in candidates])
    fit = np.mean([vectors @ place.T for place in places], axis=0)  # (candidates, K)
    worth = []
    for c, row in zip(candidates, fit, strict=True):
        rival = float(np.delete(row, c.group).max()) if len(row) > 1 else 0.0
        worth.append(row[c.group] + MARGIN * (row[c.group] - rival) - PER_RANK * c.rank - PER_WORD * (len(words(c.name)) - 1))
    chosen: dict[int, str] = {}
    for i in np.argsort(-np.asarray(worth), kind="stable").tolist():
        c = candidates[i]
        if c.group not in chosen and not any(same_name(c.name, taken) for taken in chosen.values()):
            chosen[c.group] = c.name
    return chosen


def _fallback(groups: Groups, k: int, taken: Sequence[str]) -> str:
    phrases = candidate_names(groups.texts, groups.assignment)[k]
    return next((p for p in phrases if not any(same_name(p, t) for t in taken)), f"Group {k + 1}")


def _plain(description: str) -> str:
    text = OPENING.sub("", " ".join(description.split()))
    return text[:1].upper() + text[1:]


def name_by_score(groups: Groups, setting: Setting) -> list[Named]:
    """Choose among keyphrases of the texts: by place, by vectors, and by how much likelier a group's texts make a name
    than the other groups' texts do."""
    offered = candidate_names(groups.texts, groups.assignment, per_cluster=2 * CANDIDATES)
    candidates = [[n for n in names if not setting.limits.is_taken(n)][:CANDIDATES] for names in offered]
    distinct = list(dict.fromkeys(name for names in candidates for name in names))
    if not distinct:
        return [Named(f"Group {k + 1}", describe(groups.texts, groups.assignment, k, [])) for k in range(groups.count)]
    column = {name: j for j, name in enumerate(distinct)}
    fit = calibrate(_likelihoods(groups, distinct, setting))
    near = calibrate(groups.centres @ setting.encode(distinct).T)

    def own(table: FloatArray) -> list[list[float]]:
        return [[float(table[k, column[name]]) for name in names] for k, names in enumerate(candidates)]

    chosen = choose_names(candidates, own(fit), own(near))
    return [Named(name, describe(groups.texts, groups.assignment, k, candidates[k])) for k, name in enumerate(chosen)]


def _likelihoods(groups: Groups, names: Sequence[str], setting: Setting) -> FloatArray:
    """(K, names) log-probability of every name after the typical texts of every group; zeros where no model can score."""
    client, prompt = setting.models["name"], setting.prompt("name_score")
    scores = np.zeros((groups.count, len(names)))
    if not client.backend.features.score:
        return scores
    requests = []
    for k in range(groups.count):
        shown = [groups.texts[i][:SCORED_CHARS] for i in groups.nearest(k, SCORED)]
        requests.append(ScoreRequest(prompt.render(texts=shown)[0]["content"], [f" {name}" for name in names]))
    for k, answer in enumerate(client.map(requests, "name", setting.counter("name", len(requests)))):
        if isinstance(answer, LlmlabelError):
            raise answer
        scores[k] = np.asarray(answer.scores)
    return scores
