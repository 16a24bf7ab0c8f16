"""The pilot of a selection: the target trained on each of two strategies' answers, tested, and compared.

A training and its test are one step of the run. A killed run goes on at the very step of the training; a trained model is not
trained again, and what it has answered is in the ledger.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmlabel.flows.steps.alignment.right_answers import tested

from llmlabel.alignment.finish import DONE, Trained
from llmlabel.alignment.sft import train
from llmlabel.alignment.sft_rows import as_row
from llmlabel.config import SftConfig
from llmlabel.events import emit
from llmlabel.records import Taxonomy
from llmlabel.selection import sft
from llmlabel.selection.answers import Question
from llmlabel.selection.pilot import compare
from llmlabel.selection.sft import Pair
from llmlabel.selection.target import weights_of

if TYPE_CHECKING:
    from llmlabel.flows.steps.selection.work import Work


def pilot(
    work: Work, names: tuple[str, str], learn: Mapping[str, Sequence[Pair]], tests: Sequence[Question],
    taxonomy: Taxonomy | None,
) -> dict[str, Any]:  # fmt: skip
    """Trains the target on two strategies' answers, several seeds each, and lets every trained model answer the tests.

    Args:
        names: the two, the better one by score first. learn: whole answers by strategy, with their questions. tests: questions
            with gold, apart from those learnt from.
    Returns: strategies, seeds, tests (how many), accuracy {name: one per seed}, untrained (accuracy of the target as it is),
        examples {name: rows learnt from}, left_out {name: rows too long}, failed (answers that were errors, counted as wrong),
        trainings {name: steps, seconds and losses per seed}, and what `pilot.compare` returns.
    Raises: ConfigError where the target has no weights here, and as `alignment.sft.train`.
    """
    spec = weights_spec(work.config.target)
    found = {name: _trainings(work, k, name, learn[name], tests, taxonomy) for k, name in enumerate(names)}
    untrained = work.folder.step("pilot-untrained", lambda: _tested(work, spec, tests, taxonomy, "pilot: untrained"))
    correct = {name: [one["correct"] for one in each] for name, each in found.items()}
    failed = sum(one["failed"] for each in (*found.values(), [untrained]) for one in each)
    if failed:
        emit("note", text=f"pilot: {failed} answers to test prompts failed and count as wrong")
    return {
        "strategies": list(names), "seeds": work.config.pilot_seeds, "tests": len(tests),
        "accuracy": {name: [_share(verdicts) for verdicts in each] for name, each in correct.items()},
        "untrained": _share(untrained["correct"]), "examples": {name: each[0]["rows"] for name, each in found.items()},
        "left_out": {name: each[0]["left_out"] for name, each in found.items()}, "failed": failed,
        "trainings": {
            name: [{key: one[key] for key in ("seed", "steps", "seconds", "first_loss", "last_loss")} for one in each]
            for name, each in found.items()
        },
        **compare(correct, work.config.seed),
    }  # fmt: skip


def _trainings(
    work: Work, number: int, name: str, pairs: Sequence[Pair], tests: Sequence[Question], taxonomy: Taxonomy | None
) -> list[dict[str, Any]]:
    """Of one strategy, a seed each; with the verdicts on their answers."""
    rows, seeds = list(sft.rows(pairs)), range(work.config.seed, work.config.seed + work.config.pilot_seeds)
    return [
        work.folder.step(f"pilot-{number}-{seed}", partial(_one, work, number, name, seed, rows, tests, taxonomy))
        for seed in seeds
    ]


def _one(
    work: Work, number: int, name: str, seed: int, rows: Sequence[Mapping[str, Any]], tests: Sequence[Question],
    taxonomy: Taxonomy | None,
) -> dict[str, Any]:  # fmt: skip
    config, step = work.config, f"pilot: {name}, seed {seed}"
    folder = work.folder.path / "pilot" / f"{number}-{seed}"
    work.models.unload()
    trained = learn_from(
        rows, folder, config.target, seed=seed, epochs=config.pilot_epochs, learning_rate=config.learning_rate,
        lora_rank=config.lora_rank, on_step=lambda done, of: work.follow(f"{step}, training", done, of),
    )  # fmt: skip
    gc.collect()  # trainers hold themselves
    tested = _tested(work, f"embedded:{trained.model.resolve()}", tests, taxonomy, f"{step}, test")
    _keep_adapter(folder)
    losses = [line["loss"] for line in trained.history if "loss" in line]
    return {
        "strategy": name, "seed": seed, "rows": trained.counts["rows"], "left_out": trained.counts["rows_dropped"],
        "steps": trained.steps, "seconds": trained.seconds, "first_loss": losses[0], "last_loss": losses[-1], **tested,
    }  # fmt: skip


def learn_from(
    rows: Sequence[Mapping[str, Any]], folder: Path, target: str, *, seed: int, epochs: float = 3.0,
    learning_rate: float = 2e-4, lora_rank: int = 8, batch: int = 8, max_tokens: int = 2048,
    on_step: Callable[[int, int], None] | None = None,
) -> Trained:  # fmt: skip
    """Train adapters of a target on rows of `sft.rows`, and merge them into `folder/model`.

    The learning rate falls from the first step on: a warm-up would waste the first of few. Raises: as `alignment.sft.train`.
    """
    settings = {
        "data": "-", "out": folder, "policy": weights_spec(target), "lora": True, "lora_rank": lora_rank, "seed": seed,
        "learning_rate": learning_rate, "epochs": epochs, "rows_per_step": batch, "rows_at_once": batch, "warmup_share": 0,
        "max_tokens": max_tokens, "held_out_share": 0,
    }  # fmt: skip
    config = SftConfig.model_validate(settings)
    return train([as_row(row) for row in rows], [], config, folder, on_step=on_step)


def _tested(work: Work, spec: str, tests: Sequence[Question], taxonomy: Taxonomy | None, step: str) -> dict[str, Any]:
    return tested(work, spec, tests, work.verify, taxonomy, work.config.max_answer_tokens, step)


def weights_spec(target: str) -> str:
    """A target as the model in this process that has its weights. Raises: ConfigError where none are here."""
    weights = weights_of(target)
    return f"embedded:{weights}" if weights else "embedded"


def _keep_adapter(folder: Path) -> None:
    """Delete the merged model and all else, the mark that it is trained first."""
    (folder / DONE).unlink()
    (folder / "model" / "adapter").replace(folder / "adapter")
    shutil.rmtree(folder / "model")
    for file in folder.iterdir():
        if file.is_file():
            file.unlink()


def _share(verdicts: Sequence[bool]) -> float:
    return sum(verdicts) / len(verdicts)
