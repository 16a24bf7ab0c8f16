"""Settings of one stage of a chain of flows, typed and shown in forms like those of the flow itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler

from llmlabel.config.common import CommonConfig


@dataclass(frozen=True)
class SettingsOf:
    """What a form shows for one stage: the settings of its flow but for those all flows share, which the chain gives it."""

    kind: type[CommonConfig]

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = self.kind.model_json_schema()
        own = {name: value for name, value in schema["properties"].items() if name not in CommonConfig.model_fields}
        return {"type": "object", "title": self.kind.__name__.removesuffix("Config"), "properties": own, "default": {}}


def settings_of(kind: type[CommonConfig]) -> Any:
    """The type of a field that holds settings of a flow by name, as {setting: value}."""
    return Annotated[dict[str, Any], SettingsOf(kind), Field(default_factory=dict, description=kind.__doc__)]
