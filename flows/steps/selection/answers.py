"""Answers of a selection: the target's own, and those of the strategies, asked in shards and checked against gold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmlabel.flows.steps.annotation.labelling import ask_in_shards

from llmlabel.llm import Client
from llmlabel.llm.ledger import NANO
from llmlabel.records import slug
from llmlabel.selection import generate
from llmlabel.selection.answers import Answer, Question
from llmlabel.selection.strategies import Strategy
from llmlabel.selection.verifiers import verifier

if TYPE_CHECKING:
    from llmlabel.flows.steps.selection.work import Work


def ask_target(work: Work, questions: Sequence[Question]) -> dict[str, list[Answer]]:
    """The target's own answers to each question, checked."""
    config, client = work.config, work.target

    def ask(part: Sequence[int], retry: int, on_done: Callable[[int], None]) -> list[dict[str, Any]]:
        asked = [questions[i] for i in part]
        found = generate.own(
            asked, client, samples=config.own_samples, temperature=config.own_temperature, max_tokens=config.max_answer_tokens,
            step="own", on_done=on_done, retry=retry,
        )  # fmt: skip
        return [_bundle(answers) for answers in found]

    size, many = config.shard_size, len(questions) * config.own_samples
    raw = ask_in_shards(work.folder, "own", len(questions), size, ask, lambda _, n: work.counter("own", many))
    return {
        question.id: [checked(work, question, Answer.from_json(values)) for values in row["answers"]]
        for question, row in zip(questions, raw, strict=True)
    }  # fmt: skip


def _bundle(answers: Sequence[Answer]) -> dict[str, Any]:
    """Answers to one question as a row that has failed only where all of them have."""
    status = next((a.status for a in answers if not a.status.failed), answers[0].status)
    return {"status": str(status), "answers": [a.to_json() for a in answers]}


def ask(work: Work, names: Sequence[str], questions: Sequence[Question], part: str) -> None:
    """The answers of these strategies to these questions into `work.answers`, where they are not there yet.

    Args:
        part: tells these questions from others of the same strategy, in the names of step files.
    """
    if work.plan.given:
        wanted = {question.id: question for question in questions}
        for name in names:
            given = [answer for answer in work.plan.given[name] if answer.id in wanted]
            work.answers[name] |= {answer.id: checked(work, wanted[answer.id], answer) for answer in given}
        return
    for strategy in with_drafts(work, names):
        todo = [question for question in questions if question.id not in work.answers[strategy.name]]
        if todo:
            found = ask_strategy(work, strategy, todo, part)
            work.answers[strategy.name] |= {answer.id: answer for answer in found}


def with_drafts(work: Work, names: Sequence[str]) -> list[Strategy]:
    """The strategies of these names, and those whose answers they rewrite, in the order they can be asked in."""
    by_name, wanted = {s.name: s for s in work.plan.strategies}, set(names)
    for strategy in reversed(work.plan.strategies):
        if strategy.name in wanted and strategy.rewrites:
            wanted.add(strategy.rewrites)
    return [s for name, s in by_name.items() if name in wanted]


def ask_strategy(work: Work, strategy: Strategy, questions: Sequence[Question], part: str) -> list[Answer]:
    """A strategy's answers to some questions, in order, checked.

    Args:
        part: tells these questions from others of the same strategy, in the names of step files.
    """
    client, prompt = writer(work, strategy), work.prompts.get(strategy.prompt)
    drafts, step = work.answers.get(strategy.rewrites or "", {}), f"answer {strategy.name}"
    most = strategy.max_tokens or work.config.max_answer_tokens

    def ask(rows: Sequence[int], retry: int, on_done: Callable[[int], None]) -> list[dict[str, Any]]:
        found = generate.answers(
            strategy, prompt, [questions[i] for i in rows], client, taxonomy=work.taxonomy, exemplars=work.shown_to_teacher,
            drafts=drafts, max_tokens=most, step=step, on_done=on_done, retry=retry,
        )  # fmt: skip
        return [answer.to_json() for answer in found]

    name = f"answers-{slug(strategy.name)}-{part}"
    raw = ask_in_shards(work.folder, name, len(questions), work.config.shard_size, ask, lambda _, n: work.counter(step, n))
    answers = [Answer.from_json(values) for values in raw]
    return [checked(work, question, answer) for question, answer in zip(questions, answers, strict=True)]


def writer(work: Work, strategy: Strategy) -> Client:
    """The client of the model that writes a strategy's answers."""
    if strategy.model == "target":
        return work.target
    return work.models["teacher"] if strategy.model == "teacher" else work.models.client(strategy.model)


def checked(work: Work, question: Question, answer: Answer) -> Answer:
    """An answer with its verdict; one that came with a verdict keeps it."""
    if not work.verify or answer.correct is not None or question.gold is None or not answer.usable:
        return answer
    return replace(answer, correct=bool(verifier(work.verify).verify(answer.text, question.gold, work.taxonomy)))


def cost_of_1000(work: Work, name: str) -> float:
    """US dollars for 1,000 answers: what the strategy says, else as they were written here, with the drafts they rewrite; nan
    where no price is known."""
    strategy = next((s for s in work.plan.strategies if s.name == name), None)
    if strategy is None:
        return float("nan")
    own = strategy.cost
    price = writer(work, strategy).price
    asked = [a for a in work.answers[name].values() if a.wrote]
    if own is None and price.known and asked:
        own = sum(price.nano(a.read, a.wrote, batch=work.config.batch) for a in asked) / NANO / len(asked)
    if own is None:
        return float("nan")
    return 1000 * own + (cost_of_1000(work, strategy.rewrites) if strategy.rewrites else 0.0)
