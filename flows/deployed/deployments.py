"""What is deployed: a deployment per flow, or those of a YAML file, with their settings and schedules."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import available_timezones

from llmlabel.flows import FLOWS
from llmlabel.flows.running.configured import ConfiguredFlow
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.runner.storage import LocalStorage
from prefect.schedules import Schedule
from prefect.types.entrypoint import EntrypointType
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from llmlabel import config as settings
from llmlabel.errors import ConfigError
from llmlabel.records import plain_errors, read_yaml

TAGS = ["llmlabel"]
BUSY = {"wait": ConcurrencyLimitStrategy.ENQUEUE, "cancel": ConcurrencyLimitStrategy.CANCEL_NEW}


class Deployment(BaseModel):
    """One entry of the file: a flow, what it is told, and when it runs."""

    model_config = ConfigDict(extra="forbid")

    flow: str = Field(description="A flow by name: taxonomy, annotate, ...")
    name: str = Field("", pattern="^[^/%&<>]*$", description="Of the deployment; default: the flow's.")
    config: dict[str, Any] = Field(default_factory=dict, description="Settings of the flow; the form starts with them.")
    cron: str | None = Field(None, description="When it runs, such as `0 6 * * *`.")
    interval: timedelta | None = Field(None, description="Or how often: seconds, or PT6H.")
    timezone: str = Field("UTC", description="That cron is meant in, such as Europe/Berlin.")
    limit: int = Field(1, ge=1, description="Most runs of it at once; one folder takes one run at a time whatever this says.")
    when_busy: Literal["wait", "cancel"] | None = Field(
        None, description="What a run does that finds no room; default: on a schedule it is cancelled, else it waits."
    )

    @field_validator("flow")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in FLOWS:
            raise ValueError(f"there is no flow {value!r}; there are {', '.join(FLOWS)}")
        return value

    @field_validator("timezone")
    @classmethod
    def _a_place(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is no time zone; write one such as Europe/Berlin")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.name = self.name or self.flow
        if self.cron and self.interval:
            raise ValueError("cron and interval: name one of them")
        if self.interval is not None and self.interval < timedelta(seconds=1):
            raise ValueError("interval: at least a second")
        if isinstance(self.config.get("llm"), str):  # as in a file for --config
            self.config["llm"] = {"default": self.config["llm"]}
        _ = self.schedule, self._check()
        return self

    @property
    def when(self) -> str:
        """In words, for a list."""
        if self.cron:
            return f"{self.cron} ({self.timezone})"
        return f"every {self.interval}" if self.interval else "when somebody starts it"

    @property
    def schedule(self) -> Schedule | None:
        if not (self.cron or self.interval):
            return None
        return Schedule(cron=self.cron, interval=self.interval, timezone=self.timezone)

    def _check(self) -> None:
        """Wrong settings are told here and not at night; a deployment without a schedule may leave some to the form."""
        try:
            self.kind.model_validate(self.config)
        except ValidationError as e:
            errors = [x for x in e.errors() if self.cron or self.interval or not _unsaid(x)]
            if errors:
                told = "; ".join(f"{'.'.join(map(str, x['loc'])) or 'together'}: {x['msg']}" for x in errors)
                raise ValueError(f"the settings of {self.name} do not fit: {told}") from None

    @property
    def kind(self) -> type[settings.CommonConfig]:
        return getattr(settings, FLOWS[self.flow][1])

    @property
    def busy(self) -> ConcurrencyLimitStrategy:
        return BUSY[self.when_busy or ("cancel" if self.schedule else "wait")]

    def made(self, pool: str | None = None, folder: Path | None = None, **job: Any) -> RunnerDeployment:
        """As Prefect knows it.

        Args:
            pool: work pool whose workers run it; without one whoever serves it does. folder: on the worker's machine, that
                paths are relative to. job: the pool's job variables.
        """
        made: RunnerDeployment = load(self.flow).to_deployment(
            name=self.name, parameters={"config": self.config} if self.config else {}, tags=TAGS,
            schedules=[self.schedule] if self.schedule else [], work_pool_name=pool, job_variables=job or None,
            concurrency_limit=ConcurrencyLimitConfig(limit=self.limit, collision_strategy=self.busy),
            entrypoint_type=EntrypointType.MODULE_PATH,
        )  # fmt: skip
        made.entrypoint = entrypoint(self.flow)
        made.work_pool_name = pool  # said even where it is None, and `schedules` where it is empty: what was there goes away
        made.storage = LocalStorage(str(folder)) if folder else None  # a pull step that changes to the folder, and copies nothing
        return made


def _unsaid(error: Any) -> bool:
    """Whether an error is about what settings lack, which a person fills into the form."""
    return not error["loc"] or (error["type"] == "missing" and len(error["loc"]) == 1)


def entrypoint(flow: str) -> str:
    """Where Prefect finds a flow: `llmlabel.flows.annotate.annotate`. With a colon it would look for a file."""
    return f"llmlabel.flows.{FLOWS[flow][0]}".replace(":", ".")


def load(flow: str) -> ConfiguredFlow:
    module, _, name = entrypoint(flow).rpartition(".")
    return getattr(import_module(module), name)


def read_deployments(file: Path | None) -> list[Deployment]:
    """The deployments of a file; without one every flow, to be started by hand.

    Raises: ConfigError that names the entry and the setting.
    """
    if file is None:
        return [Deployment.model_validate({"flow": flow}) for flow in FLOWS]
    found = [_one(entry, n, file) for n, entry in enumerate(_entries(file), 1)]
    names = [(one.flow, one.name) for one in found]
    if twice := {f"{flow}/{name}" for flow, name in names if names.count((flow, name)) > 1}:
        raise ConfigError(f"{file}: {', '.join(sorted(twice))} is there twice; give each a `name` of its own")
    return found


def _entries(file: Path) -> list[Any]:
    read = read_yaml(file, f"--config {file}")
    if not isinstance(read, list) or not read:
        raise ConfigError(f"--config {file}: expected a list of deployments, each `- flow: NAME` with its settings")
    return read


def _one(entry: Any, n: int, file: Path) -> Deployment:
    try:
        return Deployment.model_validate(entry)
    except ValidationError as e:
        raise ConfigError(f"{file}, entry {n}: {plain_errors(e)}") from e
