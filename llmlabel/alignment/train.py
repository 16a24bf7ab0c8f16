"""From ranked lists to a trained model in a folder, as often killed and begun again as need be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmlabel.alignment.finish import Trained, carry_out, check_installed, definition
from llmlabel.alignment.measures import changes, summary
from llmlabel.alignment.model_card import model_card
from llmlabel.config import AlignConfig
from llmlabel.lists import RankedList
from llmlabel.llm.ledger import default_cache
from llmlabel.llm.training import quiet

__all__ = ["Trained", "measure", "train"]

NEEDED = ("torch", "transformers", "accelerate", "peft")
DEFINING = (  # what only changes time, memory and rounding may change on resume: it is what one changes after running out
    "policy", "reference", "loss", "convention", "labels", "beta", "sft_weight", "lora", "lora_rank", "learning_rate", "epochs",
    "max_steps", "lists_per_step", "list_size", "max_prompt_tokens", "max_completion_tokens", "chat", "precision",
    "warmup_share", "max_grad_norm", "seed",
)  # fmt: skip


def train(
    lists: Sequence[RankedList],
    held_out: Sequence[RankedList],
    config: AlignConfig,
    folder: Path,
    *,
    policy: str | None = None,
    reference: str | None = None,
    cache: Path | None = None,
    card: Mapping[str, Any] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train a policy on ranked lists.

    `folder` gets model/, log.jsonl, held_out.jsonl (measures of each held-out list before and after), trained.json when all is
    done, and while it runs checkpoints/. Called again after a kill it goes on from the last whole checkpoint, and ends with the
    weights it would have had; called again when done it returns what is there.

    Args:
        policy, reference: instead of those in the settings. cache: directory for the reference's log-probabilities; default:
            the user's. card: what the model card should tell of the judge and the data. on_step: gets steps done, of how many.
    Raises: ConfigError for a missing package, a model or setting that does not fit, or too little memory; RunMismatch where the
        folder holds another training; DataError where no list teaches anything, or the loss is no longer a number.
    """
    check_installed(NEEDED)
    config = _named(config, policy, reference)
    what = definition(config, DEFINING, lists, held_out)

    def begin() -> Any:
        from llmlabel.alignment.training import Training

        return Training(lists, held_out, config, folder, (cache or default_cache()) / "reference")

    return carry_out(folder, what, begin, lambda told: model_card(config, what, told, card or {}), _in_quiet, on_step)


def measure(
    lists: Sequence[RankedList], config: AlignConfig, policy: str, reference: str | None = None, cache: Path | None = None
) -> dict[str, Any]:
    """A policy on ranked lists, without training.

    Returns: `reference`, `policy`: `measures.summary` of the lists; `change`: policy minus reference, list by list; `counts`,
        `dropped`: as of `Trained`.
    Raises: ConfigError and DataError as `train`.
    """
    check_installed(NEEDED)
    with _in_quiet():
        from llmlabel.alignment.scorer import measured

        looks, made = measured(lists, _named(config, policy, reference), (cache or default_cache()) / "reference")
    return {
        "reference": summary(looks.first, config.seed), "policy": summary(looks.last, config.seed),
        "change": changes(looks.first, looks.last, config.seed), "counts": made.counts, "dropped": made.dropped,
    }  # fmt: skip


def _named(config: AlignConfig, policy: str | None, reference: str | None) -> AlignConfig:
    """The settings with other models; a reference that is the policy is none of its own."""
    policy, reference = policy or config.policy, reference or config.reference
    return config.model_copy(update={"policy": policy, "reference": None if reference == policy else reference})


@contextmanager
def _in_quiet() -> Iterator[None]:
    """Libraries say nothing, and too little memory is told as settings that need less."""
    from llmlabel.alignment.policy import knobs_when_out_of_memory

    with quiet(), knobs_when_out_of_memory():
        yield
