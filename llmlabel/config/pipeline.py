"""Settings of the pipeline, which chains the flows."""

from __future__ import annotations

from typing import Literal

Stage = Literal["taxonomy", "annotate", "graph", "select", "sft", "rank", "align", "evaluate"]
