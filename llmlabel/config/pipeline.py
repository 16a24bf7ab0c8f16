"""Settings of the pipeline: which flows are chained, and what each is told besides what the chain gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from llmlabel.config.alignment import AlignConfig, EvaluateConfig, RankConfig, SampleConfig, SftConfig
from llmlabel.config.chain import ChainConfig, Settings, SettingsOf
from llmlabel.config.common import CommonConfig
from llmlabel.config.labelling import AnnotateConfig, GraphConfig, TaxonomyConfig
from llmlabel.config.selection import SelectConfig

Stage = Literal["taxonomy", "annotate", "graph", "select", "sft", "sample", "rank", "align", "evaluate"]
LABELLING, TRAINED = ("taxonomy", "annotate", "graph"), ("select", "sft", "sample")
NEEDS = {"sft": ("select",), "rank": ("sample",), "align": ("sample",), "evaluate": ("sft", "align")}  # one of them
TRIED: dict[str, dict[str, Any]] = {  # what the chain will give, for a first look at a stage's settings
    "annotate": {"from_run": Path("-")}, "graph": {"from_run": Path("-")}, "evaluate": {"run": Path("-")},
}  # fmt: skip


class PipelineConfig(ChainConfig):
    """`llmlabel run pipeline`: from raw texts to a taxonomy, labels, training answers and an aligned model."""

    KINDS: ClassVar[dict[str, type[CommonConfig]]] = {
        "taxonomy": TaxonomyConfig, "annotate": AnnotateConfig, "graph": GraphConfig, "select": SelectConfig, "sft": SftConfig,
        "sample": SampleConfig, "rank": RankConfig, "align": AlignConfig, "evaluate": EvaluateConfig,
    }  # fmt: skip

    use_case: str = Field("", description="The question the taxonomy answers, such as: why customers contact us.")
    stages: list[Stage] = Field(
        ["taxonomy", "annotate", "select", "sft", "sample", "rank", "align", "evaluate"],
        description="What is done, always in this order; graph stands in the place of annotate where the texts are nodes.",
    )
    target: str | None = Field(
        None, description="The model to train: a folder, a hub id, or embedded (the packaged small model)."
    )
    train_rows: int = Field(1000, ge=10, description="Labelled rows, at most, that training answers are written for.")
    test_rows: int = Field(200, ge=10, description="Labelled rows, at most a fifth, kept apart to test models on; gold first.")
    rank_by: Literal["auto", "judge", "labels"] = Field(
        "auto",
        description="What orders sampled answers: a judge, or whether they end in the row's label; auto: a judge if named.",
    )
    taxonomy: Annotated[Settings, SettingsOf(TaxonomyConfig)] = Field(default_factory=dict)
    annotate: Annotated[Settings, SettingsOf(AnnotateConfig)] = Field(default_factory=dict)
    graph: Annotated[Settings, SettingsOf(GraphConfig)] = Field(default_factory=dict)
    select: Annotated[Settings, SettingsOf(SelectConfig)] = Field(default_factory=dict)
    sft: Annotated[Settings, SettingsOf(SftConfig)] = Field(default_factory=dict)
    sample: Annotated[Settings, SettingsOf(SampleConfig)] = Field(default_factory=dict)
    rank: Annotated[Settings, SettingsOf(RankConfig)] = Field(default_factory=dict)
    align: Annotated[Settings, SettingsOf(AlignConfig)] = Field(default_factory=dict)
    evaluate: Annotated[Settings, SettingsOf(EvaluateConfig)] = Field(default_factory=dict)

    @property
    def judged(self) -> bool:
        """Whether a judge, and not the labels, orders answers."""
        return self.rank_by == "judge" or (self.rank_by == "auto" and bool(self.llm.judge))

    @model_validator(mode="after")
    def _whole(self) -> PipelineConfig:
        if not self.stages:
            raise ValueError("stages: name at least one")
        if self.target is None and (training := [s for s in self.stages if s in TRAINED]):
            raise ValueError(
                f"{training[0]} needs the model to train: --target MODEL; or leave the training out: --stages taxonomy,annotate"
            )
        for name, before in NEEDS.items():
            if name in self.stages and not set(before) & set(self.stages):
                raise ValueError(f"the stage {name} needs {' or '.join(before)} before it (stages)")
        if "annotate" in self.stages and "graph" in self.stages:
            raise ValueError("stages: annotate labels texts and graph labels nodes; name one of them")
        for name in self.stages:
            self.look_at(name, **TRIED.get(name, {}))
        return self
