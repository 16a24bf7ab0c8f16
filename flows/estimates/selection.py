"""What `llmlabel run select` will ask and cost, before anything is asked: the most, since strategies are dropped on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmlabel.flows.estimates.common import Step, chats, some, total
from llmlabel.flows.steps.selection.work import Plan, prepare

from llmlabel.config import SelectConfig
from llmlabel.llm.specs import Spec, parse_spec
from llmlabel.selection import generate
from llmlabel.selection.answers import OWN, Answer, Question
from llmlabel.selection.strategies import Strategy
from llmlabel.selection.target import target_spec

TYPICAL = 0.5  # of the longest answer: what an answer is taken to be


def estimate_selection(config: SelectConfig) -> dict[str, Any]:
    """Calls, tokens and US dollars: the target's own answers, every strategy on every prompt, and --generate-all of the dearest.

    Answers are taken to be half of the longest that is allowed. Scores are computed by the target itself: no request of them is
    in here.
    """
    plan = prepare(config)
    return {"prompts": len(plan.drawn), "strategies": len(plan.names), **total(_steps(config, plan), config)}


def _steps(config: SelectConfig, plan: Plan) -> Iterator[Step]:
    asked = [] if config.from_run else plan.drawn
    target = target_spec(config.target)
    if asked and config.score in ("sppl", "cosine", "all"):
        yield _step("own answers", target, [q.messages for q in asked], config.max_answer_tokens, config.own_samples)
    steps = [_of_strategy(config, plan, strategy, target, asked) for strategy in plan.strategies]
    yield from steps
    if config.generate_all and plan.strategies:
        more = [*plan.drawn, *plan.rest][len(asked) : config.generate_all]
        every = [_of_strategy(config, plan, strategy, target, more) for strategy in plan.strategies]
        dearest = max(every, key=lambda step: step.read + 4 * step.wrote)
        dearest.name = f"generate all ({dearest.name}, the dearest)"
        yield dearest


def _of_strategy(config: SelectConfig, plan: Plan, strategy: Strategy, target: Spec, questions: Sequence[Question]) -> Step:
    spec = {"target": target, "teacher": parse_spec(config.llm.spec("teacher"))}.get(strategy.model) or parse_spec(strategy.model)
    most = strategy.max_tokens or config.max_answer_tokens
    imagined = {q.id: Answer(q.id, strategy.rewrites or "", "word " * round(TYPICAL * most * 4 / 5)) for q in questions}
    shown = [(q, Answer(q.id, OWN, imagined[q.id].text)) for q in questions[: config.exemplars]]
    requests = generate.requests(
        strategy, plan.prompts.get(strategy.prompt), questions, taxonomy=plan.taxonomy, exemplars=lambda _: shown,
        drafts=imagined, max_tokens=most,
    )  # fmt: skip
    return _step(f"answer {strategy.name}", spec, [r.messages for r in requests if not isinstance(r, Answer)], most, 1)


def _step(name: str, spec: Spec, asked: Sequence[Sequence[Mapping[str, str]]], most: int, times: int) -> Step:
    if not asked:
        return Step(name, spec, 0, 0, 0)
    return chats(name, spec, some(asked), len(asked), round(TYPICAL * most), times)
