"""How much `llmlabel run sft` will train: rows, tokens, steps. No model is asked, so it costs no money."""

from __future__ import annotations

import math
from typing import Any

from llmlabel.flows.steps.alignment.training import split_by_prompt

from llmlabel.alignment.sft_rows import read_rows
from llmlabel.config import SftConfig

CHARACTERS = 4  # of a token, about: the model's tokenizer is not loaded for this


def estimate_sft(config: SftConfig) -> dict[str, Any]:
    """Rows, tokens of prompts and answers (by their characters), and steps of the optimiser, over all epochs."""
    found, broken = read_rows(config.data, id_column=config.id_column)
    rows, held_out = split_by_prompt(config, found)
    tokens = sum(len(one.text) + len(one.completions[0]) for one in rows) // CHARACTERS
    steps = max(1, math.ceil(math.ceil(len(rows) / config.rows_per_step) * config.epochs))
    steps = min(steps, config.max_steps or steps)
    return {
        "steps": [], "rows": len(rows), "held_out": len(held_out), "rows_broken": len(broken), "tokens": tokens,
        "optimiser_steps": steps, "tokens_in_all": round(tokens * steps * config.rows_per_step / len(rows)), "money": 0.0,
        "counted_by": f"{CHARACTERS} characters a token",
    }  # fmt: skip
