"""Settings of flows whose work is cut into parts that run side by side, on this machine or on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field

from llmlabel.config.common import FlowConfig
from llmlabel.config.labelling import AnnotateConfig


class RunnerConfig(BaseModel):
    """What flows share whose parts run side by side."""

    runner: Literal["processes", "ray", "dask"] = Field(
        "processes", description="What parts run on: processes of this machine, a Ray cluster, or a Dask cluster."
    )
    workers: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Most parts at once; default: one per CPU core, on a running cluster as many as it takes.",
    )
    address: str | None = Field(
        None,
        description="A cluster that runs: auto or ray://HOST:10001 (Ray), tcp://HOST:8786 (Dask); empty: one of this machine's "
        "own, for this run. Its machines see data, run and out under the same names.",
    )


class ApplyConfig(FlowConfig, RunnerConfig):
    """Settings of `llmlabel apply` to a folder."""

    run: Path = Field(description="A run folder with a classifier.")
    out: str = Field(description="Folder to write to, also s3://, gs://, ...: a parquet file for every part.")
    part_rows: int = Field(
        200_000, ge=1, description="Rows in a part, where the data is parquet: whole row groups up to so many, or one larger one."
    )


class AnnotatePartsConfig(AnnotateConfig, RunnerConfig):
    """Settings of `llmlabel run annotate` part by part."""

    CARRYING: ClassVar[set[str]] = {*RunnerConfig.model_fields, "publish"}  # they may change on resume

    part_rows: int = Field(
        100_000, ge=1, description="Rows in a part, where the data is parquet; each part is a run of its own, OUT/parts/NAME/run."
    )
    publish: str | None = Field(
        None, description="Folder, also s3://, gs://, ..., that the labels of each part are copied to when it has ended."
    )

    def definition(self) -> dict[str, Any]:
        return {name: value for name, value in super().definition().items() if name not in self.CARRYING}
