"""What is asked: prompts from a file, texts to label made into prompts, or the prompts of answers somebody already has."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, zip_longest
from typing import Any

from llmlabel.config import SelectConfig
from llmlabel.data import as_label, read_examples
from llmlabel.errors import DataError
from llmlabel.lists import Broken, RankedList, read_lists
from llmlabel.prompting import Prompt
from llmlabel.records import Status, Taxonomy, fold
from llmlabel.selection.answers import OWN, Answer, Question

LABEL_TASK = "respond/label_task@1.0.0"


def read_questions(config: SelectConfig, taxonomy: Taxonomy | None, label_task: Prompt | None) -> tuple[list[Question], int]:
    """The prompts of --data, each text once, and how many rows could not be used or stood there before.

    Args:
        taxonomy: the texts are to be labelled: `label_task` makes each of them a prompt. None: they are prompts.
    """
    if taxonomy is not None and label_task is not None:
        examples = read_examples(
            config.data, text_column=config.text_column or "text", id_column=config.id_column, gold_column=config.gold_column
        )
        ask = partial(label_task.render, labels=taxonomy.leaves, use_case=config.use_case or taxonomy.use_case)
        texts = [(e, e.text[: config.max_text_chars]) for e in examples if e.text.strip()]
        found, rows = [Question(e.id, ask(text=text)[-1]["content"], e.gold) for e, text in texts], len(examples)
    else:
        broken: list[Broken] = []
        lists = read_lists(config.data, id_column=config.id_column, prompt_column=config.text_column or "prompt", broken=broken)
        found, rows = [_question(one, config.gold_column) for one in lists], len(lists) + len(broken)
    if not found:
        raise DataError(f"{config.data}: no row has a usable prompt")
    found = list(_once(found))
    return found, rows - len(found)


def read_responses(config: SelectConfig) -> tuple[list[Question], dict[str, list[Answer]], int]:
    """Answers somebody already has: the questions, each strategy's answers, and how many rows stood there before.

    The strategies' names are those of the column `strategies`, else of `models`; `correct` and `truncated` are lists of true or
    false beside the answers. A list may lack some of the strategies.
    Raises: DataError for a list without names, or with one name twice.
    """
    lists = read_lists(str(config.responses), id_column=config.id_column, option="--responses")
    questions = list(_once([_question(one, config.gold_column) for one in lists]))
    kept = {question.id for question in questions}
    answers: dict[str, list[Answer]] = defaultdict(list)
    for row, one in enumerate(lists, 1):
        for k, name in enumerate(_names(one, row, config)):
            if one.id in kept:
                answers[name].append(_answer(one, k, name))
    if not answers:
        raise DataError(f"--responses {config.responses} has no answers: a column completions or responses, a list of texts")
    return questions, dict(answers), len(lists) - len(questions)


def _question(one: RankedList, gold_column: str | None) -> Question:
    if gold_column and gold_column not in one.more:
        raise DataError(f"there is no column {gold_column!r} (--gold-column)")
    return Question(one.id, one.prompt, as_label(one.more[gold_column]) if gold_column else None)


def _once(questions: Iterable[Question]) -> Iterable[Question]:
    """Of the same text the first: what stands there twice would count twice."""
    seen: set[str] = set()
    for question in questions:
        if (text := fold(question.text)) not in seen:
            seen.add(text)
            yield question


def _names(one: RankedList, row: int, config: SelectConfig) -> Sequence[str]:
    told = one.more.get("strategies") if one.more.get("strategies") is not None else one.models
    where = f"--responses {config.responses}, row {row} ({one.id})"
    if not isinstance(told, list | tuple) or len(told) != len(one):
        raise DataError(f"{where}: strategies (or models) is not a list of {len(one)} names, one for each answer")
    names = [str(name).strip() for name in told]
    if len({*names}) < len(names) or "" in names or OWN in names:
        raise DataError(f"{where}: its answers need names that differ, and none may be empty or {OWN}")
    return names


def _answer(one: RankedList, k: int, name: str) -> Answer:
    text = one.completions[k].strip()
    model = one.models[k] if one.models and one.more.get("strategies") is not None else ""
    cut = _told(one.more, "truncated", k)
    status = Status.ERROR if not text else Status.TRUNCATED if cut else Status.OK
    return Answer(
        one.id, name, text, status, "" if text else "an empty answer", _told(one.more, "correct", k), cut, model
    )  # fmt: skip


def _told(more: Mapping[str, Any], column: str, k: int) -> bool | None:
    values = more.get(column)
    return bool(values[k]) if isinstance(values, list) and k < len(values) and values[k] is not None else None


def draw(questions: Sequence[Question], n: int, seed: int) -> list[Question]:
    """At most `n` questions, as evenly over the values of gold as can be at every length, in an order drawn with the seed."""
    groups: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        groups[fold(question.gold or "")].append(question)
    rng = random.Random(f"{seed}/questions")
    for name in sorted(groups):
        rng.shuffle(groups[name])
    order = sorted(groups)
    rng.shuffle(order)
    turns = zip_longest(*(groups[name] for name in order))
    return [question for question in chain.from_iterable(turns) if question is not None][:n]
