"""What a selection is about, and what its steps share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from llmlabel.flows.running.common import Desk

from llmlabel.config import SelectConfig
from llmlabel.errors import ConfigError
from llmlabel.events import emit
from llmlabel.llm import Client, Models
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example, Taxonomy
from llmlabel.runs import RunFolder
from llmlabel.selection.answers import OWN, Answer, Question, Table
from llmlabel.selection.elimination import Elimination
from llmlabel.selection.exemplars import Pool
from llmlabel.selection.pilot import language_model
from llmlabel.selection.questions import LABEL_TASK, draw, read_questions, read_responses
from llmlabel.selection.scores import form_of
from llmlabel.selection.strategies import Strategy, read_strategies, usable
from llmlabel.selection.target import target_spec, weights_of
from llmlabel.selection.verifiers import auto, verifier

DIAGNOSTICS = ("sppl", "ppl", "ifd", "cosine")


@dataclass
class Plan:
    """What a selection is about, before anything is asked. `drawn`: the questions every strategy answers; `rest`: the others.

    `given`: answers from a file, by strategy; then there are no `strategies`. `verify`: how answers are checked, "" if at all.
    `left_out`: rows of the data that cannot be used.
    """

    drawn: list[Question]
    rest: list[Question]
    taxonomy: Taxonomy | None
    prompts: PromptLibrary
    strategies: list[Strategy] = field(default_factory=list)
    given: dict[str, list[Answer]] = field(default_factory=dict)
    verify: str = ""
    left_out: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [s.name for s in self.strategies] or list(self.given)


def prepare(config: SelectConfig) -> Plan:
    """Read what a selection needs. Raises: ConfigError and DataError for what makes it impossible."""
    prompts = PromptLibrary(config.prompts)
    taxonomy = Taxonomy.load(config.taxonomy) if config.taxonomy else None
    given: dict[str, list[Answer]] = {}
    if config.responses:
        questions, given, left_out = read_responses(config)
    else:
        questions, left_out = read_questions(config, taxonomy, prompts.get(LABEL_TASK))
    drawn = draw(questions, config.n, config.seed)
    taken = {question.id for question in drawn}
    plan = Plan(drawn, [q for q in questions if q.id not in taken], taxonomy, prompts, given=given, left_out=left_out)
    golds = [q.gold for q in questions if q.gold is not None]
    if config.verify != "none" and golds:
        plan.verify = auto(golds, taxonomy) if config.verify == "auto" else config.verify
        verifier(plan.verify)  # a wrong name is told before anything is asked
    if not config.responses:
        plan.strategies, why = usable(
            read_strategies(config.strategies, prompts), prompts, has_gold=bool(golds), has_labels=taxonomy is not None,
            explicit=config.strategies is not None,
            has_descriptions=any(label.description for label in taxonomy.labels) if taxonomy else False,
        )  # fmt: skip
        plan.notes += why
    if left_out:
        plan.notes.append(f"{left_out} rows were left out: no usable prompt, or one that stood there before")
    if config.pilot:
        if not plan.verify:
            raise ConfigError("--pilot tests answers, so it needs gold: name its column with --gold-column")
        language_model(config.target)  # that it cannot be trained is told before anything is paid for
    return plan


class Work(Desk):
    """What the steps of one run share. `answers`: by strategy, then by question id; `own`: the target's, by question id."""

    config: SelectConfig

    def __init__(self, config: SelectConfig, plan: Plan, folder: RunFolder, models: Models) -> None:
        super().__init__(config, as_examples(plan), folder, models)
        self.plan, self.prompts, self.taxonomy, self.verify = plan, plan.prompts, plan.taxonomy, plan.verify
        self.answers: dict[str, dict[str, Answer]] = {name: {} for name in plan.names}
        self.own: dict[str, list[Answer]] = {}
        self.pool = Pool.of([], [], k=config.exemplars, seed=config.seed)
        ids = [question.id for question in plan.drawn]
        self.table, self.reference = (Table.empty(names, ids, DIAGNOSTICS) for names in (plan.names, [OWN]))
        self.race = Elimination(plan.names, n=len(ids))
        self.unscored: dict[tuple[str, str], str] = {}
        self.notes = list(plan.notes)
        self.made: dict[str, Any] = {}

    def note(self, text: str) -> None:
        self.notes.append(text)
        emit("note", text=text)

    @cached_property
    def target(self) -> Client:
        return self.models.client(str(target_spec(self.config.target)))

    @cached_property
    def hidden(self) -> Any:
        """The target's weights, for its hidden states."""
        from llmlabel.selection.hidden import open_lm

        return open_lm(weights_of(self.config.target))

    @cached_property
    def form(self) -> str:
        return form_of(self.target)

    @cached_property
    def score(self) -> str:
        """What decides: as asked for, but plain perplexity where the target has too few answers of its own to show it."""
        wanted = "sppl" if self.config.score == "all" else self.config.score
        return "ppl" if wanted == "sppl" and not self.pool.enough else wanted

    @cached_property
    def computed(self) -> list[str]:
        if self.config.score == "all":
            return [name for name in DIAGNOSTICS if name != "sppl" or self.pool.enough]
        return [self.score, "ppl"] if self.score in ("ifd", "cosine") else [self.score]

    def own_answer(self, id_: str) -> list[Answer]:
        """The target's own answer to a question, a right one if there is one; none or one."""
        found = [answer for answer in self.own.get(id_, []) if answer.usable]
        return sorted(found, key=lambda answer: not answer.correct)[:1]

    def shown_to_teacher(self, question: Question) -> Sequence[tuple[Question, Answer]]:
        """Answers of the target that a strategy may imitate: those shown before this question in the score, too."""
        return self.pool.before(question) if self.pool.enough else ()


def as_examples(plan: Plan) -> list[Example]:
    """Questions as texts, with what answers to them were given: for the run's fingerprint."""
    given: dict[str, str] = {}
    for answer in (a for answers in plan.given.values() for a in answers):
        given[answer.id] = given.get(answer.id, "") + f"\0{answer.strategy}\0{answer.text}"
    return [Example(q.id, q.text + given.get(q.id, ""), q.gold) for q in (*plan.drawn, *plan.rest)]
