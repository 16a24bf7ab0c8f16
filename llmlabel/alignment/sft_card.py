"""README.md of a fine-tuned model: what it was trained on, how, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmlabel.alignment.model_card import STATUS, flat, front, safe, shared_settings, table, with_interval
from llmlabel.config import SftConfig

CHOSEN = ("epochs", "max_steps", "rows_per_step", "warmup_share", "max_grad_norm", "max_tokens", "seed")
COUNTED = {
    "rows": "rows trained on", "tokens": "tokens of their answers", "rows_dropped": "rows left out",
    "rows_too_long": "of these, longer than max_tokens or the model's context",
    "prompt_not_prefix": "prompts whose tokens do not begin those of the whole text",
    "special_tokens": "texts that spell a special token, taken as letters", "held_out_rows": "held-out rows measured",
}  # fmt: skip


def sft_card(config: SftConfig, what: Mapping[str, Any], told: Mapping[str, Any], card: Mapping[str, Any]) -> str:
    """A model card in Markdown; arguments as of `model_card.model_card`."""
    data = [("hash of the rows", what["lists"]), ("hash of the held-out rows", what["held_out"]), *flat(card)]
    parts = [
        front(config, told["facts"], "sft"),
        f"# {safe(told['facts']['policy'])}, fine-tuned",
        "Trained by llmlabel with TRL's SFTTrainer on prompts with one answer each; only the answers' tokens are learnt.",
        "## Data",
        table(("", ""), data),
        table(("counted", "number"), [(name, told["counts"].get(key, 0)) for key, name in COUNTED.items()]),
        "## Training",
        table(("setting", "value"), shared_settings(config, told, CHOSEN)),
        "## Measured",
        _measures(told),
        "## Reproduction status",
        STATUS,
    ]
    return "\n\n".join(parts) + "\n"


def _measures(told: Mapping[str, Any]) -> str:
    first, last, change = told["first"], told["last"], told["change"]
    if not first:
        return "Nothing was held out, so nothing was measured."
    row = ("loss, nats per token of the answers", *(with_interval(found, "loss") for found in (first, last, change)))
    head = f"{first['rows']} held-out rows of {first['prompts']} prompts; 95 % bootstrap intervals over prompts."
    return f"{head}\n\n" + table(("measure", "before", "after", "after - before"), [row])
