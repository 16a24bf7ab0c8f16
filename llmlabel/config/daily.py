"""Settings of the daily round."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from llmlabel.config.chain import ChainConfig, Settings, SettingsOf
from llmlabel.config.common import CommonConfig
from llmlabel.config.labelling import AnnotateConfig, AuditConfig

UNJUDGED = {"ask": 0, "ask_random": 0}  # else judges would be asked about old rows in every round


class DailyConfig(ChainConfig):
    """`llmlabel run daily`: label what is new, see whether anything has changed, act on it, audit, report."""

    KINDS: ClassVar[dict[str, type[CommonConfig]]] = {"annotate": AnnotateConfig, "audit": AuditConfig}
    GIVEN: ClassVar[set[str]] = ChainConfig.GIVEN | {"taxonomy", "label_column"}

    data: str = Field(
        description="Where data comes in: a folder or a pattern of files (inbox/*.parquet), or one file. All of it is read; rows "
        "that are new or changed are asked about."
    )
    out: Path = Field(description="The folder of the rounds. Each start makes a new round, or goes on with an unfinished one.")
    from_run: Path | None = Field(
        None, description="The annotate run the first round starts from; later rounds start from the last one."
    )
    taxonomy: Path | None = Field(
        None,
        description="The taxonomy in force, which people (and `extend: auto`) edit between rounds. Default: OUT/taxonomy.yaml, "
        "which the first round makes from that of from_run.",
    )
    use_case: str = Field("", description="The question the labels answer; default: the taxonomy's own.")
    extend: Literal["propose", "auto"] = Field(
        "propose",
        description="When more texts fit no label: propose new labels for a person to decide on, or take them up at once.",
    )
    retrain: Literal["propose", "auto"] = Field(
        "auto",
        description="When the classifier in force falls behind: only say so, or put the one this round has trained in force.",
    )
    reference: Path | None = Field(
        None,
        description="Compare with all rows of this annotate run from now on; default: the first round, or what was acted on.",
    )
    alarms: float = Field(0.05, gt=0, lt=0.3, description="Share of rounds without any drift that may say `act`, at most.")
    audited: int = Field(
        20_000, ge=0, description="Rows that are audited, at most: new ones first, then old ones at random. 0: no audit."
    )
    annotate: Annotated[Settings, SettingsOf(AnnotateConfig)] = Field(default_factory=dict)
    audit: Annotated[Settings, SettingsOf(AuditConfig)] = Field(default_factory=dict)

    def stage(self, name: str, **given: Any) -> CommonConfig:
        return super().stage(name, **(UNJUDGED | self.audit if name == "audit" else {}), **given)

    @model_validator(mode="after")
    def _whole(self) -> DailyConfig:
        if self.taxonomy is None and self.from_run is None and not (self.out / "taxonomy.yaml").is_file():
            raise ValueError(
                "needs labels: --taxonomy FILE (`llmlabel run taxonomy` makes one), or --from RUN, the annotate run to start from"
            )
        for name in self.KINDS:
            self.look_at(name, from_run=Path("-"))
        return self
