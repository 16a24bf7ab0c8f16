"""What a pipeline will ask and cost, as far as it can be known before its first stage has run."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from llmlabel.flows import FLOWS
from llmlabel.flows.pipeline import texts

from llmlabel.config import PipelineConfig


def estimate_pipeline(config: PipelineConfig) -> dict[str, Any]:
    """The sum over the stages whose input is there already; the others by name."""
    known = {"taxonomy"} | {s for s in ("annotate", "graph") if getattr(config, s).get("taxonomy") or config.from_run}
    counted = [stage for stage in config.stages if stage in known]
    found = [_estimate(config, stage) for stage in counted]
    sums = {key: sum(one[key] for one in found) for key in ("calls", "prompt_tokens", "completion_tokens")}
    later = [stage for stage in config.stages if stage not in counted]
    steps = [
        {**step, "step": f"{stage}: {step['step']}"} for stage, one in zip(counted, found, strict=True) for step in one["steps"]
    ]
    return {
        "steps": steps, **sums, 
        "money": None if any(one["money"] is None for one in found) else sum(one["money"] for one in found),
        "not_estimated": f"{', '.join(later) or 'nothing'}: what goes into a stage is known when the one before it has ended",
    }  # fmt: skip


def _estimate(config: PipelineConfig, stage: str) -> dict[str, Any]:
    given: dict[str, Any] = texts(config) | ({"from_run": config.from_run} if config.from_run else {})
    module, name = FLOWS[stage][2].split(":")
    found: dict[str, Any] = getattr(import_module(f"llmlabel.flows.{module}"), name)(config.stage(stage, out=Path("-"), **given))
    return found
