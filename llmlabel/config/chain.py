"""What flows share that run other flows as their stages: a section of settings for each, checked before the first one starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import GetJsonSchemaHandler, ValidationError

from llmlabel.config.common import CommonConfig
from llmlabel.records import plain_errors

Settings = dict[str, Any]  # {setting: value}, checked when the settings of the chain are put together


@dataclass(frozen=True)
class SettingsOf:
    """What a form shows for one stage: the settings of its flow but for those all flows share, which the chain gives it.

    Stands in the type of a field: `annotate: Annotated[Settings, SettingsOf(AnnotateConfig)] = Field(default_factory=dict)`.
    """

    kind: type[CommonConfig]

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = self.kind.model_json_schema()
        own = {name: value for name, value in schema["properties"].items() if name not in CommonConfig.model_fields}
        return {"type": "object", "title": self.kind.__name__.removesuffix("Config"), "properties": own,
                "description": self.kind.__doc__}  # fmt: skip


class ChainConfig(CommonConfig):
    """Settings of a chain. `KINDS`: a stage's settings by its name; `GIVEN`: settings of stages that are the chain's business."""

    KINDS: ClassVar[dict[str, type[CommonConfig]]] = {}
    GIVEN: ClassVar[set[str]] = {"data", "out", "from_run", "gold_column", "id_column", "text_column"}

    def stage(self, name: str, **given: Any) -> CommonConfig:
        """The settings of one stage: what all flows share, what its section says, and what the chain gives it."""
        kind = self.KINDS[name]
        shared = {k: getattr(self, k) for k in self.model_fields_set if k in CommonConfig.model_fields and k not in self.GIVEN}
        own = {k: value for k in ("use_case", "target") if k in kind.model_fields and (value := getattr(self, k, None))}
        return kind.model_validate({**shared, **own, **getattr(self, name), **given})

    def look_at(self, name: str, **given: Any) -> None:
        """Settings of a late stage that do not fit are told before an early one is paid for. Raises: ValueError."""
        if said := self.GIVEN & set(getattr(self, name)):
            raise ValueError(f"{name}: {', '.join(sorted(said))} cannot be set here, `llmlabel run` of the chain gives it")
        try:
            self.stage(name, data="-", out=Path("-"), **given)
        except ValidationError as e:
            raise ValueError(f"the settings of {name} do not fit: {plain_errors(e)}") from e
