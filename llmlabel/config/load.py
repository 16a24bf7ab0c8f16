"""Settings from a YAML file, the environment and the command line, in this order of precedence (the last one wins)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from llmlabel.config.common import FlowConfig
from llmlabel.errors import ConfigError
from llmlabel.records import plain_errors, read_yaml

C = TypeVar("C", bound=FlowConfig)


def load_config(kind: type[C], *, file: Path | None = None, options: dict[str, Any], settings: list[str]) -> C:
    """Put a configuration together.

    Args:
        kind: the model to build.
        file: a YAML file, or None.
        options: what the command line gave; None values are left out.
        settings: `key=value` or `key.sub=value` texts; values are read as YAML.
    Raises: ConfigError that names the setting, what is wrong, and never the value.
    """
    values: dict[str, Any] = _read_yaml(file) if file else {}
    values = _merge(values, _from_environment(kind))
    values = _merge(values, {k: v for k, v in options.items() if v is not None})
    for setting in settings:
        values = _merge(values, _one_setting(setting))
    try:
        return kind.model_validate(values)
    except ValidationError as e:
        raise ConfigError(f"the settings do not fit:\n{plain_errors(e)}") from e


def _from_environment(kind: type[FlowConfig]) -> dict[str, Any]:
    class Environment(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="LLMLABEL_", extra="ignore")

    annotations: dict[str, Any] = dict.fromkeys(kind.model_fields, str | None)
    reader = type("Reader", (Environment,), {"__annotations__": annotations, **dict.fromkeys(annotations)})
    found = reader().model_dump(exclude_none=True)
    return {k: yaml.safe_load(v) if k not in ("out", "data", "use_case") else v for k, v in found.items()}


def _read_yaml(file: Path) -> dict[str, Any]:
    values = read_yaml(file, f"--config {file}")
    if not isinstance(values, dict):
        raise ConfigError(f"--config {file}: expected settings as `key: value` lines")
    return values


def _one_setting(setting: str) -> dict[str, Any]:
    key, eq, text = setting.partition("=")
    if not eq or not key.strip():
        raise ConfigError(f"--set {setting!r}: write key=value, or key.sub=value")
    value: Any = yaml.safe_load(text) if text else None
    for part in reversed(key.strip().replace("-", "_").split(".")):
        value = {part: value}
    return dict(value)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        if key == "llm" and isinstance(merged.get(key), str) and isinstance(value, dict):
            merged[key] = {"default": merged[key]}
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
