"""Flows of one parameter, `config`: from a program a settings object, from a deployment or Prefect's form plain JSON values."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, cast, get_type_hints

from llmlabel.flows.running.limits import endpoint_slots
from llmlabel.flows.running.states import watched
from prefect import Flow

from llmlabel.config import CommonConfig, FlowConfig, load_config
from llmlabel.errors import ConfigError

HOUR = 3600.0


class ConfiguredFlow(Flow[..., Any]):
    """A flow whose settings become typed before its first step: a run with wrong ones fails and says which.

    What a deployment leaves empty comes from the environment of the worker (`LLMLABEL_SEED=1`). The key in the block that
    `api_key_block` names is put into the environment, and the run ends after `time_limit`.
    """

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Called by Prefect at the start of a run. Raises: ConfigError, which becomes the message of the failed state."""
        if set(parameters) != {"config"}:
            raise ConfigError(
                f"the flow {self.name} has one parameter, `config`; given: {', '.join(sorted(parameters)) or 'none'}"
            )
        config = typed(get_type_hints(self.fn)["config"], parameters["config"])
        if isinstance(config, CommonConfig):
            bring_key(config)
        self.timeout_seconds = config.time_limit * HOUR if config.time_limit else None
        return {"config": config}


def flow(*, name: str, asks: bool = True) -> Callable[[Callable[[Any], Any]], ConfiguredFlow]:
    """Prefect's decorator for a function of one parameter, `config`: its settings typed, its end told in words.

    Args:
        asks: whether the flow itself asks models, and so holds slots of their endpoints' limits; not if its subflows do.
    """

    def decorate(function: Callable[[Any], Any]) -> ConfiguredFlow:
        @functools.wraps(function)
        def run(config: Any) -> Any:
            with endpoint_slots(config) if asks else nullcontext(config) as limited:
                return function(limited)

        return ConfiguredFlow(watched(run), name=name, flow_run_name=f"{name} {{config.subject}}", persist_result=False)

    return decorate


def typed(kind: type[FlowConfig], given: Any) -> FlowConfig:
    """Settings as their type. Raises: ConfigError that names what does not fit, and never a value."""
    if isinstance(given, kind):
        return given
    if not isinstance(given, dict):
        raise ConfigError("config: expected settings by name, such as data, out and llm")
    return load_config(kind, options=_said(given), settings=[])


def _said(values: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty in the form, which sends null for it."""
    return {k: _said(v) if isinstance(v, dict) else v for k, v in values.items() if v is not None}


def bring_key(config: CommonConfig) -> None:
    """The key from a Secret block on Prefect's server into this process's environment, and nowhere else."""
    if not config.api_key_block:
        return
    from prefect.blocks.system import Secret

    try:
        key = cast(Secret[str], Secret.load(config.api_key_block, _sync=True)).get()  # type: ignore[call-arg]
    except ValueError:
        raise ConfigError(
            f"api_key_block: Prefect has no Secret block {config.api_key_block!r}; make it under Blocks in its UI, or leave the "
            f"setting empty and put the key into {config.api_key_env} where the worker runs"
        ) from None
    if not isinstance(key, str) or not key.strip():
        raise ConfigError(f"api_key_block: the Secret block {config.api_key_block!r} holds no text")
    os.environ[config.api_key_env] = key.strip()
