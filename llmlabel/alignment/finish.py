"""A training in a folder that is done once: begun, killed, begun again, and read back when it is done."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmlabel.alignment.measures import read_lines
from llmlabel.config import TrainingConfig
from llmlabel.errors import ConfigError, RunMismatch
from llmlabel.lists import RankedList, as_examples
from llmlabel.runs import read_json, write_atomic, write_json

if TYPE_CHECKING:
    from llmlabel.alignment.base_training import BaseTraining

BEGUN, DONE = "training.json", "trained.json"
OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class Trained:
    """A finished training.

    `model`: a folder as transformers saves it; with adapters the merged model, the adapters alone in `model/adapter`.
    `history`: the lines of log.jsonl. `first`, `last`: measures of the held-out data before and after, empty without any;
    `change`: after minus before, one by one. `dropped`: {id, reason} of what is not trained on. `counts`: what was cut and left
    out. `facts`: what it ran with (revision, learning rate, versions).
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


def check_installed(needed: Iterable[str]) -> None:
    """Raises: ConfigError that says what is missing."""
    if lacking := [name for name in needed if find_spec(name) is None]:
        raise ConfigError(f"training needs {', '.join(lacking)}: pip install 'llmlabel[align]'")


def definition(
    config: TrainingConfig, names: Iterable[str], lists: Sequence[RankedList], held_out: Sequence[RankedList]
) -> dict[str, Any]:
    """What defines a training: some settings and hashes of its data."""
    values = config.model_dump(mode="json")
    return {name: values[name] for name in names} | {"lists": _hash(lists), "held_out": _hash(held_out)}


def _hash(lists: Sequence[RankedList]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for one in as_examples(lists):
        digest.update(f"{len(one.id)}:{one.id}{len(one.text)}:{one.text}".encode("utf-8", "replace"))
    return digest.hexdigest()


def carry_out(
    folder: Path, what: Mapping[str, Any], begin: Callable[[], BaseTraining], card: Callable[[Mapping[str, Any]], str],
    around: Callable[[], AbstractContextManager[Any]], on_step: OnStep | None,
) -> Trained:  # fmt: skip
    """Train into a folder, or read back what is there.

    Args:
        what: what defines the training. begin: loads the model and the data. card: the model card of what trained.json tells.
            around: what the work is done within.
    Raises: RunMismatch where the folder holds another training.
    """
    done = finished(folder, what)
    if done is None:
        with around():
            _train(folder, what, begin, card, on_step)
        done = finished(folder, what)
        assert done is not None
    return done


def finished(folder: Path, what: Mapping[str, Any]) -> Trained | None:
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
    folder: Path, what: Mapping[str, Any], begin: Callable[[], BaseTraining], card: Callable[[Mapping[str, Any]], str],
    on_step: OnStep | None,
) -> None:  # fmt: skip
    training = begin()
    write_json(folder / BEGUN, {"what": what})
    steps = training.steps(on_step)
    part = folder / "model.part"
    shutil.rmtree(part, ignore_errors=True)
    training.save(part)
    if training.trainer.is_world_process_zero():
        told = _told(training, steps)
        write_atomic(part / "README.md", card(told))
        shutil.rmtree(folder / "model", ignore_errors=True)
        part.replace(folder / "model")
        write_json(folder / DONE, {"what": what} | told)
        training.clean()
    training.trainer.accelerator.wait_for_everyone()


def _told(training: BaseTraining, steps: int) -> dict[str, Any]:
    """What trained.json tells; the held-out data's own measures go to a file beside it."""
    looks = training.looks
    lines = [{"id": name, "first": a, "last": b} for name, a, b in zip(looks.ids, looks.first, looks.last, strict=True)]
    write_atomic(training.folder / "held_out.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    return {
        "steps": steps,
        "seconds": round(training.log.seconds, 3),
        "first": training.summary(looks.first),
        "last": training.summary(looks.last),
        "change": training.changes(),
        "dropped": training.dropped,
        "counts": training.counts,
        "facts": training.facts,
    }
