"""Options that several commands share, each said once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from llmlabel.config import CommonConfig

    C = TypeVar("C", bound=CommonConfig)

DATA = "parquet, jsonl(.gz) or csv file, a folder or pattern of these, hf://id[:split], or env: (packages installed here)"
SPEC = "embedded[:DIR_OR_ID], openai:MODEL, vllm:MODEL_OR_DIR, or MODEL@http://host:port/v1"
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON on stdout.")]
Cache = Annotated[Path | None, typer.Option(help="Where answers and vectors are kept. [default: the user's cache]")]
Budget = Annotated[float | None, typer.Option(help="Most US dollars to spend, over all resumes.")]
BudgetCalls = Annotated[int | None, typer.Option(help="Most requests to send.")]
BudgetTokens = Annotated[int | None, typer.Option(help="Most tokens to use.")]
Concurrency = Annotated[int | None, typer.Option(help="Most requests in flight at one endpoint. [default: finds out, up to 256]")]
Rpm = Annotated[float | None, typer.Option(help="Most requests per minute to one endpoint.")]
Tpm = Annotated[float | None, typer.Option(help="Most tokens per minute to one endpoint.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds to wait for one answer. [default: 120]")]
Prices = Annotated[
    Path | None, typer.Option(help="YAML file with `date:` and `prices: {MODEL: {input: USD per million, output: ...}}`.")
]
Annotators = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SPEC", help="Who labels; again for each: a model, WAY:MODEL (such as descent:openai:gpt-4.1), or nearest."
    ),
]
Runner = Annotated[
    str | None, typer.Option(metavar="[processes|ray|dask]", help="What parts run on side by side. [default: processes]")
]
Workers = Annotated[int | None, typer.Option(help="Most parts at once. [default: one per CPU core, or what the cluster takes]")]
Address = Annotated[
    str | None, typer.Option(help="A cluster that runs: auto, ray://HOST:10001, tcp://HOST:8786. [default: one for this run]")
]
PartRows = Annotated[int | None, typer.Option(help="Rows in a part, in whole row groups of parquet.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="key=value for any setting, such as llm.update=openai:gpt-4.1.")
]


def _before(
    data: Annotated[str | None, typer.Option(help=f"What to read: {DATA}.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column with the texts. [default: text; select: prompt]")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column with unique row ids. [default: id, else a hash]")] = None,
    gold_column: Annotated[
        str | None,
        typer.Option(
            help="Column with what is true, empty where unknown; never shown to a model beside its text, but for strategies of "
            "select that ask for it."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; the same command on it resumes.")] = None,
    from_run: Annotated[Path | None, typer.Option("--from", help="An earlier run to start from; asks only what changed.")] = None,
    llm: Annotated[
        str | None, typer.Option(help=f"Model: {SPEC}. [default: hosted if a key or URL is set, else embedded]")
    ] = None,
    judge: Annotated[str | None, typer.Option(help="Model that scores the labels. [default: --llm]")] = None,
) -> None:
    """What every run command takes before its own options."""


def _after(
    budget: Budget = None,
    budget_calls: BudgetCalls = None,
    budget_tokens: BudgetTokens = None,
    prices: Prices = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Print calls, tokens and money, and stop.")] = False,
    batch: Annotated[
        bool | None, typer.Option("--batch", help="Ask through batch jobs: half the price, answers within a day.")
    ] = None,
    concurrency: Concurrency = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    timeout: Timeout = None,
    mask_pii: Annotated[
        str | None,
        typer.Option(metavar="[none|regex|presidio]", help="Take e-mail addresses, numbers and the like out of what is sent."),
    ] = None,
    no_store_text: Annotated[bool, typer.Option("--no-store-text", help="Keep answers, but not what was asked.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of every random choice. [default: 0]")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with any of these settings.")] = None,
    settings: Settings = None,
    prompts: Annotated[Path | None, typer.Option(help="Directory of prompts that override the packaged ones by id.")] = None,
    cache: Cache = None,
    as_json: Annotated[bool, typer.Option("--json", help="Events as JSON lines on stdout.")] = False,
) -> None:
    """What every run command takes after its own options."""


@dataclass
class Common:
    """What the command line gave for the shared options. `values`: by name of the setting, None where nothing was given."""

    values: dict[str, Any]
    config: Path | None
    settings: list[str]
    estimate: bool
    as_json: bool

    def build(self, kind: type[C], **own: Any) -> C:
        """The configuration of a flow: the config file, the environment, and all options. Raises: ConfigError."""
        from llmlabel.config import load_config

        return load_config(kind, file=self.config, options=self.values | own, settings=self.settings)


def _limits(
    budget: Budget = None,
    budget_calls: BudgetCalls = None,
    budget_tokens: BudgetTokens = None,
    concurrency: Concurrency = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    timeout: Timeout = None,
    settings: Settings = None,
    cache: Cache = None,
    as_json: Annotated[bool, typer.Option("--json", help="Events as JSON lines on stdout.")] = False,
) -> None:
    """What every command takes that goes on from a run, whose settings it has."""


@dataclass
class Limits:
    """What the command line gave for these options. `values`: by name of the setting, only what was given."""

    values: dict[str, Any]
    settings: list[str]
    as_json: bool


def with_limits(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `_limits`; it takes them as its first argument, a `Limits`."""
    return _extended(command, [], _parameters(_limits), _limited)


def _limited(given: dict[str, Any]) -> Limits:
    settings, as_json = given.pop("settings"), given.pop("as_json")
    return Limits({name: value for name, value in given.items() if value is not None}, settings or [], as_json)


def with_common(command: Callable[..., None]) -> Callable[..., None]:
    """Give a run command the shared options; it takes them as its first argument, a `Common`."""
    return _extended(command, _parameters(_before), _parameters(_after), _common)


def _parameters(function: Callable[..., None]) -> list[inspect.Parameter]:
    return [*inspect.signature(function, eval_str=True).parameters.values()]


def _extended(
    command: Callable[..., None], before: list[inspect.Parameter], after: list[inspect.Parameter],
    pack: Callable[[dict[str, Any]], Any],
) -> Callable[..., None]:  # fmt: skip
    """A command with options before and after its own, which it gets packed, as its first argument."""

    @functools.wraps(command)
    def run(**given: Any) -> None:
        shared = {p.name: given.pop(p.name) for p in (*before, *after)}
        command(pack(shared), **given)

    named = [p.replace(kind=p.KEYWORD_ONLY) for p in (*before, *_parameters(command)[1:], *after)]  # whatever has a default
    run.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
    return run


def _common(given: dict[str, Any]) -> Common:
    config, settings, estimate, as_json = (given.pop(name) for name in ("config", "settings", "estimate", "as_json"))
    roles = {"default": given.pop("llm"), "judge": given.pop("judge")}
    given["llm"] = {role: spec for role, spec in roles.items() if spec} or None
    given["store_text"] = False if given.pop("no_store_text") else None
    return Common(given, config, settings or [], estimate, as_json)


def show_result(values: dict[str, Any], as_json: bool) -> None:
    """A command's result on stdout."""
    if as_json:
        import json

        typer.echo(json.dumps(values, ensure_ascii=False))
        return
    from llmlabel.terminal import show

    show(values)
