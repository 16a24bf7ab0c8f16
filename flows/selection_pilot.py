"""The pilot of a selection: the target trained on each of two strategies' answers, tested, and compared.

A training and its test are one step of the run. A killed run goes on with the next; within one, a trained model is not trained
again, and what it has answered is in the ledger.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmlabel.errors import LlmlabelError
from llmlabel.events import emit
from llmlabel.llm.requests import Request
from llmlabel.records import Taxonomy
from llmlabel.runs import read_json
from llmlabel.selection import pilot as training
from llmlabel.selection import sft
from llmlabel.selection.answers import Question
from llmlabel.selection.sft import Pair
from llmlabel.selection.target import weights_of
from llmlabel.selection.verifiers import verifier

if TYPE_CHECKING:
    from llmlabel.flows.selection_work import Work


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
    Raises: ConfigError where the target has no weights here, and as `pilot.train`.
    """
    spec = _spec(work)
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
        **training.compare(correct, work.config.seed),
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
    if not (folder / training.FACTS).is_file():
        work.models.unload()
        training.train(
            rows, folder, config.target, seed=seed, epochs=config.pilot_epochs, learning_rate=config.learning_rate,
            lora_rank=config.lora_rank, on_step=lambda done, of: work.follow(f"{step}, training", done, of),
        )  # fmt: skip
        gc.collect()  # trainers hold themselves
    facts = read_json(folder / training.FACTS)
    tested = _tested(work, f"embedded:{folder.resolve()}", tests, taxonomy, f"{step}, test")
    _keep_adapter(folder)
    told = {key: facts[key] for key in ("rows", "left_out", "steps", "seconds")}
    return {"strategy": name, "seed": seed, **told, "first_loss": facts["losses"][0], "last_loss": facts["losses"][-1], **tested}


def _tested(work: Work, spec: str, tests: Sequence[Question], taxonomy: Taxonomy | None, step: str) -> dict[str, Any]:
    """Greedy answers of a model to the tests: which are correct, and how many failed."""
    check, most = verifier(work.verify), work.config.max_answer_tokens
    requests = [Request(sft.messages(question), max_tokens=most) for question in tests]
    answers = work.models.client(spec).map(requests, step, work.counter(step, len(tests)))
    work.models.unload()
    failed = [isinstance(answer, LlmlabelError) for answer in answers]
    correct = [
        not isinstance(answer, LlmlabelError) and bool(check.verify(answer.text, question.gold, taxonomy))
        for question, answer in zip(tests, answers, strict=True)
    ]
    return {"correct": correct, "failed": sum(failed)}


def _spec(work: Work) -> str:
    weights = weights_of(work.config.target)
    return f"embedded:{weights}" if weights else "embedded"


def _keep_adapter(folder: Path) -> None:
    """Delete the merged model, the mark that it is whole first."""
    (folder / training.FACTS).unlink()
    for file in folder.iterdir():
        if file.is_file():
            file.unlink()


def _share(verdicts: Sequence[bool]) -> float:
    return sum(verdicts) / len(verdicts)
