"""What `llmlabel rank` will ask and cost, before it asks anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from llmlabel.flows.estimates.common import Step, filled, total
from llmlabel.flows.rank import judging, plan, questions

from llmlabel.annotation import judges
from llmlabel.annotation.annotators.classify import CODES
from llmlabel.config import JudgingConfig, RankConfig
from llmlabel.lists import RankedList, read_lists
from llmlabel.llm.specs import parse_spec
from llmlabel.prompting import PromptLibrary


def estimate_rank(config: RankConfig) -> dict[str, Any]:
    """Calls, tokens and US dollars by way of judging, at the most: pointwise as for a model without log-probabilities."""
    lists = read_lists(config.data, id_column=config.id_column)
    return {"lists": len(lists), **total(judge_steps(config, lists, "judge"), config)}


def judge_steps(config: JudgingConfig, lists: Sequence[RankedList], name: str) -> Iterator[Step]:
    """The requests of a judge about some lists; `name` is that of the step."""
    spec = parse_spec(config.llm.spec("judge"))
    if spec.kind == "openai":
        yield Step("probe", spec, 2, 40, 10)
    by_way: dict[str, list[RankedList]] = {}
    for one in lists:
        if len(one) > 1:
            by_way.setdefault(plan(config, len(one), None)[0], []).append(one)
    for way, group in by_way.items():
        yield _step(config, group, way, f"{name}, {way}")


def _step(config: JudgingConfig, lists: Sequence[RankedList], way: str, name: str) -> Step:
    """Questions of a mean length, one for each list, as often as there are questions."""
    spec, prompt = parse_spec(config.llm.spec("judge")), PromptLibrary(config.prompts).get(judges.judge(way).PROMPTS["judge"])
    values = [_values(config, one, way) for one in lists]
    answer = 2 * max(map(len, lists)) if way == "listwise" else 1
    one_each = filled(name, spec, prompt, values, answer)
    calls = questions(config, [len(one) for one in lists])
    return Step(name, spec, calls, round(one_each.read * calls / len(lists)), calls * answer)


def _values(config: JudgingConfig, one: RankedList, way: str) -> dict[str, Any]:
    """What fills a question about a list: of its answers the first, or the first two, or all."""
    how = judging(config, "")
    texts = [text[: how.max_text_chars] for text in one.completions]
    common = {"criteria": how.criteria, "text": one.text[: how.max_text_chars], "demonstrations": []}
    if way == "pairwise":
        return {**common, "first": texts[0], "second": texts[1]}
    if way == "pointwise":
        return {**common, "answer": texts[0]}
    shown = [SimpleNamespace(code=code, text=text) for code, text in zip(CODES, texts, strict=False)]
    return {**common, "answers": shown}
