"""What a run will ask and cost, before it asks anything: counted from the filled prompts, answers at their typical length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmlabel.config import TaxonomyConfig
from llmlabel.data import read_examples
from llmlabel.llm.ledger import NANO
from llmlabel.llm.prices import Prices
from llmlabel.llm.specs import parse_spec
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example
from llmlabel.taxonomy.induce import sample
from llmlabel.taxonomy.names import words
from llmlabel.taxonomy.settings import PROMPTS
from llmlabel.taxonomy.summarise import SHORT

CHARS_PER_TOKEN = 4.0
TOKENS = {"summarise": 30, "chain": 1200, "choose": 80, "name": 50, "label": 3, "judge": 10}  # of a typical answer
JUDGED = 200


def estimate_taxonomy(config: TaxonomyConfig) -> dict[str, Any]:
    """Calls, tokens and US dollars by step; an upper estimate where `auto` has not decided yet (it takes the chain).

    Money is None where no table knows the model's price.
    """
    examples = read_examples(config.data, text_column=config.text_column, id_column=config.id_column)
    chosen = sample(examples, config.induce_on, config.seed)
    steps = _steps(config, chosen, len([e for e in examples if e.text.strip()]))
    prices, rows = Prices(config.prices), list[dict[str, Any]]()
    total: dict[str, int] = {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0}
    money: float | None = 0.0
    for name, role, calls, chars, answer in steps:
        prompt_tokens, completion_tokens = int(chars / CHARS_PER_TOKEN), calls * answer
        price = prices.of_spec(parse_spec(config.llm.spec(role)))
        cost = price.nano(prompt_tokens, completion_tokens) / NANO if price.known else None
        money = None if money is None or cost is None else money + cost
        row: dict[str, Any] = {"step": name, "model": str(parse_spec(config.llm.spec(role))), "calls": calls,
               "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "money": cost}  # fmt: skip
        rows.append(row)
        for key in total:
            total[key] += row[key]
    return {
        "rows": len(examples),
        "induced_on": len(chosen),
        "steps": rows,
        **total,
        "money": money,
        "prices": prices.version,
    }


def _steps(config: TaxonomyConfig, chosen: Sequence[Example], full: int) -> list[tuple[str, str, int, int, int]]:
    """(step, role, calls, characters of all prompts, tokens of an answer)."""
    library, texts = PromptLibrary(config.prompts), [e.text[: config.max_text_chars] for e in chosen]
    own = {name: sum(len(body) for _, body in library.get(i).sections) for name, i in PROMPTS.items()}
    long = [t for t in texts if len(words(t)) > SHORT * config.summary_words]
    short_chars = sum(min(len(t), 8 * config.summary_words) for t in texts)
    table = config.max_labels * (8 * config.name_words + 4 * config.description_words)
    label_calls = min(config.label_with_llm, full)
    mean = sum(map(len, texts)) / max(len(texts), 1)
    steps = [("summarise", "summarise", len(long), len(long) * own["summarise"] + sum(map(len, long)), TOKENS["summarise"])]
    if config.taxonomy or config.from_run:
        steps = []
    elif config.method == "cluster":
        steps.append(("name", "name", config.max_labels, config.max_labels * int(own["name"] + 16 * mean), TOKENS["name"]))
    else:
        batches = -(-len(texts) // config.batch_size)
        chars = (batches + 1) * (own["update"] + table) + short_chars
        steps.append(("chains", "update", config.chains * (batches + 1), config.chains * chars, TOKENS["chain"]))
        steps.append(
            (
                "choose",
                "choose",
                3,
                3 * (own["choose"] + config.chains * table + 100 * 8 * config.summary_words),
                TOKENS["choose"],
            )
        )
    steps.append(("label", "label", label_calls, int(label_calls * (900 + table + mean)), TOKENS["label"]))
    judged = min(JUDGED, 2 * full) + config.max_labels
    steps.append(("judge", "judge", judged, int(judged * (700 + mean)), TOKENS["judge"]))
    return steps
