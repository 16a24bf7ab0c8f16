"""What is done in one round of `llmlabel run daily`: label what is new, compare, act on it, audit, and hand on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from llmlabel.flows.running.chain import Chain
from llmlabel.flows.running.common import timed
from llmlabel.flows.steps.annotation.labelling import columns_of
from llmlabel.flows.steps.daily.drift import compare
from llmlabel.flows.steps.daily.rounds import Current, Rounds, after, seen, taxonomy_file, unseen

from llmlabel import embedding
from llmlabel.config import DailyConfig
from llmlabel.errors import DataError
from llmlabel.events import emit
from llmlabel.llm import Models
from llmlabel.records import Example, Taxonomy
from llmlabel.runs import DONE, PARTIAL, RunFolder, load_run, read_json, write_atomic, write_json, write_parquet

LOOK_OVER = "Look over the labels this round took up, and give them better names: they were made from frequent words."
PLENTY = 1000  # rows of a reference; a smaller one grows by rows that look like it


class Work(Chain):
    """What the steps of a round share. `current`: what is in force before it; `labels`: the run with this round's labels."""

    config: DailyConfig

    def __init__(
        self,
        config: DailyConfig,
        examples: Sequence[Example],
        folder: RunFolder,
        models: Models,
        rounds: Rounds,
        begun: dict[str, Any],
    ) -> None:
        super().__init__(config, examples, folder, models)
        self.rounds, self.begun = rounds, begun
        self.current = Current(**begun["current"])
        self.labels = folder.path / "annotate"

    def path(self, name: str) -> Path | None:
        """Of a run that `current` names."""
        return self.rounds.path(name) if name else None

    @property
    def data(self) -> dict[str, Any]:
        gold = {"gold_column": "gold"} if self.config.gold_column else {}
        return {"data": str(self.folder.path / "data.parquet"), "text_column": "text", "id_column": "id", **gold}


def run_steps(work: Work) -> int:
    folder, current = work.folder, work.current
    more = {"from_run": work.path(current.run)} if current.run else {}
    work.run("annotate", **work.data, taxonomy=folder.path / "taxonomy.yaml", **more)
    drift = timed(folder, "drift", lambda: folder.step("drift", lambda: _compare(work)))
    decision = decide(work, drift)
    if decision["extended"]:
        extend(work)
    timed(folder, "check", lambda: audited(work))
    told = read_json(work.labels / "metrics.json")
    folder.info["counts"] = load_run(work.labels).info["counts"]
    notes = remarks(work, decision)
    about = {
        **{k: work.begun[k] for k in ("new", "edited", "corrected")},
        "labels": work.rounds.told(work.labels),
        "notes": notes,
    }
    metrics = {"schema": 1, "scores": told["scores"], "drift": drift, "decision": decision, "round": about}
    write_json(folder.path / "metrics.json", metrics | {"counts": folder.info["counts"]})
    _hand_on(work, decision, drift)
    return PARTIAL if any(one["exit"] == PARTIAL for one in work.done) else DONE


def _compare(work: Work) -> dict[str, Any]:
    """The drift of what is new; {} in the first round, which has nothing to compare with."""
    current = work.current
    if not current.run:
        return {}
    reference, since, checked = (work.path(name) for name in (current.reference, current.since, current.checked))
    assert reference is not None and checked is not None

    def encode(texts: list[str]) -> embedding.Vectors:
        spec, config = work.config.embedder, work.config
        embedder = embedding.connect(spec, fit_on=texts, seed=config.seed, client=work.models.embeddings)
        return work.vectors.encode(embedder, texts)

    return compare(
        work.labels, work.examples, reference, since, checked, encode, alarms=work.config.alarms, seed=work.config.seed
    )


