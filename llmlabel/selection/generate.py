"""Asking for training answers: of a strategy's model as its prompt file says, or of the target just as it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmlabel.errors import ConfigError, LlmlabelError
from llmlabel.llm.client import Client
from llmlabel.llm.requests import Completion, Message, Request
from llmlabel.prompting import Prompt, defuse
from llmlabel.records import Status, Taxonomy
from llmlabel.selection.answers import OWN, Answer, Question
from llmlabel.selection.strategies import DRAFT, Strategy

ANOTHER_DRAW, RETRY_TEMPERATURE = 100, 0.5  # samples of one round; as when texts are labelled
REQUEST_ALONE = "{{ prompt }}"  # a user turn that is nothing but the request
Exemplars = Callable[[Question], Sequence[tuple[Question, Answer]]]


def messages(
    prompt: Prompt, question: Question, *, taxonomy: Taxonomy | None = None, exemplars: Sequence[tuple[Question, Answer]] = (),
    draft: str = "",
) -> list[Message]:  # fmt: skip
    """What a strategy's model reads about one question.

    Where a prompt file's last turn is the request alone, a question that is a chat goes in turn by turn, its system turn after
    that of the file; elsewhere it is one text. Control tokens of chat templates are broken in both.
    """
    values: dict[str, Any] = {
        "prompt": question.text, "gold": shown_gold(question.gold or "", taxonomy), "draft": draft,
        "labels": taxonomy.leaves if taxonomy else [],
        "exemplars": [{"prompt": q.text, "answer": a.text} for q, a in exemplars],
    }  # fmt: skip
    found: list[Message] = list(prompt.render(**{name: values[name] for name in prompt.head.variables}))
    if isinstance(question.prompt, str) or prompt.sections[-1][1].strip() != REQUEST_ALONE:
        return found
    turns = [{"role": m["role"], "content": str(defuse(m["content"]))} for m in question.messages]
    *before, _ = found
    if before and turns[0]["role"] == "system":
        both = f"{before[0]['content']}\n\n{turns[0]['content']}"
        before, turns = [{"role": "system", "content": both}], turns[1:]
    return [*before, *turns]


def shown_gold(gold: str, taxonomy: Taxonomy | None) -> str:
    """Gold as an answer would give it: with a taxonomy the name of the label, of several the first."""
    if taxonomy is None:
        return gold
    parts = [part.strip() for part in gold.split("|") if part.strip()]
    found = [label.name for part in parts if (label := taxonomy.find(part)) is not None]
    return found[0] if found else gold


def requests(
    strategy: Strategy, prompt: Prompt, questions: Sequence[Question], *, taxonomy: Taxonomy | None = None,
    exemplars: Exemplars | None = None, drafts: Mapping[str, Answer] | None = None, max_tokens: int, retry: int = 0,
) -> list[Request | Answer]:  # fmt: skip
    """One request per question, in order; where there is nothing to ask, an answer that says why (status error).

    Args:
        exemplars: the target's own answers to show before a question. drafts: by question id, what the strategy rewrites.
        max_tokens: of an answer, where the strategy sets none. retry: number of the round in which failed questions are asked
            again, 0 for the first; every round draws other answers.
    """
    warm = RETRY_TEMPERATURE if retry and not strategy.temperature else strategy.temperature
    like = Request(
        [], max_tokens=strategy.max_tokens or max_tokens, temperature=warm, top_p=strategy.top_p, sample=retry * ANOTHER_DRAW
    )
    used, found = prompt.head.variables, list[Request | Answer]()
    for question in questions:
        try:
            shown = _exemplars(question, exemplars) if "exemplars" in used else ()
            draft = _draft(question, strategy, drafts or {}) if DRAFT in used else ""
            if "gold" in used and question.gold is None:
                raise ConfigError("no gold is known for this prompt, and the strategy shows it to the model")
            asked = messages(prompt, question, taxonomy=taxonomy, exemplars=shown, draft=draft)
            found.append(replace(like, messages=asked))
        except ConfigError as e:
            found.append(Answer(question.id, strategy.name, "", Status.ERROR, str(e), prompt=prompt.id, prompt_hash=prompt.hash))
    return found


def _exemplars(question: Question, exemplars: Exemplars | None) -> Sequence[tuple[Question, Answer]]:
    found = exemplars(question) if exemplars else ()
    if not found:
        raise ConfigError("there are no answers of the target to imitate")
    return found


def _draft(question: Question, strategy: Strategy, drafts: Mapping[str, Answer]) -> str:
    draft = drafts.get(question.id)
    if draft is None or not draft.usable:
        why = "none" if draft is None else f"{draft.status}, {draft.reason}".rstrip(", ")
        raise ConfigError(f"{strategy.rewrites} gave no whole answer to rewrite ({why})")
    return draft.text


def answers(
    strategy: Strategy, prompt: Prompt, questions: Sequence[Question], client: Client, *, taxonomy: Taxonomy | None = None,
    exemplars: Exemplars | None = None, drafts: Mapping[str, Answer] | None = None, max_tokens: int, step: str = "answer",
    on_done: Callable[[int], None] | None = None, retry: int = 0,
) -> list[Answer]:  # fmt: skip
    """A strategy's answers, one per question, in order; arguments as of `requests`.

    Raises: what stopped the model.
    """
    made = requests(
        strategy, prompt, questions, taxonomy=taxonomy, exemplars=exemplars, drafts=drafts, max_tokens=max_tokens, retry=retry
    )  # fmt: skip
    asked = [one for one in made if isinstance(one, Request)]
    if on_done and len(asked) < len(made):
        on_done(len(made) - len(asked))
    said: Iterator[Completion | LlmlabelError] = iter(client.map(asked, step, on_done) if asked else ())
    origin = {"model": client.backend.model, "prompt": prompt.id, "prompt_hash": prompt.hash}
    return [
        replace(one, model=client.backend.model) if isinstance(one, Answer) else _read(q.id, strategy.name, next(said), origin)
        for q, one in zip(questions, made, strict=True)
    ]


def own(
    questions: Sequence[Question], client: Client, *, samples: int, temperature: float, max_tokens: int, top_p: float = 1.0,
    step: str = "own", on_done: Callable[[int], None] | None = None, retry: int = 0,
) -> list[list[Answer]]:  # fmt: skip
    """The target's own answers: `samples` draws for each question, whose messages go in as they are.

    At temperature 0 all draws are the same, so one is made. `on_done` counts draws. Raises: what stopped the model.
    """
    draws = samples if temperature else 1
    warm = RETRY_TEMPERATURE if retry and not temperature else temperature
    asked = [
        Request(q.messages, max_tokens=max_tokens, temperature=warm, top_p=top_p, sample=retry * ANOTHER_DRAW + k)
        for q in questions for k in range(draws)
    ]  # fmt: skip
    origin = {"model": client.backend.model}
    said = iter(client.map(asked, step, on_done))
    return [[_read(q.id, OWN, next(said), origin) for _ in range(draws)] for q in questions]


def _read(id_: str, strategy: str, said: Completion | LlmlabelError, origin: Mapping[str, Any]) -> Answer:
    if isinstance(said, LlmlabelError):
        return Answer(id_, strategy, "", Status.ERROR, str(said), **origin)
    text, refused = said.text.strip(), bool(said.refusal) or said.finish == "content_filter"
    status, reason = Status.OK, ""
    if refused:
        status, reason = Status.REFUSED, said.refusal or "content filter"
    elif said.finish == "length":
        status, reason = Status.TRUNCATED, "the answer ran into the limit of tokens (--set max_answer_tokens=N)"
    elif not text:
        status, reason = Status.ERROR, "an empty answer"
    cut = None if refused else status is Status.TRUNCATED
    return Answer(
        id_, strategy, text, status, reason, truncated=cut, read=said.prompt_tokens, wrote=said.completion_tokens, **origin
    )  # fmt: skip
