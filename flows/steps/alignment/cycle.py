"""CycleAlign's loop: sample, judge, the policy's own ranking, agreement, demonstrations, training; each stage a file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from llmlabel.flows.rank import judge_lists, questions
from llmlabel.flows.running.common import timed
from llmlabel.flows.steps.alignment.sampling import model_spec, own_ranking, sample
from llmlabel.flows.steps.alignment.training import trained
from llmlabel.flows.steps.annotation.labelling import PLAIN
from prefect import task

from llmlabel.alignment.cycle import Agreed, agree, demonstrations, pseudo_label, stop_before_training
from llmlabel.events import emit
from llmlabel.lists import RankedList, read_lists, write_lists
from llmlabel.runs import read_json, write_json

if TYPE_CHECKING:
    from llmlabel.flows.align import Work

LIST_SIZE = 4


@dataclass
class Cycle:
    """One turn of the loop. `number`: from 1; `policy`: what answers in it, a folder or id; `path`: its folder."""

    work: Work
    number: int
    policy: str

    @property
    def path(self) -> Path:
        return self.work.folder.path / "cycles" / str(self.number)

    @property
    def size(self) -> int:
        return self.work.config.list_size or LIST_SIZE

    def name(self, stage: str) -> str:
        return f"cycle {self.number}: {stage}"

    def kept(self, file: str, make: Callable[[], list[RankedList]]) -> list[RankedList]:
        """The lists of a stage: read back when they are there, else made and kept."""
        path = self.path / file
        if not path.is_file():
            write_lists(path, make())
        return read_lists(str(path), option="the run's own")


def run_cycles(work: Work) -> None:
    """Turn the loop until there is a reason to stop; the last trained model becomes the run's."""
    history: list[dict[str, Any]] = []
    policy, config = work.config.policy, work.config
    for number in range(1, config.cycles + 1):
        turn = Cycle(work, number, policy)
        if ended := _too_dear(turn, history):
            break
        found = timed(work.folder, f"cycle {number}", lambda t=turn: one_cycle(t, history))
        history.append(found)
        _forget(history)
        ended = found["ended"]
        if ended:
            break
        policy = found["model"]
    else:
        ended = f"all {config.cycles} cycles are done"
    emit("note", text=f"cyclealign ends after {len(history)} cycles: {ended}")
    last = next((h for h in reversed(history) if h["model"]), None)
    work.made |= {
        "cycles": history, "ended": ended, "model": _link(work.folder.path, last["model"]) if last else None,
        "scores": {"policy": last["after"], "reference": last["before"]} if last else {},
        "counts": history[-1]["counts"] if history else {},
    }  # fmt: skip


def _forget(history: Sequence[dict[str, Any]]) -> None:
    """Delete the model before the last: nothing needs it any more."""
    models = [Path(h["model"]) for h in history if h["model"]]
    if len(models) > 1:
        shutil.rmtree(models[-2], ignore_errors=True)


def _link(folder: Path, model: str) -> str:
    """RUN/model, which leads to the model of the last cycle. Returns: its path."""
    link = folder / "model"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(model).resolve().relative_to(folder.resolve()), target_is_directory=True)
    return str(link)


def _too_dear(turn: Cycle, history: Sequence[dict[str, Any]]) -> str:
    """Why the judge's budget does not allow this cycle; "" where it does."""
    config, work = turn.work.config, turn.work
    if config.judge_calls is None:
        return ""
    spent = sum(h["judge_questions"] for h in history)
    need = questions(config, [turn.size] * (len(work.lists) + len(work.held_out)))
    if spent + need <= config.judge_calls:
        return ""
    return f"cycle {turn.number} needs up to {need} questions to the judge, and {spent} of {config.judge_calls} are spent"


