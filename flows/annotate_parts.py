"""`llmlabel run annotate --runner ...`: a data set of any size, cut into parts; each is an annotate run of its own on a worker.

OUT/parts/NAME/run is the run folder of a part, OUT/labels the labels of all. The same command goes on with the parts that have
not ended; one that fails does not stop the others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from llmlabel.flows.running.artifacts import publish, show_table
from llmlabel.flows.running.common import exit_code
from llmlabel.flows.running.configured import flow
from llmlabel.flows.running.limits import limits_of
from llmlabel.flows.running.runners import Calls, at_once, carried_out
from llmlabel.flows.running.shares import Shares, caps_of, in_words
from llmlabel.flows.steps.annotation.in_parts import annotate_part, everywhere, labels_of, run_of, settings_of, told
from llmlabel.flows.steps.annotation.shared import Limits
from llmlabel.flows.steps.annotation.whole import ended, sum_up, used_by

from llmlabel.annotation.annotators import pinned
from llmlabel.config import AnnotatePartsConfig
from llmlabel.data import file_system
from llmlabel.errors import BackendError, BudgetReached, DataError, LlmlabelError
from llmlabel.events import emit
from llmlabel.parts import Part, parts_of
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Taxonomy
from llmlabel.report import write_report
from llmlabel.runs import DONE, PARTIAL, RunFolder, load_run, read_json, write_atomic, write_json

BUDGET = BudgetReached.exit_code


@flow(name="annotate_parts", asks=False)
def annotate_parts(config: AnnotatePartsConfig) -> dict[str, Any]:
    """Label texts with a taxonomy, part by part, side by side.

    Returns: the folder, exit code, counts, accuracy over all gold rows, cost.
    """
    config = everywhere(config)
    parts = parts_of(config.data, config.part_rows)
    if not parts:
        raise DataError(f"{config.data} has no rows")
    taxonomy = Taxonomy.load(config.taxonomy) if config.taxonomy else load_run(str(config.from_run)).taxonomy
    with opened(config, parts, taxonomy) as folder:
        emit("start", flow="annotate_parts", out=str(config.out), rows=_rows(parts), run=folder.id)
        if folder.finished:
            emit("note", text=f"{config.out} is finished; nothing was asked or written")
        else:
            write_atomic(config.out / "taxonomy.yaml", taxonomy.dump())
            Parts(config, folder, parts).carry_out()
            write_report(config.out)
        publish(folder)
        return shown(folder)


@contextmanager
def opened(config: AnnotatePartsConfig, parts: Sequence[Part], taxonomy: Taxonomy) -> Iterator[RunFolder]:
    """The run folder of the whole, locked; however it ends, it says what its parts have come to."""
    data = {"rows": _rows(parts), "parts": {part.name: [part.file, part.size, part.rows] for part in parts}}
    hashes = PromptLibrary(config.prompts).hashes(pinned())
    extra = {"data": data, "taxonomy": taxonomy.model_dump(), "prompts": hashes}
    definition = config.definition() | extra
    folder = RunFolder(config.out, flow="annotate_parts", definition=definition, config=config.model_dump(mode="json"))
    try:
        if not folder.finished:
            folder.info |= {"prompts": hashes, "seed": config.seed, "data": {"rows": data["rows"]}}
        yield folder
    except BaseException as e:
        if not folder.finished:
            sum_up(config.out, parts, folder.info)
            folder.finish(exit_code(e))
        raise
    finally:
        folder.close()


def _rows(parts: Sequence[Part]) -> int:
    return sum(part.rows or 0 for part in parts)


class Parts:
    """The parts of one run, as far as they have come. `failed`: why, by name; `capped`: those that stopped at their share."""

    def __init__(self, config: AnnotatePartsConfig, folder: RunFolder, parts: Sequence[Part]) -> None:
        self.config, self.folder, self.parts = config, folder, parts
        self.failed: dict[str, str] = {}
        self.capped: set[str] = set()
        self.exits: dict[str, int] = {}
        self.limits = Limits(config, parts, limits_of(config))

    def carry_out(self) -> None:
        """All parts that have not ended, then the account of the whole. Raises: LlmlabelError where some still have not."""
        places = at_once(self.config, len(self.parts))
        published = self._published()
        waiting = [part for part in self.parts if not self._handed_over(part, published)]
        emit("step", step="annotate")
        if there := len(self.parts) - len(waiting):
            emit("note", text=f"{there} of {len(self.parts)} parts are there already")
        lost: LlmlabelError | None = None
        while waiting:
            lost = self._round(waiting, places)
            before, waiting = len(waiting), [p for p in waiting if p.name not in self.exits and p.name not in self.failed]
            if len(waiting) == before:
                if places == 1 or lost:
                    break
                places = 1  # what is left, to one part after the other
        self._close(waiting, lost)

    def _round(self, waiting: Sequence[Part], places: int) -> LlmlabelError | None:
        """Every part that waits, once; where caps are set, until one stops at its share. Returns: that a worker was lost."""
        caps, self.capped, began = caps_of(self.config), set(), time.monotonic()
        shares = Shares(caps, {part.name: used_by(self.config.out, part.name) for part in self.parts} if caps else {}, places)
        calls = Calls(len(waiting), (self._call(part, shares) for part in waiting if not self.capped))
        try:
            for n, found in carried_out(self.config, annotate_part, calls, places if caps else None):
                part = waiting[n]
                shares.end(part.name, used_by(self.config.out, part.name) if caps else {})
                self._note(part, found)
                self._progress(began)
        except LlmlabelError as e:
            return e
        return None

    def _call(self, part: Part, shares: Shares) -> dict[str, Any]:
        settings = settings_of(self.config, part, **shares.begin(part.name), **self.limits.of(part))
        return {
            "config": settings, "part": part, "name": part.name, "labels": labels_of(self.config.out, part.name),
            "publish": self.config.publish, "ended": self._ended(part),
        }  # fmt: skip

    def _note(self, part: Part, found: Mapping[str, Any]) -> None:
        if found["exit"] in (DONE, PARTIAL):
            self.exits[part.name] = found["exit"]
        elif found["exit"] == BUDGET:
            self.capped.add(part.name)
        else:
            self.failed[part.name] = found["error"]
            emit("note", text=f"{part.name}: {found['error']}")

    def _progress(self, began: float) -> None:
        infos = [told(self.config.out, name) for name in self.exits]
        done, cost = sum(sum(one["counts"].values()) for one in infos), sum(one["cost"]["money"] for one in infos)
        rate = done / (time.monotonic() - began)
        emit("progress", step="annotate", done=done, total=_rows(self.parts) or None, rate=rate, left_s=None, cost=cost)

    def _ended(self, part: Part) -> bool:
        """Whether a part's run has ended, and no failed rows of it are to be asked again in this round."""
        info = told(self.config.out, part.name)
        return info.get("exit") == DONE or (ended(info) and info.get("retries", 0) >= self.folder.retries)

    def _handed_over(self, part: Part, published: set[str] | None) -> bool:
        labels = labels_of(self.config.out, part.name)
        if not (labels.is_file() and self._ended(part)) or (published is not None and labels.name not in published):
            return False
        self.exits[part.name] = told(self.config.out, part.name)["exit"]
        return True

    def _published(self) -> set[str] | None:
        """The files that are published already; None where none are to be."""
        if self.config.publish is None:
            return None
        system, folder = file_system(self.config.publish, "--set publish")
        return {path.rpartition("/")[2] for path in system.ls(folder, detail=False)} if system.isdir(folder) else set()

    def _close(self, waiting: Sequence[Part], lost: LlmlabelError | None) -> None:
        done, all_ = len(self.exits), len(self.parts)
        if self.failed:
            name, why = next(iter(self.failed.items()))
            raise BackendError(f"{len(self.failed)} of {all_} parts failed; the same command goes on with them. {name}: {why}")
        if lost:
            raise lost
        if waiting:
            caps = in_words(caps_of(self.config))
            raise BudgetReached(f"{caps}, which holds for all parts together ({done} of {all_} have ended),")
        metrics = sum_up(self.config.out, self.parts, self.folder.info)
        write_json(self.config.out / "metrics.json", metrics)
        self.folder.finish(PARTIAL if PARTIAL in self.exits.values() else DONE)


def shown(folder: RunFolder) -> dict[str, Any]:
    """The parts in Prefect's UI, and the whole in a few figures."""
    metrics, parts, info = read_json(folder.path / "metrics.json"), folder.info["parts"], folder.info
    rows = [{"part": name, **one, "run": str(run_of(folder.path, name))} for name, one in parts.items()]
    show_table("parts", rows, "the parts, and where they lie")
    return {
        "out": str(folder.path), "exit": info["exit"], "counts": info["counts"], "labels": info["labels"],
        "scores": metrics["scores"], "parts": len(parts), "cost": info["cost"]["money"], "retries": folder.retries,
        "report": str(folder.path / "report.html"),
    }  # fmt: skip
