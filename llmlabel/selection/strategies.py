"""The strategies file: ways to write a training answer, each a prompt file, a model and how it decodes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from llmlabel.errors import ConfigError, LlmlabelError
from llmlabel.llm.specs import parse_spec
from llmlabel.prompting import Prompt, PromptLibrary
from llmlabel.records import plain_errors, read_yaml

REQUEST, DRAFT = "prompt", "draft"
NEEDS = {"gold", "labels", "exemplars", DRAFT}  # what a prompt file may ask for besides the request
ROLES = ("teacher", "target")
SHIPPED = "the shipped strategies"
NAME = re.compile(r"\w[\w-]*")
LACKING = {
    "gold": "needs gold, and no column of it is named (--gold-column)",
    "labels": "needs labels, and no taxonomy is named (--taxonomy)",
    "descriptions": "cites what labels mean, and no label of the taxonomy has a description",
}


class Strategy(BaseModel):
    """One row of the strategies file.

    `prompt`: id of a prompt file. `model`: teacher, target, or a model spec. `rewrites`: the strategy whose answer is this one's
    draft. `cost`: US dollars per answer, in place of the price table's. `note`: on costs, in words.
    """

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=60)
    prompt: str
    model: str = "teacher"
    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    rewrites: str | None = None
    cost: float | None = Field(None, ge=0, allow_inf_nan=False)
    note: str = ""

    @field_validator("name")
    @classmethod
    def _fit_for_files(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("is made of letters, digits, - and _ only, for files are named after it")
        return value


def read_strategies(path: Path | None, prompts: PromptLibrary | None = None) -> list[Strategy]:
    """All rows of a strategies file, in its order; None: the shipped one.

    Raises: ConfigError that names the file, the entry, the key and what to do.
    """
    where = str(path) if path else SHIPPED
    rows = _rows(path, where)
    found: list[Strategy] = []
    for number, row in enumerate(rows, 1):
        entry = f"{where}, strategy {number}{_called(row)}"
        try:
            found.append(Strategy.model_validate(row))
        except ValidationError as e:
            known = ", ".join(Strategy.model_fields)
            raise ConfigError(f"{entry}:\n{plain_errors(e)}\n  a strategy has the keys {known}") from e
        if any(found[-1].name.casefold() == before.name.casefold() for before in found[:-1]):
            raise ConfigError(f"{entry}: name: another strategy is called that; every name stands there once")
    library = prompts or PromptLibrary()
    for number, strategy in enumerate(found, 1):
        _check(strategy, found, library, f"{where}, strategy {number} ({strategy.name})")
    return found


def _rows(path: Path | None, where: str) -> list[Any]:
    source = resources.files("llmlabel.prompts").joinpath("respond", "strategies.yaml") if path is None else path
    body = read_yaml(source, f"--strategies {where}")
    form = "it holds `version: 1` and `strategies:`, a list with name and prompt for each"
    if not isinstance(body, dict) or not isinstance(body.get("strategies"), list) or not body["strategies"]:
        raise ConfigError(f"--strategies {where}: no strategies in it; {form}")
    if unknown := sorted(str(key) for key in body if key not in ("version", "strategies")):
        raise ConfigError(f"--strategies {where}: unknown key {unknown[0]!r}; {form}")
    if body.get("version") != 1:
        raise ConfigError(f"--strategies {where}: version is not 1; {form}")
    return list(body["strategies"])


def _called(row: Any) -> str:
    return f" ({row['name']})" if isinstance(row, dict) and isinstance(row.get("name"), str) else ""


def _check(strategy: Strategy, all_of_them: Sequence[Strategy], prompts: PromptLibrary, entry: str) -> None:
    try:
        prompt = prompts.get(strategy.prompt)
    except ConfigError as e:
        raise ConfigError(f"{entry}: prompt: {e}") from e
    used = set(prompt.head.variables)
    if unknown := sorted(used - NEEDS - {REQUEST}):
        known = ", ".join([REQUEST, *sorted(NEEDS)])
        raise ConfigError(f"{entry}: prompt: {prompt.id} takes {unknown[0]!r}, which no strategy has; variables are {known}")
    if REQUEST not in used:
        raise ConfigError(f"{entry}: prompt: {prompt.id} never shows the request; write {{{{ prompt }}}} where it belongs")
    if DRAFT in used and strategy.rewrites is None:
        raise ConfigError(f"{entry}: {prompt.id} takes a draft; name the strategy whose answer that is with `rewrites`")
    if strategy.rewrites is not None:
        if DRAFT not in used:
            raise ConfigError(f"{entry}: rewrites: {prompt.id} takes no draft; leave `rewrites` out, or take another prompt")
        _check_rewrites(strategy, {s.name: s for s in all_of_them}, entry)
    if strategy.model not in ROLES:
        try:
            parse_spec(strategy.model)
        except LlmlabelError as e:
            raise ConfigError(f"{entry}: model is teacher, target or a model spec; {e}") from e


def _check_rewrites(strategy: Strategy, by_name: dict[str, Strategy], entry: str) -> None:
    if strategy.rewrites not in by_name:
        raise ConfigError(f"{entry}: rewrites: no strategy is called {strategy.rewrites!r}; there are: {', '.join(by_name)}")
    seen = [strategy]
    while (before := by_name.get(seen[-1].rewrites or "")) is not None:
        if before in seen:
            names = " -> ".join(s.name for s in (*seen, before))
            raise ConfigError(f"{entry}: rewrites goes in a circle: {names}; one of them has to begin")
        seen.append(before)


def needs(strategy: Strategy, prompt: Prompt) -> set[str]:
    """What an answer takes besides the request: some of gold, labels, exemplars, draft, as the prompt file's variables tell;
    `descriptions` where the file says of its labels that they have one."""
    used = prompt.head.variables
    return (NEEDS & used.keys()) | ({"descriptions"} if "description" in used.get("labels", "") else set())


def usable(
    strategies: Sequence[Strategy], prompts: PromptLibrary, *, has_gold: bool, has_labels: bool, explicit: bool,
    has_descriptions: bool = True,
) -> tuple[list[Strategy], list[str]]:  # fmt: skip
    """Those the data can serve, in order, and for each of the others a sentence on why it is left out.

    Args:
        explicit: the user named these strategies, so that one the data cannot serve is an error.
    Raises: ConfigError with `explicit`, or where nothing is left.
    """
    has = {"gold": has_gold, "labels": has_labels, "descriptions": has_labels and has_descriptions}
    why: dict[str, str] = {}
    for strategy in ordered(strategies):
        lacking = [LACKING[need] for need in LACKING if need in needs(strategy, prompts.get(strategy.prompt)) and not has[need]]
        if lacking:
            why[strategy.name] = lacking[0]
        elif strategy.rewrites in why:
            why[strategy.name] = f"rewrites {strategy.rewrites}, which is left out"
    said = [f"{s.name} {why[s.name]}" for s in strategies if s.name in why]
    kept = [s for s in strategies if s.name not in why]
    if said and (explicit or not kept):
        raise ConfigError(f"--strategies: {'; '.join(said)}. Name what is lacking, or take the strategy out of the file")
    return kept, [f"{sentence}." for sentence in said]


def ordered(strategies: Sequence[Strategy]) -> list[Strategy]:
    """Those that rewrite after what they rewrite, else as they stand."""
    found: list[Strategy] = []
    waiting = list(strategies)
    while waiting:
        names = {s.name for s in waiting}
        ready = [s for s in waiting if s.rewrites not in names]
        if not ready:
            raise ConfigError(f"strategies rewrite each other in a circle: {', '.join(sorted(names))}")
        found += ready
        waiting = [s for s in waiting if s not in ready]
    return found


def pinned(strategies: Sequence[Strategy]) -> list[str]:
    """Ids of the prompts these strategies use, each once."""
    return sorted({s.prompt for s in strategies})
