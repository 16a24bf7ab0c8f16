"""What `llmlabel run align`, `align evaluate` and `run sample` will ask, and cost, before anything is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from llmlabel.flows.align import split
from llmlabel.flows.estimates.common import Step, chats, some, total
from llmlabel.flows.estimates.rank import judge_steps
from llmlabel.flows.steps.alignment.cycle import LIST_SIZE
from llmlabel.flows.steps.alignment.sampling import model_spec

from llmlabel.config import AlignConfig, EvaluateConfig, JudgingConfig, SampleConfig
from llmlabel.lists import RankedList, read_lists
from llmlabel.llm.specs import parse_spec

CHARACTERS = 4  # of a token, about: what an answer that is not written yet is taken to be


def estimate_align(config: AlignConfig) -> dict[str, Any]:
    """Questions to the judge by cycle, and of the win rate at the end; answers at their longest. Sampling is local and free."""
    lists, held_out = split(config, read_lists(config.data, id_column=config.id_column, broken=[]))
    steps: list[Step] = []
    if config.method == "cyclealign":
        lists = [_imagined(one, config.list_size or LIST_SIZE, config.max_completion_tokens) for one in (*lists, *held_out)]
        for number in range(1, config.cycles + 1):
            steps += judge_steps(config, lists, f"cycle {number}: judge")
    if config.llm.judge or config.llm.default:
        steps += win_rate_steps(config, held_out, config.max_completion_tokens)
    return {"lists": len(lists), "held_out": len(held_out), **total(steps, config)}


def estimate_evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Questions to the judge: each prompt's two answers in both orders."""
    lists = read_lists(config.data, id_column=config.id_column, broken=[])
    return {"lists": len(lists), **total(win_rate_steps(config, lists, config.max_completion_tokens), config)}


def estimate_sample(config: SampleConfig) -> dict[str, Any]:
    """Answers to be sampled, at their longest."""
    lists = read_lists(config.data, id_column=config.id_column, broken=[])[: config.most]
    spec = parse_spec(model_spec(config.policy, config.sampler))
    step = chats("sample", spec, [one.messages for one in some(lists)], len(lists), config.max_completion_tokens, config.samples)
    return {"prompts": len(lists), **total([step], config)}


def win_rate_steps(config: JudgingConfig, lists: Sequence[RankedList], tokens: int) -> Iterator[Step]:
    pairwise = config.model_copy(update={"judge_by": "pairwise", "orders": 2, "comparisons": None})
    return judge_steps(pairwise, [_imagined(one, 2, tokens) for one in lists], "evaluate: judge")


def _imagined(one: RankedList, size: int, tokens: int) -> RankedList:
    return replace(one, completions=("word " * (tokens * CHARACTERS // 5),) * size, scores=None, ranks=None, win_matrix=None)
