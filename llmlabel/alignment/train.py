"""From ranked lists to a trained model in a folder, as often killed and begun again as need be."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmlabel.alignment.measures import changes, read_lines, summary
from llmlabel.alignment.model_card import model_card
from llmlabel.config import AlignConfig
from llmlabel.errors import ConfigError, RunMismatch
from llmlabel.lists import RankedList, as_examples
from llmlabel.llm.ledger import default_cache
from llmlabel.llm.training import quiet
from llmlabel.runs import read_json, write_atomic, write_json

if TYPE_CHECKING:
    from llmlabel.alignment.training import Training

NEEDED = ("torch", "transformers", "accelerate", "peft")
BEGUN, DONE = "training.json", "trained.json"
DEFINING = (  # what only changes time, memory and rounding may change on resume: it is what one changes after running out
    "policy", "reference", "loss", "convention", "labels", "beta", "sft_weight", "lora", "lora_rank", "learning_rate", "epochs",
    "max_steps", "lists_per_step", "list_size", "max_prompt_tokens", "max_completion_tokens", "chat", "precision",
    "warmup_share", "max_grad_norm", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """A finished training.

    `model`: a folder as transformers saves it; with adapters the merged model, the adapters alone in `model/adapter`.
    `history`: the lines of log.jsonl. `first`, `last`: measures of the held-out lists before and after (see
    `measures.summary`), empty without any; `change`: after minus before, list by list. `dropped`: {id, reason} of lists that
    teach nothing. `counts`: what was cut and left out. `facts`: what it ran with (revision, path, learning rate, versions).
    """

    model: Path
    steps: int
    seconds: float
    history: list[dict[str, Any]]
    first: dict[str, Any]
    last: dict[str, Any]
    change: dict[str, Any]
    dropped: list[dict[str, str]]
    counts: dict[str, int]
    facts: dict[str, Any]


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
    _check_installed()
    config = _named(config, policy, reference)
    what = _definition(lists, held_out, config)
    done = _finished(folder, what)
    if done is None:
        with quiet():
            _train(lists, held_out, config, folder, cache or default_cache(), what, card or {}, on_step)
        done = _finished(folder, what)
        assert done is not None
    return done


def measure(
    lists: Sequence[RankedList], config: AlignConfig, policy: str, reference: str | None = None, cache: Path | None = None
) -> dict[str, Any]:
    """A policy on ranked lists, without training.

    Returns: `reference`, `policy`: `measures.summary` of the lists; `change`: policy minus reference, list by list; `counts`,
        `dropped`: as of `Trained`.
    Raises: ConfigError and DataError as `train`.
    """
    _check_installed()
    with quiet():
        from llmlabel.alignment.policy import knobs_when_out_of_memory
        from llmlabel.alignment.scorer import measured

        with knobs_when_out_of_memory():
            looks, made = measured(lists, _named(config, policy, reference), (cache or default_cache()) / "reference")
    return {
        "reference": summary(looks.first, config.seed), "policy": summary(looks.last, config.seed),
        "change": changes(looks.first, looks.last, config.seed), "counts": made.counts, "dropped": made.dropped,
    }  # fmt: skip


def _check_installed() -> None:
    if lacking := [name for name in NEEDED if find_spec(name) is None]:
        raise ConfigError(f"training needs {', '.join(lacking)}: pip install 'llmlabel[align]'")


def _named(config: AlignConfig, policy: str | None, reference: str | None) -> AlignConfig:
    """The settings with other models; a reference that is the policy is none of its own."""
    policy, reference = policy or config.policy, reference or config.reference
    return config.model_copy(update={"policy": policy, "reference": None if reference == policy else reference})


def _definition(lists: Sequence[RankedList], held_out: Sequence[RankedList], config: AlignConfig) -> dict[str, Any]:
    values = config.model_dump(mode="json")
    return {name: values[name] for name in DEFINING} | {"lists": _hash(lists), "held_out": _hash(held_out)}


def _hash(lists: Sequence[RankedList]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for one in as_examples(lists):
        digest.update(f"{len(one.id)}:{one.id}{len(one.text)}:{one.text}".encode("utf-8", "replace"))
    return digest.hexdigest()


def _finished(folder: Path, what: Mapping[str, Any]) -> Trained | None:
    """What a folder holds; None where the training is not finished. Raises: RunMismatch for another training."""
    for name in (BEGUN, DONE):
        told: dict[str, Any] = read_json(folder / name) if (folder / name).exists() else {"what": what}
        if differing := [key for key, value in what.items() if told["what"].get(key) != value]:
            raise RunMismatch(f"{folder} holds another training: {', '.join(differing)} differ. Name another folder")
        if name == DONE and len(told) > 1:
            fields = {key: value for key, value in told.items() if key != "what"}
            return Trained(model=folder / "model", history=read_lines(folder / "log.jsonl"), **fields)
    return None


def _train(
    lists: Sequence[RankedList],
    held_out: Sequence[RankedList],
    config: AlignConfig,
    folder: Path,
    cache: Path,
    what: Mapping[str, Any],
    card: Mapping[str, Any],
    on_step: Callable[[int, int], None] | None,
) -> None:
    from llmlabel.alignment.policy import knobs_when_out_of_memory
    from llmlabel.alignment.training import Training

    with knobs_when_out_of_memory():
        training = Training(lists, held_out, config, folder, cache / "reference")
        write_json(folder / BEGUN, {"what": what})
        steps = training.steps(on_step)
        part = folder / "model.part"
        shutil.rmtree(part, ignore_errors=True)
        training.save(part)
    if training.trainer.is_world_process_zero():
        told = _told(training, steps)
        write_atomic(part / "README.md", model_card(config, what, told, card))
        shutil.rmtree(folder / "model", ignore_errors=True)
        part.replace(folder / "model")
        write_json(folder / DONE, {"what": what} | told)
        training.clean()
    training.trainer.accelerator.wait_for_everyone()


def _told(training: Training, steps: int) -> dict[str, Any]:
    """What trained.json tells; the held-out lists' own measures go to a file beside it."""
    looks, seed = training.looks, training.config.seed
    lines = [{"id": name, "first": a, "last": b} for name, a, b in zip(looks.ids, looks.first, looks.last, strict=True)]
    write_atomic(training.folder / "held_out.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    return {
        "steps": steps,
        "seconds": round(training.log.seconds, 3),
        "first": summary(looks.first, seed),
        "last": summary(looks.last, seed),
        "change": changes(looks.first, looks.last, seed),
        "dropped": training.dropped,
        "counts": training.counts,
        "facts": training.facts,
    }
