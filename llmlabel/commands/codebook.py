"""`llmlabel codebook`: labelling instructions with a measured gain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmlabel.commands import options
from llmlabel.commands.options import Limits, with_limits
from llmlabel.commands.run import run_flow


@with_limits
def codebook(
    limits: Limits,
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

    own = {"writer": writer, "annotator": annotator, "tries": tries, "data": data}
    given = limits.values | {name: value for name, value in own.items() if value is not None}
    run_flow("codebook:codebook", configure(Path(run), given, limits.settings), limits.as_json)
