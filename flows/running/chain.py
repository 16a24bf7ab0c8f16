"""What flows share that run other flows as their stages: a run folder each, and caps that hold for all together."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from llmlabel.flows import FLOWS
from llmlabel.flows.running.common import Desk, timed

from llmlabel.runs import read_json


class Chain(Desk):
    """The desk of a chain. `done`: what stages returned, in their order."""

    def __init__(self, *of_desk: Any) -> None:
        super().__init__(*of_desk)
        self.done: list[dict[str, Any]] = []

    def run(self, stage: str, flow: str = "", **given: Any) -> Path:
        """One stage in OUT/STAGE; what it returned is kept in OUT/steps/STAGE.json, and one that has ended is not opened again
        unless its folder is gone.

        Args:
            flow: that carries it out; default: the one of its name. given: settings of it that are the chain's business.
        Returns: its run folder.
        """
        out = self.folder.path / stage
        self.folder.info.setdefault("parts", {})[stage] = str(out)
        settings = self.config.stage(flow or stage, out=out, **self._caps(stage), **given)
        module, name = FLOWS[flow or stage][0].split(":")
        carried_out = getattr(import_module(f"llmlabel.flows.{module}"), name)
        if not (out / "run.json").is_file():  # somebody has deleted it, to have it made again
            (self.folder.path / "steps" / f"{stage}.json").unlink(missing_ok=True)
        found = timed(self.folder, stage, lambda: self.folder.step(stage, lambda: carried_out(settings)))
        self.done.append({"stage": stage, **found})
        return out

    def _caps(self, stage: str) -> dict[str, Any]:
        """What the other stages have left of the chain's caps."""
        others = [Path(path) / "run.json" for name, path in self.folder.info["parts"].items() if name != stage]
        spent = [read_json(file).get("cost", {}) for file in others if file.is_file()]
        used = {
            "budget": sum(c.get("money", 0.0) for c in spent), "budget_calls": sum(c.get("calls", 0) for c in spent),
            "budget_tokens": sum(c.get("prompt_tokens", 0) + c.get("completion_tokens", 0) for c in spent),
        }  # fmt: skip
        caps = {name: getattr(self.config, name) for name in used}
        return {name: max(0, cap - used[name]) for name, cap in caps.items() if cap is not None}
