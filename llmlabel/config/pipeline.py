"""Settings of the pipeline: which flows are chained, and what each is told besides what the chain gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from llmlabel.config.alignment import AlignConfig, EvaluateConfig, RankConfig, SampleConfig, SftConfig
from llmlabel.config.common import CommonConfig
from llmlabel.config.labelling import AnnotateConfig, GraphConfig, TaxonomyConfig
from llmlabel.config.selection import SelectConfig
from llmlabel.config.stage import Settings, SettingsOf
from llmlabel.records import plain_errors

KINDS: dict[str, type[CommonConfig]] = {
    "taxonomy": TaxonomyConfig, "annotate": AnnotateConfig, "graph": GraphConfig, "select": SelectConfig, "sft": SftConfig,
    "sample": SampleConfig, "rank": RankConfig, "align": AlignConfig, "evaluate": EvaluateConfig,
}  # fmt: skip
Stage = Literal["taxonomy", "annotate", "graph", "select", "sft", "sample", "rank", "align", "evaluate"]
LABELLING, TRAINED = ("taxonomy", "annotate", "graph"), ("select", "sft", "sample")
NEEDS = {"sft": ("select",), "rank": ("sample",), "align": ("sample",), "evaluate": ("sft", "align")}  # one of them
GIVEN = {"data", "out", "from_run", "gold_column", "id_column", "text_column"}  # by the chain, and not by a stage's settings
TRIED: dict[str, dict[str, Any]] = {  # what the chain will give, for a first look at a stage's settings
    "annotate": {"from_run": Path("-")}, "graph": {"from_run": Path("-")}, "evaluate": {"run": Path("-")},
}  # fmt: skip


class PipelineConfig(CommonConfig):
    """`llmlabel run pipeline`: from raw texts to a taxonomy, labels, training answers and an aligned model."""

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

    def stage(self, name: str, **given: Any) -> CommonConfig:
        """The settings of one stage: what all share, what its section says, and what the chain gives it."""
        kind = KINDS[name]
        shared = {k: getattr(self, k) for k in self.model_fields_set if k in CommonConfig.model_fields and k not in GIVEN}
        own = {k: getattr(self, k) for k in ("use_case", "target") if k in kind.model_fields and getattr(self, k)}
        return kind.model_validate({**shared, **own, **getattr(self, name), **given})

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
            self._look_at(name)
        return self

    def _look_at(self, name: str) -> None:
        """Settings of a late stage that do not fit are told before an early one is paid for."""
        if said := GIVEN & set(getattr(self, name)):
            raise ValueError(f"{name}: {', '.join(sorted(said))} cannot be set, the pipeline gives it")
        try:
            self.stage(name, data="-", out=Path("-"), **TRIED.get(name, {}))
        except ValidationError as e:
            raise ValueError(f"the settings of {name} do not fit: {plain_errors(e)}") from e
