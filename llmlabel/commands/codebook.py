"""`llmlabel codebook`: labelling instructions with a measured gain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from llmlabel.commands import options
from llmlabel.commands.run import run_flow


def codebook(
    run: options.RunFolder,
    writer: Annotated[
        str | None, typer.Option(help=f"Model that drafts the rules: {options.SPEC}. [default: the annotator]")
    ] = None,
    annotator: Annotated[
        str | None, typer.Option(help="Which of the run's annotators the rules are for. [default: the first that is a model]")
    ] = None,
    tries: Annotated[int | None, typer.Option(help="Most rules that are tried. [default: 30]")] = None,
    data: Annotated[
        str | None, typer.Option(help=f"Where the data is now: {options.DATA}. [default: where the run read it]")
    ] = None,
    budget: options.Budget = None,
    budget_calls: options.BudgetCalls = None,
    budget_tokens: options.BudgetTokens = None,
    concurrency: options.Concurrency = None,
    rpm: options.Rpm = None,
    tpm: options.Tpm = None,
    timeout: options.Timeout = None,
    settings: options.Settings = None,
    cache: options.Cache = None,
    as_json: Annotated[bool, typer.Option("--json", help="Events as JSON lines on stdout.")] = False,
) -> None:
    """Write labelling instructions for a run of annotate, and keep only the rules that measurably help.

    Gold rows are dealt to three parts: from the first a model drafts what belongs under each label and what does not, on the
    second each rule is tried and stays only where F1 rises and a sign test agrees, on the third the whole is measured. No rule
    kept is a fine answer. Writes to RUN codebook.md (for people), codebook.json (gains with intervals), and
    taxonomy.codebook.yaml (descriptions with the rules, for --taxonomy of a new run). Other settings are those of the run; its
    caps hold for this command alone. The same command resumes.

    Example: llmlabel codebook runs/labels --writer openai:gpt-4.1

    Exit codes: as `run`.
    """
    from llmlabel.annotation.codebook.settings import configure

    given: dict[str, Any] = {
        "writer": writer, "annotator": annotator, "tries": tries, "data": data, "budget": budget, "budget_calls": budget_calls,
        "budget_tokens": budget_tokens, "concurrency": concurrency, "rpm": rpm, "tpm": tpm, "timeout": timeout, "cache": cache,
    }  # fmt: skip
    config = configure(Path(run), {k: v for k, v in given.items() if v is not None}, settings or [])
    run_flow("llmlabel.flows.codebook:codebook", config, as_json)
