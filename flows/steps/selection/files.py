"""What a selection leaves behind: the answers with all that is known of them, and the rows to train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from llmlabel.flows.steps.selection import answers as asking
from llmlabel.flows.steps.selection.scores import answers_to, note, scored

from llmlabel.lists import RankedList, write_lists
from llmlabel.runs import write_parquet
from llmlabel.selection import sft
from llmlabel.selection.answers import Answer, Question, Table, known, mean
from llmlabel.selection.elimination import losses
from llmlabel.selection.gates import gates
from llmlabel.selection.per_prompt import per_prompt, shares
from llmlabel.selection.scores import counted
from llmlabel.stats import wilson

if TYPE_CHECKING:
    from llmlabel.flows.steps.selection.work import Work

MEASURED = ("tokens", "length_ratio", "leaks")


def training_pairs(work: Work, name: str, questions: Sequence[Question]) -> list[tuple[Question, Answer]]:
    """A strategy's answers that may be trained on, with their questions."""
    found = work.answers[name]
    return [(q, found[q.id]) for q in questions if q.id in found and not _unfit(work, found[q.id])]


def _unfit(work: Work, answer: Answer) -> str:
    """Why an answer is no training row; "" where it is one."""
    if not answer.usable:
        return str(answer.status) if answer.status.failed else "empty"
    return "wrong" if work.config.keep == "verified" and answer.correct is False else ""


def write_training_rows(work: Work, chosen: Sequence[str]) -> dict[str, Any]:
    """sft.parquet: answers of the chosen strategy, or for each prompt of the one that fits it best.

    Returns: `generated` and `per_prompt`, as metrics.json has them.
    """
    config, plan = work.config, work.plan
    questions = [*plan.drawn, *plan.rest][: config.generate_all or len(plan.drawn)]
    asking.ask(work, chosen, questions, "all")
    if config.choose == "per_prompt":
        by_id = per_prompt_choice(work, chosen, questions)
    else:
        by_id = {question.id: chosen[0] for question in questions}
    pairs, dropped = [], Counter[str]()
    for question in questions:
        answer = work.answers[by_id[question.id]].get(question.id) if question.id in by_id else None
        why = "no answer" if answer is None else _unfit(work, answer)
        if why or answer is None:
            dropped[why] += 1
        else:
            pairs.append((question, answer))
    sft.write(work.folder.path / "sft.parquet", pairs)
    return {
        "generated": {"strategies": list(chosen), "rows": len(questions), "kept": len(pairs), "dropped": dict(dropped)},
        "per_prompt": shares(by_id) if config.choose == "per_prompt" else None,
    }  # fmt: skip


def per_prompt_choice(work: Work, chosen: Sequence[str], questions: Sequence[Question]) -> dict[str, str]:
    """Question id -> the strategy whose answer the target finds likeliest."""
    table = Table.empty(work.plan.names, [q.id for q in questions], ["ppl"])
    answers = {q.id: answers_to(work, chosen, q) for q in questions}
    values = {"ppl": scored(work, "ppl", questions, answers)}
    for some in answers.values():
        for answer in some:
            note(table, answer, values)
    return per_prompt(table, chosen)


def write_evidence(work: Work) -> None:
    """questions.parquet, answers.parquet and responses.parquet; and what is known of every strategy."""
    folder, plan = work.folder.path, work.plan
    asked = [{"id": q.id, "prompt": q.text, "gold": q.gold} for q in plan.drawn]
    write_parquet(folder / "questions.parquet", pa.Table.from_pylist(asked))
    rows = [_row(work.table, work.answers[name][q.id]) for name in plan.names for q in plan.drawn if q.id in work.answers[name]]
    rows += [_row(work.reference, answer) for q in plan.drawn for answer in work.own_answer(q.id)]
    write_parquet(folder / "answers.parquet", pa.Table.from_pylist(rows))
    write_lists(folder / "responses.parquet", [_list(work, question) for question in plan.drawn])
    paid = work.race.known(work.table)
    checked = gates(paid, work.score)
    work.made |= {
        "scores": {name: summary(paid, s) | {"passed": checked[name].passed} for s, name in enumerate(plan.names)},
        "own": summary(work.reference, 0) if work.own else None,
        "exemplars": {
            "kind": work.pool.kind if work.pool.enough else "none", "pool": work.pool.answered, "asked": work.pool.asked,
            "used": len({a.id for group in work.pool.groups for _, a in group}), "why": work.pool.why,
        },
        "unscored": dict(counted(work.unscored.values())),
    }  # fmt: skip


def _row(table: Table, answer: Answer) -> dict[str, Any]:
    at = table.place(answer)
    figures = {name: known(getattr(table, name)[at]) for name in MEASURED}
    scored = {name: known(values[at]) for name, values in table.scores.items()}
    return {**answer.to_json(), **figures, **scored}


def _list(work: Work, question: Question) -> RankedList:
    """The answers to one question as a list; the better they fit the target, the higher their score."""
    found = [a for name in work.plan.names if (a := work.answers[name].get(question.id)) and a.text]
    fits = losses(work.table, work.score)
    scores = tuple(-float(fits[work.table.place(a)]) for a in found) or None
    return RankedList(
        question.id, question.prompt, tuple(a.text for a in found), scores,
        more={"strategies": [a.strategy for a in found], "correct": [a.correct for a in found], "gold": question.gold},
    )  # fmt: skip


def summary(table: Table, s: int) -> dict[str, Any]:
    """One strategy's figures: means over its answers, null where nothing is known."""

    right = table.correct[s][~np.isnan(table.correct[s])]
    asked = int(table.asked[s].sum())
    return {
        **{name: mean(values[s]) for name, values in table.scores.items()}, "correctness": mean(table.correct[s]),
        "correctness_low": wilson(int(right.sum()), len(right))[0] if len(right) else None,
        "truncation": mean(table.truncated[s]), "leakage": mean(table.leaks[s]),
        "length_ratio": mean(table.length_ratio[s]), "diversity": known(table.diversity[s]), "tokens": mean(table.tokens[s]),
        "cost_per_1000": known(table.cost[s]), "answered": int(table.answered[s].sum()) / asked if asked else None,
    }  # fmt: skip
