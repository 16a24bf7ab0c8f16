"""`llmlabel run daily`: the round that a schedule starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmlabel.commands import options
from llmlabel.commands.options import Common, with_common
from llmlabel.commands.run import start


@with_common
def daily(
    common: Common,
    taxonomy: Annotated[
        Path | None, typer.Option(help="The taxonomy in force; you edit it between rounds. [default: OUT/taxonomy.yaml]")
    ] = None,
    use_case: Annotated[str | None, typer.Option(help="The question the labels answer. [default: the taxonomy's]")] = None,
    annotator: options.Annotators = None,
    extend: Annotated[
        str | None, typer.Option(help="New labels when more texts fit none: propose, or auto. [default: propose]")
    ] = None,
    retrain: Annotated[
        str | None, typer.Option(help="A new classifier when the old one falls behind: propose, or auto. [default: auto]")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Compare with this annotate run. [default: the first round, or what was acted on]")
    ] = None,
) -> None:
    """Label what is new, see whether anything has changed, act on it, audit, and report: one round, for a schedule to start.

    --data is a folder or a pattern; all files are read, also late ones, and only rows that are new or changed are asked about.
    They are compared with earlier rows: shares of labels, texts that fit none, strange texts, a classifier's disagreement,
    confidence. The report says steady, watch or act, why, and what to do.

    --out holds the rounds. A round that was stopped is finished first; without new rows nothing is asked or written.
    OUT/current.json names the labels and the classifier in force. Caps (--budget) are per round. Settings of the parts stand
    under annotate and audit in --config, or in --set annotate.label_with_llm=500.

    Examples:

    llmlabel run daily --data 'inbox/*.parquet' --from runs/labels --out daily

    llmlabel run daily --data inbox --taxonomy taxonomy.yaml --extend auto --out daily

    Exit codes: 0 done (whatever the verdict), 1 failed, 2 usage, 3 finished with failed rows, 4 budget reached, 130 interrupted.
    """
    settings = {"annotate": {"annotators": annotator}} if annotator else {}
    start(
        "daily", common, taxonomy=taxonomy, use_case=use_case, extend=extend, retrain=retrain, reference=reference, **settings
    )  # fmt: skip
