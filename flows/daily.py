"""`llmlabel run daily`: what is new is labelled, compared with what was there, acted on, audited and reported.

Every start makes one round, OUT/rounds/NUMBER-DATE, whose parts are runs of their own: annotate, extended (with labels that were
taken up) and audit. A round that was stopped is finished by the next start, before a new one begins.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmlabel.flows.running.artifacts import show_table
from llmlabel.flows.running.common import carry_out
from llmlabel.flows.running.configured import flow
from llmlabel.flows.steps.daily.round import Work, run_steps
from llmlabel.flows.steps.daily.rounds import Current, Kept, Rounds, keep, people, read_rows, seen, taxonomy_file, unseen

from llmlabel.config import DailyConfig
from llmlabel.errors import RunMismatch
from llmlabel.events import emit
from llmlabel.llm import Models
from llmlabel.records import Taxonomy
from llmlabel.runs import DONE, RunFolder, load_run, read_json, write_atomic, write_json


@flow(name="daily", asks=False)
def daily(config: DailyConfig) -> dict[str, Any]:
    """A round: new data, labels by the current taxonomy, a check for drift, what follows from it, an audit, and a report.

    Returns: the round's folder, exit code, rows that were new, the verdict with its reasons, counts and cost.
    """
    rounds = Rounds(config.out)
    with rounds.locked():
        stopped = rounds.unfinished()
        finished = _finish(config, rounds, stopped) if stopped else None
        _settle(rounds)
        path = _begin(config, rounds)
        return _round(config, rounds, path) if path else finished or nothing_new(rounds)


def _finish(config: DailyConfig, rounds: Rounds, path: Path) -> dict[str, Any] | None:
    """Go on with a round that was stopped; one that cannot go on with these settings is given up, its rows come up again."""
    if not (path / "begun.json").is_file():
        _give_up(path, "it was stopped before it had its data")
        return None
    emit("note", text=f"{path.name} was stopped; it is finished first")
    try:
        return _round(config, rounds, path)
    except RunMismatch as e:
        _give_up(path, str(e))
        return None


def _give_up(path: Path, why: str) -> None:
    write_json(path / "given_up.json", {"why": why})
    emit("note", text=f"{path.name} is given up, since its settings were others; what it was told is in the answer store")


def _settle(rounds: Rounds) -> None:
    """Put the last round in force if it was stopped just before that."""
    for path in rounds.all[-1:]:
        if (path / "in_force.json").is_file() and rounds.current.round != path.name and not (path / "given_up.json").is_file():
            in_force(rounds, path)


def _begin(config: DailyConfig, rounds: Rounds) -> Path | None:
    """A round with a copy of the data and the taxonomy as they are now; None where nothing is new."""
    current = rounds.current
    start = config.from_run.resolve() if config.from_run and not current.run else None
    if start:
        current = Current(*[rounds.told(start)] * 3, checked=rounds.told(start))
    if config.reference and (rounds.told(config.reference), "") != (current.reference, current.since):
        current = Current(**asdict(current) | {"reference": rounds.told(config.reference), "since": ""})
    run = rounds.path(current.run) if current.run else None
    examples, text = read_rows(config), taxonomy_text(config, rounds, run)
    new = unseen(examples, seen(run))
    edited, corrected = run is not None and _differs(text, load_run(run).taxonomy), people(run)
    if run and not new and not edited and not corrected:
        return None
    path = rounds.begin()
    keep(path / "data.parquet", examples)
    write_atomic(path / "taxonomy.yaml", text)
    about = {"new": len(new), "edited": edited, "corrected": len(corrected), "current": asdict(current), "taxonomy": text}
    write_json(path / "begun.json", about)
    return path


def taxonomy_text(config: DailyConfig, rounds: Rounds, run: Path | None) -> str:
    """The taxonomy in force, as its file stands now; made from that of the first run where there is no file yet."""
    file = taxonomy_file(config, rounds)
    if config.taxonomy is None and not file.is_file() and run:
        write_atomic(file, load_run(run).taxonomy.dump())
    Taxonomy.load(file)
    return file.read_text(encoding="utf-8")


def _differs(text: str, tree: Taxonomy) -> bool:
    import yaml

    return Taxonomy.model_validate(yaml.safe_load(text)) != tree


def _round(config: DailyConfig, rounds: Rounds, path: Path) -> dict[str, Any]:
    begun, examples = read_json(path / "begun.json"), Kept(path / "data.parquet")
    own = config.model_copy(update={"out": path})

    def steps(folder: RunFolder, models: Models) -> int:
        return run_steps(Work(own, examples, folder, models, rounds, begun))

    found = carry_out(own, "daily", examples, {"prompts": {}, "taxonomy": begun["taxonomy"]}, steps, shown)
    in_force(rounds, path)
    return found


def in_force(rounds: Rounds, path: Path) -> None:
    """A round that has ended becomes the current one; a wider taxonomy goes into its file, unless people have changed that."""
    told = read_json(path / "in_force.json")
    file = Path(told["file"])
    if told["wider"] and file.is_file() and file.read_text(encoding="utf-8") == told["was"]:
        write_atomic(file, told["wider"])
    rounds.put_in_force(Current(**told["current"]))


def shown(folder: RunFolder) -> dict[str, Any]:
    """The verdict in Prefect's UI, and the round in a few figures."""
    metrics = read_json(folder.path / "metrics.json")
    decision, about = metrics["decision"], metrics["round"]
    rows = [{"verdict": decision["verdict"], "because": why} for why in decision["reasons"]]
    show_table("drift", rows, "has anything changed?")
    return {
        "out": str(folder.path), "exit": folder.info["exit"], "new": about["new"], "verdict": decision["verdict"],
        "reasons": decision["reasons"], "todo": decision["todo"], "extended": decision["extended"],
        "retrained": decision["retrained"], "labels": str(folder.path.parent.parent / about["labels"]),
        "counts": metrics["counts"], "cost": folder.info["cost"]["money"], "report": str(folder.path / "report.html"),
    }  # fmt: skip


def nothing_new(rounds: Rounds) -> dict[str, Any]:
    """A start that finds nothing to do leaves no round behind."""
    current = rounds.current
    emit("note", text=f"no new rows: {current.round or current.run} stays in force, nothing was asked")
    return {"out": str(rounds.root), "exit": DONE, "new": 0, "verdict": "steady", "round": current.round, "cost": 0.0}