@task(name="cycle", task_run_name="cycle {turn.number}", **PLAIN)
def one_cycle(turn: Cycle, history: list[dict[str, Any]]) -> dict[str, Any]:
    """All stages of a cycle, and what came out as JSON values; read back when it was finished before."""
    file = turn.path / "cycle.json"
    if file.is_file():
        return dict(read_json(file))
    samples = turn.kept("samples.parquet", lambda: _sample(turn))
    judged = turn.kept("judged.parquet", lambda: _judge(turn, samples))
    compared = turn.kept("compared.parquet", lambda: _compare(turn, judged))
    agreed = [_agreed(turn, one) for one in compared]
    trains = {one.id for one in turn.work.lists}
    passed = [(one, a) for one, a in zip(compared, agreed, strict=True) if one.id in trains and a.passed]
    to_train = (
        turn.kept("agreed.parquet", lambda: [pseudo_label(o, a, turn.work.config.train_on) for o, a in passed]) if passed else []
    )
    found = _figures(turn, compared, agreed, trains)
    config = turn.work.config
    found["ended"] = stop_before_training(history, len(to_train), found["held_out_agreement"], config.plateau)
    if not found["ended"]:
        seen = [one for one in compared if one.id in trains]
        shown = demonstrations(
            seen, [a for o, a in zip(compared, agreed, strict=True) if o.id in trains], config.demonstrations_shown
        )
        write_lists(turn.path / "demonstrations.parquet", shown)
        found |= _train(turn, to_train, [one for one in judged if one.id not in trains and one.ranked])
    write_json(file, found)
    return found


def _sample(turn: Cycle) -> list[RankedList]:
    work = turn.work
    client = work.models.client(model_spec(turn.policy, work.config.sampler))
    prompts = [*work.lists, *work.held_out]
    first = (turn.number - 1) * turn.size
    return sample(work.folder, client, prompts, work.config, turn.name("sample"), turn.size, work.counter, first)


def _judge(turn: Cycle, samples: Sequence[RankedList]) -> list[RankedList]:
    work = turn.work
    before = work.folder.path / "cycles" / str(turn.number - 1) / "demonstrations.parquet"
    dynamic = read_lists(str(before), option="the run's own") if before.is_file() else []
    many = [one for one in samples if len(one) > 1]
    ranked, statistics = judge_lists(
        work.folder, work.models["judge"], many, work.config, turn.name("judge"), work.follow,
        demonstrations=[*work.shown, *dynamic],
    )  # fmt: skip
    write_json(turn.path / "judge.json", statistics)
    return ranked


def _compare(turn: Cycle, judged: Sequence[RankedList]) -> list[RankedList]:
    """Judged lists with the policy's own mean log-probabilities in `policy_scores`."""
    work = turn.work
    spec = model_spec(turn.policy, "embedded")
    ranked = [one for one in judged if one.scores is not None and not np.isnan(one.scores).any()]
    own = own_ranking(
        work.folder, work.models.client(spec), ranked, turn.name("own ranking"), work.config.shard_size, work.counter
    )
    work.models.unload()
    return [replace(one, more={"policy_scores": scores}) for one, scores in zip(ranked, own, strict=True)]


def _agreed(turn: Cycle, one: RankedList) -> Agreed:
    return agree(one.scores or (), one.more["policy_scores"], turn.work.config.agreement_above)


def _figures(turn: Cycle, compared: Sequence[RankedList], agreed: Sequence[Agreed], trains: set[str]) -> dict[str, Any]:
    """What a cycle says of judge and policy before it trains."""
    taus = {one.id: a.tau_b for one, a in zip(compared, agreed, strict=True)}
    train = [a for one, a in zip(compared, agreed, strict=True) if one.id in trains]
    held = [tau for i, tau in taus.items() if i not in trains and not np.isnan(tau)]
    mine = [tau for i, tau in taus.items() if i in trains and not np.isnan(tau)]
    statistics = read_json(turn.path / "judge.json")
    return {
        "cycle": turn.number, "policy": turn.policy, "model": None, "prompts": len(turn.work.lists), "judged": len(train),
        "passed": sum(a.passed for a in train), "agreement": float(np.mean(mine)) if mine else None,
        "held_out_agreement": float(np.mean(held)) if held else None,
        "mean_lcs": float(np.mean([len(a.kept) for a in train])) if train else None,
        "judge_questions": statistics["questions"], "judge": statistics,
        "counts": {"trained": sum(a.passed for a in train), "not_agreed": sum(not a.passed for a in train),
                   "not_judged": len(turn.work.lists) - len(train)},
    }  # fmt: skip


def _train(turn: Cycle, lists: Sequence[RankedList], held_out: Sequence[RankedList]) -> dict[str, Any]:
    config = turn.work.config
    judged_by = {"judge": turn.work.models["judge"].backend.model, "cycle": turn.number}
    made = trained(
        turn.work, lists, held_out, turn.path, turn.name("train"), judged_by, policy=turn.policy,
        reference=config.reference or turn.policy,
    )  # fmt: skip
    return {
        "model": str(made.model), "steps": made.steps, "before": made.first, "after": made.last, "dropped": len(made.dropped),
    }  # fmt: skip
