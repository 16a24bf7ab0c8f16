"""Settings of one stage of a chain of flows, typed and shown in forms like those of the flow itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler

from llmlabel.config.common import CommonConfig

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
        return {
            "type": "object",
            "title": self.kind.__name__.removesuffix("Config"),
            "properties": own,
            "description": self.kind.__doc__,
        }
