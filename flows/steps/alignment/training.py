"""A training of a flow: in this process or in a launcher's, what it is measured on, and what the run tells of it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmlabel.flows.running.common import Desk

from llmlabel.config import SftConfig, TrainingConfig
from llmlabel.data import fingerprint
from llmlabel.lists import RankedList
from llmlabel.records import fold


def split_by_prompt(config: TrainingConfig, lists: Sequence[RankedList]) -> tuple[list[RankedList], list[RankedList]]:
    """Lists to train on, and a share of the prompts to measure on; lists of the same prompt stay together."""
    prompts = sorted({fold(one.text) for one in lists})
    random.Random(f"{config.seed}/held-out").shuffle(prompts)
    most = round(config.held_out_share * len(prompts))
    apart = set(prompts[: min(max(most, 1), len(prompts) - 1)] if config.held_out_share else [])
    return [one for one in lists if fold(one.text) not in apart], [one for one in lists if fold(one.text) in apart]


def trained(
    work: Desk, lists: Sequence[RankedList], held_out: Sequence[RankedList], folder: Path, name: str, card: Mapping[str, Any],
    **models: str,
) -> Any:  # fmt: skip
    """A training in a folder, in this process or in those of a launcher.

    Args:
        name: of the step. card: what the model card tells besides. models: `policy`, `reference`, if not the settings' own.
    """
    config = work.config
    card = {"data": config.title, "data_hash": fingerprint(work.examples), **card}
    if config.launcher:
        from llmlabel.alignment.launch import launch

        more = models if isinstance(config, SftConfig) else {**models, "cache": config.cache}
        return launch(config.launcher, lists, held_out, config, folder, card=card, **more)

    def on_step(done: int, of: int) -> None:
        work.follow(name, done, of)

    if isinstance(config, SftConfig):
        from llmlabel.alignment import sft

        return sft.train(lists, held_out, config, folder, card=card, on_step=on_step)
    from llmlabel.alignment.train import train

    return train(lists, held_out, config, folder, cache=config.cache, card=card, on_step=on_step, **models)


def told(trained: Any) -> dict[str, Any]:
    """A training as metrics.json has it: held-out measures of the policy and of the reference it started from."""
    return {
        "model": str(trained.model), "scores": {"policy": trained.last, "reference": trained.first}, "change": trained.change,
        "training": {"steps": trained.steps, "seconds": trained.seconds, **trained.facts}, "dropped": trained.dropped,
        "counts": trained.counts,
    }  # fmt: skip
