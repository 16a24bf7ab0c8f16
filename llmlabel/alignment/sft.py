"""Supervised fine-tuning: from prompts with one good answer each to a trained model in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmlabel.alignment.finish import OnStep, Trained, carry_out, check_installed, definition
from llmlabel.alignment.sft_card import sft_card
from llmlabel.config import SftConfig
from llmlabel.lists import RankedList
from llmlabel.llm.training import quiet

NEEDED = ("torch", "transformers", "accelerate", "peft", "trl", "datasets")
DEFINING = (
    "policy", "lora", "lora_rank", "learning_rate", "epochs", "max_steps", "rows_per_step", "max_tokens", "precision",
    "warmup_share", "max_grad_norm", "seed",
)  # fmt: skip


def train(
    rows: Sequence[RankedList], held_out: Sequence[RankedList], config: SftConfig, folder: Path, *,
    card: Mapping[str, Any] | None = None, on_step: OnStep | None = None,
) -> Trained:  # fmt: skip
    """Fine-tune a policy on rows with TRL's SFTTrainer: AdamW on the answers' tokens only, all tokens of a step weigh the same.

    `folder` gets what `alignment.train.train` leaves, and goes on after a kill as that does. The same seed gives the same
    weights on one CPU thread.

    Args:
        rows, held_out: of one answer each, see `sft_rows.read_rows`. card: what the model card should tell of the data.
            on_step: gets steps done, of how many.
    Raises: ConfigError for a missing package, a model or setting that does not fit, or too little memory; RunMismatch where the
        folder holds another training; DataError where no row is short enough, or the loss is no longer a number.
    """
    check_installed(NEEDED)
    what = definition(config, DEFINING, rows, held_out)

    def begin() -> Any:
        from llmlabel.alignment.sft_training import SftTraining

        return SftTraining(rows, held_out, config, folder)

    return carry_out(folder, what, begin, lambda told: sft_card(config, what, told, card or {}), _in_quiet, on_step)


@contextmanager
def _in_quiet() -> Iterator[None]:
    """Libraries say nothing, here or over the network; too little memory is told as settings that need less."""
    import datasets
    from huggingface_hub import constants

    from llmlabel.alignment.policy import knobs_when_out_of_memory
    from llmlabel.alignment.sft_training import KNOBS

    constants.HF_HUB_DISABLE_TELEMETRY = True  # TRL tells the hub of every training
    datasets.disable_progress_bars()
    with quiet(), knobs_when_out_of_memory(KNOBS):
        yield
