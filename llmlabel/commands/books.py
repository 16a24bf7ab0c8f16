"""`llmlabel cost` and `llmlabel cache`: what runs cost, what is stored, and how to clear it out."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from llmlabel.commands.options import Cache, Json, show_result
from llmlabel.errors import ConfigError

cache_app = typer.Typer(help="Look at the answer store, or clear it out.", no_args_is_help=True, rich_markup_mode=None)


def cost(run: Annotated[Path, typer.Argument(help="A run folder.")], as_json: Json = False, cache: Cache = None) -> None:
    """What a run cost, by step, model and outcome, with its caps and the price table.

    Read from the answer store where that knows the run, else from the run's own run.json; `source` says which. A request
    that was sent and never answered is `maybe billed` and stands there with the most it can have cost.

    Example: llmlabel cost runs/tickets
    """
    from llmlabel.llm.accounts import bill
    from llmlabel.runs import load_run

    found = bill(load_run(run).info, cache)
    if as_json:
        return show_result(found, True)
    from llmlabel.terminal import show, show_rows

    lines = [line | {"cost": f"${line['cost']:,.6f}"} for line in found.pop("by_step")]
    show_rows(lines, ("calls", "prompt_tokens", "completion_tokens", "cost"))
    typer.echo()
    show(found)


@cache_app.command("stats")
def stats(cache: Cache = None, as_json: Json = False) -> None:
    """What the answer store holds: size, answers by model, requests by state, runs and vectors."""
    from llmlabel.llm.accounts import stats as look

    found = look(cache)
    if as_json:
        return show_result(found, True)
    from llmlabel.terminal import show, show_rows

    answers = found.pop("answers")
    show(found)
    typer.echo()
    show_rows(answers, ("answers", "bytes"))


@cache_app.command("prune")
def prune(
    older_than: Annotated[float | None, typer.Option(metavar="DAYS", help="Only what is older than so many days.")] = None,
    model: Annotated[str | None, typer.Option(help="Only what is of this model, named as in `cache stats`.")] = None,
    cache: Cache = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete stored answers, and the details of requests that are paid and done, and shrink the file.

    What each run spent in total stays, so caps still hold; so do requests that may have been billed. Remembered features of
    endpoints go too: they are found out again. What a run asks after this is bought again.

    Example: llmlabel cache prune --older-than 90 --dry-run
    """
    from llmlabel.llm.accounts import prune as clear

    if older_than is None and model is None:
        raise ConfigError("say what to delete: --older-than DAYS, --model MODEL, or both (--older-than 0: everything)")
    limits: dict[str, Any] = {"before": None if older_than is None else time.time() - older_than * 86_400, "model": model}
    if not dry_run and not yes:
        if not sys.stdin.isatty():
            raise ConfigError("prune deletes what was paid for; give --yes, or --dry-run to see what would go")
        expected = clear(cache, **limits, dry_run=True)
        if not typer.confirm(f"delete {expected['answers']:,} answers from {expected['file']}?"):
            raise typer.Exit(1)
    show_result(clear(cache, **limits, dry_run=dry_run), as_json)
