"""README.md of a trained model: what it was trained on, how, by whose judgement, and what was measured."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from llmlabel.alignment.measures import SHOWN
from llmlabel.config import AlignConfig, TrainingConfig

PAPERS = {
    "lambda": ("LiPO", "2402.01878"), "lambda-2": ("LambdaLoss", None), "list-mle": ("DPO with Plackett-Luce", "2305.18290"),
    "pair-logistic": ("DPO over all pairs", "2305.18290"), "pair-hinge": ("SLiC", "2305.10425"), "rrhf": ("RRHF", "2304.05302"),
    "pro": ("PRO", "2306.17492"),
}  # fmt: skip
STATUS = (
    "These weights come from one run with the settings above; nothing of any paper's tables is reproduced here. Claims go no "
    "further than the table of measures. On one CPU thread the same settings, data and versions give the same weights."
)
COUNTED = {
    "lists": "lists trained on", "answers": "answers in them", "lists_dropped": "lists left out, since they teach nothing",
    "prompts_cut": "prompts cut at their beginning", "answers_cut": "answers cut at their end",
    "answers_twice": "answers left out, the same text as another", "answers_empty": "answers left out, empty",
    "answers_unlabelled": "answers left out, no label", "answers_left_out": "answers left out, list too long",
    "prompt_not_prefix": "prompts whose tokens do not begin those of the whole text",
    "special_tokens": "texts that spell a special token, taken as letters", "held_out_lists": "held-out lists measured",
    "held_out_answers_cut": "held-out answers cut",
}  # fmt: skip


def model_card(config: AlignConfig, what: Mapping[str, Any], told: Mapping[str, Any], card: Mapping[str, Any]) -> str:
    """A model card in Markdown.

    Args:
        what: what defines the training (with hashes of the lists). told: what trained.json tells. card: what the caller knows of
            the judge and the data: any names; values are texts, numbers, or objects of them.
    """
    facts = told["facts"]
    paper, arxiv = PAPERS.get(config.loss.partition(":")[0], ("", None))
    parts = [
        front(config, facts, "preference-optimization", "listwise", config.loss),
        f"# {safe(facts['policy'])}, trained on ranked lists",
        f"Trained by llmlabel on lists of ranked answers with the loss `{code(config.loss)}`"
        + (f" ({paper}{f', arXiv {arxiv}' if arxiv else ''})" if paper else "")
        + ".",
        "## Data and judge",
        table(("", ""), [("hash of the lists", what["lists"]), ("hash of the held-out lists", what["held_out"]), *flat(card)]),
        table(("counted", "number"), [(name, told["counts"].get(key, 0)) for key, name in COUNTED.items()]),
        "Answers in a list: " + ", ".join(f"{k} ({n} lists)" for k, n in facts["answers_per_list"].items()) + ".",
        "## Training",
        table(("setting", "value"), _settings(config, told)),
        "## Measured",
        _measures(told),
        "## Reproduction status",
        STATUS,
    ]
    return "\n\n".join(parts) + "\n"


def safe(text: Any) -> str:
    """A value as one line of text that Markdown and HTML take for nothing else."""
    line = " ".join(str(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~:@$-])", r"\\\1", line)


def code(text: Any) -> str:
    """A value inside a code span of a table: no backtick, no bar, no line of its own."""
    return " ".join(str(text).split()).replace("`", "'").replace("|", "/").replace("<", "‹").replace(">", "›")


def front(config: TrainingConfig, facts: Mapping[str, Any], *tags: str) -> str:
    """What the hub reads of a card."""
    base = config.policy if re.fullmatch(r"[\w.-]+/[\w.-]+", config.policy) else facts["policy"]
    values = {
        "library_name": "transformers", "pipeline_tag": "text-generation", "base_model": str(base),
        "tags": ["llmlabel", *tags, *(["lora"] if config.lora else [])],
    }  # fmt: skip
    return "---\n" + yaml.safe_dump(values, sort_keys=False) + "---"


def published(model: str) -> str:
    """A model's id, or its folder's name: where it lies on a disk is nobody else's business."""
    return Path(model).name if Path(model).is_dir() else model


def _settings(config: AlignConfig, told: Mapping[str, Any]) -> list[tuple[str, Any]]:
    facts = told["facts"]
    chosen = (
        "loss", "convention", "beta", "sft_weight", "labels", "epochs", "max_steps", "lists_per_step", "warmup_share",
        "max_grad_norm", "list_size", "max_prompt_tokens", "max_completion_tokens", "chat", "seed",
    )  # fmt: skip
    return [
        ("reference", published(config.reference) if config.reference else "the policy before training"),
        *shared_settings(config, told, chosen), ("prompts computed", f"{facts['path']}: {facts['path_why']}"),
    ]  # fmt: skip


def shared_settings(config: TrainingConfig, told: Mapping[str, Any], chosen: Iterable[str]) -> list[tuple[str, Any]]:
    """What every training's card tells of its settings; `chosen`: names of more."""
    facts = told["facts"]
    return [
        ("policy", published(config.policy)), ("revision of its weights", facts["revision"]),
        ("adapters", f"LoRA, rank {config.lora_rank}, alpha {2 * config.lora_rank}" if config.lora else "none, all weights"),
        ("trained parameters", facts["parameters"]), ("learning rate", f"{facts['learning_rate']:g}, linear decay, AdamW"),
        *((name, getattr(config, name)) for name in chosen), ("steps", told["steps"]), ("seconds", told["seconds"]),
        ("precision", facts["precision"]),
        ("versions", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())),
    ]  # fmt: skip


def _measures(told: Mapping[str, Any]) -> str:
    first, last, change = told["first"], told["last"], told["change"]
    if not first:
        return "Nothing was held out, so nothing was measured."
    rows = [
        (name, with_interval(first, key), with_interval(last, key), with_interval(change, key))
        for key, name in SHOWN.items()
        if key in first
    ]
    head = (
        f"{first['lists']} held-out lists; 95 % bootstrap intervals over lists. The policy did not write these answers, so the "
    )
    return f"{head}log-ratio is no KL divergence.\n\n" + table(("measure", "before", "after", "after - before"), rows)


def with_interval(summary: Mapping[str, Any], key: str) -> str:
    low, high = summary.get(f"{key}_interval", (None, None))
    return f"{summary[key]:.4g}" + (f" ({low:.4g} to {high:.4g})" if low is not None else "")


def flat(values: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    """Objects in objects as `name, name`; lists as JSON."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}, ")
        elif value is not None:
            yield f"{before}{name}", json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple) else value


def table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [head, tuple("---" for _ in head)]
    shown = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([*shown, *("| " + " | ".join(map(safe, row)) + " |" for row in rows)])
