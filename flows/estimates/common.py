"""What a run will ask and cost, before it asks anything: filled prompts, counted in tokens, and answers at their typical length.

Not in it: second tries after unusable answers, retries after lost ones, and schemas, which some providers count as prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar

from llmlabel.annotation.annotators.classify import CODES, MOST_LABELS
from llmlabel.annotation.asking import NONE
from llmlabel.config import CommonConfig
from llmlabel.llm.ledger import NANO
from llmlabel.llm.prices import Prices
from llmlabel.llm.specs import Spec, parse_spec
from llmlabel.llm.tokens import count_tokens, own_tokenizer
from llmlabel.prompting import Prompt
from llmlabel.records import Label

T = TypeVar("T")
LOOKED_AT = 100  # texts a mean is taken of
MARKS = 4  # tokens a chat template adds to each message


@dataclass
class Step:
    """Requests of one step to one model: how many, and the tokens they read and write together."""

    name: str
    spec: Spec
    calls: int
    read: int
    wrote: int


def total(steps: Iterable[Step], config: CommonConfig) -> dict[str, Any]:
    """Calls, tokens and US dollars by step and together. Money is None where no table knows a model's price."""
    prices, asked = Prices(config.prices), [step for step in steps if step.calls]
    rows = [_row(step, config, prices) for step in asked]
    sums = {key: sum(row[key] for row in rows) for key in ("calls", "prompt_tokens", "completion_tokens")}
    own = own_tokenizer(asked[-1].spec if asked else parse_spec(config.llm.spec("label")))
    return {
        "steps": rows, **sums,
        "money": None if any(row["money"] is None for row in rows) else sum(row["money"] for row in rows),
        "prices": prices.version + (", batch jobs" if config.batch else ""),
        "counted_by": "the model's own tokenizer" if own else "estimate from words and scripts",
    }  # fmt: skip


def _row(step: Step, config: CommonConfig, prices: Prices) -> dict[str, Any]:
    price = prices.of_spec(step.spec)
    money = price.nano(step.read, step.wrote, batch=config.batch) / NANO if price.known else None
    return {"step": step.name, "model": str(step.spec), "calls": step.calls, "prompt_tokens": step.read,
            "completion_tokens": step.wrote, "money": money}  # fmt: skip


def filled(name: str, spec: Spec, prompt: Prompt, values: Sequence[Mapping[str, Any]], answer: int, times: int = 1) -> Step:
    """A step that fills its prompt once for each of `values`, and asks `times` times; a long list is looked at in part.

    Args:
        answer: tokens of one answer.
    """
    if not values:
        return Step(name, spec, 0, 0, 0)
    return chats(name, spec, [prompt.render(**one) for one in some(values)], len(values), answer, times)


def some(values: Sequence[T]) -> Sequence[T]:
    """Those a mean is taken of: all, or some spread over a long list."""
    return values[:: -(-len(values) // LOOKED_AT)]


def chats(name: str, spec: Spec, looked: Sequence[Sequence[Mapping[str, str]]], many: int, answer: int, times: int = 1) -> Step:
    """A step that asks `many` chats, `times` times each; `looked`: some of them, that stand for all."""
    messages = [message["content"] for chat in looked for message in chat]
    read = (count_tokens(messages, spec) + MARKS * len(messages)) * many / len(looked)
    return Step(name, spec, times * many, times * round(read), times * many * answer)


def label_table(labels: Sequence[Label]) -> list[SimpleNamespace]:
    """Labels as a question shows them."""
    codes = zip(CODES, [*labels[:MOST_LABELS], NONE], strict=False)
    return [SimpleNamespace(code=code, name=label.name, description=label.description) for code, label in codes]