def decide(work: Work, drift: dict[str, Any]) -> dict[str, Any]:
    """The verdict, its reasons, what is to be done, and what this round does by itself."""
    if not drift:
        return {"verdict": "steady", "reasons": ["the first round: the next ones are compared with it"], "todo": [],
                "extended": False, "retrained": False}  # fmt: skip
    acting = drift["found"].get("acting", [])
    offered = (work.labels / "taxonomy.proposed.yaml").is_file()
    extended = "none_fits" in acting and offered and work.config.extend == "auto"
    retrained = extended or ("student" in acting and work.config.retrain == "auto")
    done = [*["none_fits"] * extended, *["student"] * retrained]
    todo = [what for question, what in drift["todo"].items() if question not in done] + [LOOK_OVER] * extended
    return {"verdict": drift["verdict"], "reasons": drift["why"], "todo": todo, "extended": extended, "retrained": retrained}


def extend(work: Work) -> None:
    """Take up the labels that are proposed for texts that came since, and ask about the texts they may fit."""
    wider = widened(work)
    file = work.folder.path / "extended.yaml"
    write_atomic(file, wider.dump())
    work.labels = work.run("extended", "annotate", **work.data, taxonomy=file, from_run=work.labels)


def widened(work: Work) -> Taxonomy:
    """The round's taxonomy with the proposed labels; those of which no example is new are left to people."""
    tree, offered = load_run(work.labels).taxonomy, Taxonomy.load(work.labels / "taxonomy.proposed.yaml")
    new = {e.id for e in unseen(work.examples, seen(work.path(work.current.run)))}
    known = {label.id for label in tree.labels}
    taken = [label for label in offered.labels if label.id not in known and new & set(label.examples)]
    return tree.model_copy(update={"labels": [*tree.labels, *taken]})


def audited(work: Work) -> None:
    """An audit of the labels, new rows first, where there is something to audit."""
    rows = columns_of(load_run(work.labels), "labels.parquet", "id", "label", "status")
    new = {e.id for e in unseen(work.examples, seen(work.path(work.current.run)))}
    labelled = [(i, label) for i, label, status in rows if label and status == "ok"]
    order = random.Random(f"{work.config.seed}/audit").sample(labelled, len(labelled))
    chosen = dict(sorted(order, key=lambda row: row[0] not in new)[: work.config.audited])
    if not chosen:
        return
    table = [{"id": e.id, "text": e.text, "label": chosen[e.id]} for e in work.examples if e.id in chosen]
    path = work.folder.path / "labelled.parquet"
    write_parquet(path, pa.Table.from_pylist(table))
    try:
        about = {"data": str(path), "text_column": "text", "id_column": "id", "label_column": "label"}
        work.run("audit", **about, taxonomy=work.labels / "taxonomy.yaml")
    except DataError as e:
        work.folder.info["parts"].pop("audit", None)
        emit("note", text=f"no audit: {e}")


def remarks(work: Work, decision: dict[str, Any]) -> list[str]:
    """What people should know of the round, and would not see in the verdict."""
    file, found = taxonomy_file(work.config, work.rounds), []
    changed = not file.is_file() or file.read_text(encoding="utf-8") != work.begun["taxonomy"]
    if changed:
        found.append(
            f"{file} was changed while this round ran; the round used the taxonomy it had begun with, the next one uses the new"
        )
    if changed and decision["extended"]:
        found.append(f"so the labels this round took up were not written there; they are in {work.folder.path / 'extended.yaml'}")
    for note in found:
        emit("note", text=note)
    return found


def _hand_on(work: Work, decision: dict[str, Any], drift: dict[str, Any]) -> None:
    """What will be in force when the round has ended."""
    path = work.folder.path
    found = drift.get("found", {})
    unsolved = "none_fits" in found.get("acting", []) and not decision["extended"]
    wider = (path / "extended.yaml").read_text(encoding="utf-8") if decision["extended"] else ""
    current = after(
        work.current, work.rounds.told(work.labels), checked=bool(found.get("enough")), retrained=decision["retrained"],
        acted=(decision["retrained"] and not unsolved) or bool(work.begun["edited"]), round=path.name,
        grow=decision["verdict"] == "steady" and found.get("rows_before", PLENTY) < PLENTY,
    )  # fmt: skip
    told = {"current": asdict(current), "wider": wider, "was": work.begun["taxonomy"]}
    write_json(path / "in_force.json", told | {"file": str(taxonomy_file(work.config, work.rounds).resolve())})
