"""Scores of a selection: how likely the target finds each answer, put into the tables the decision is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from llmlabel.flows.steps.annotation.labelling import PLAIN
from llmlabel.flows.steps.selection import answers as asking
from prefect import task

from llmlabel.records import Status
from llmlabel.selection import scores
from llmlabel.selection.answers import OWN, Answer, Question, Table
from llmlabel.selection.diversity import diversities
from llmlabel.selection.gates import leaks

if TYPE_CHECKING:
    from llmlabel.flows.steps.selection.work import Work

Scored = Mapping[tuple[str, str], tuple[float, int]]  # (question id, strategy) -> nats per token or another score, tokens


def advance(work: Work, names: Sequence[str], start: int, end: int) -> None:
    """Ask these strategies the questions from `start` to `end`, and score what they said."""
    part = work.plan.drawn[start:end]
    asking.ask(work, names, part, f"{start:04d}-{end:04d}")
    fill(work, names, part)


@task(name="score", task_run_name="score answers", **PLAIN)
def fill(work: Work, names: Sequence[str], questions: Sequence[Question]) -> None:
    """Score these strategies' answers to these questions, with the target's own beside them, and note what is known of them."""
    answers = {q.id: [*answers_to(work, names, q), *work.own_answer(q.id)] for q in questions}
    values = {name: scored(work, name, questions, answers) for name in work.computed}
    for question in questions:
        for answer in answers[question.id]:
            note(work.reference if answer.strategy == OWN else work.table, answer, values)
    _lengths(work, questions)


def answers_to(work: Work, names: Sequence[str], question: Question) -> list[Answer]:
    return [work.answers[name][question.id] for name in names if question.id in work.answers[name]]


def scored(work: Work, name: str, questions: Sequence[Question], answers: Mapping[str, Sequence[Answer]]) -> Scored:
    """A score of all usable answers."""
    if name == "cosine":
        return _cosines(work, answers)
    made = scores.score(
        work.target, name, questions, {id_: [a for a in some if a.usable] for id_, some in answers.items()}, pool=work.pool,
        form=work.form, prompts=work.prompts, step=f"score {name}", on_done=work.counter(f"score {name}", len(questions)),
    )  # fmt: skip
    work.unscored.update(made.reasons)
    return made.values


def _cosines(work: Work, answers: Mapping[str, Sequence[Answer]]) -> Scored:
    """How near each answer is to the target's own in the target's hidden states; the weights are loaded once more for it."""
    from llmlabel.selection import hidden

    pairs = [(a, own) for id_, some in answers.items() for own in work.own_answer(id_) for a in some if a.usable and a != own]
    found = hidden.cosines(work.hidden, [(a.text, own.text) for a, own in pairs])
    return {(a.id, a.strategy): (value, 0) for (a, _), value in zip(pairs, found, strict=True)}


def _lengths(work: Work, questions: Sequence[Question]) -> None:
    """Each answer's tokens over those of the target's own answer to the same question."""
    columns = [work.table.columns[q.id] for q in questions]
    work.table.length_ratio[:, columns] = work.table.tokens[:, columns] / work.reference.tokens[0, columns]


def measure_spread(work: Work) -> None:
    """How varied each strategy's answers are, and what 1,000 of them cost."""
    texts = [[a.text for a in work.answers[name].values() if a.usable] for name in work.plan.names]
    vectors = [work.encode(some) if some else np.zeros((0, 1)) for some in texts]
    work.table.diversity = diversities(vectors, seed=work.config.seed)
    work.table.cost = np.array([asking.cost_of_1000(work, name) for name in work.plan.names])


def note(table: Table, answer: Answer, values: Mapping[str, Scored]) -> None:
    """Put what is known of an answer into its place."""
    at = table.place(answer)
    table.asked[at] = True
    if answer.status is Status.TRUNCATED or answer.truncated is not None:
        table.truncated[at] = answer.status is Status.TRUNCATED or bool(answer.truncated)
    if not answer.usable:
        return
    table.leaks[at] = leaks(answer.text)
    if answer.correct is not None:
        table.correct[at] = answer.correct
    for name, scored in values.items():
        if (answer.id, answer.strategy) in scored:
            table.scores[name][at], tokens = scored[answer.id, answer.strategy]
            table.tokens[at] = tokens or table.tokens[at]
