"""`llmlabel review`: rows out to people, their answers back in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmlabel.commands.options import DATA, Cache, Json, RunFolder, show_result

app = typer.Typer(help="Have people look at the rows that are worth it.", no_args_is_help=True, rich_markup_mode=None)


@app.command("export")
def export_rows(
    run: RunFolder,
    kind: Annotated[str, typer.Option("--format", metavar="[label-studio|argilla|csv]", help="What people work in.")] = "csv",
    n: Annotated[int, typer.Option("--n", help="Rows to show.")] = 200,
    random: Annotated[
        float, typer.Option(help="Share of them that is a uniform draw of all rows; estimates rest on these alone.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed of the draw and of the order.")] = 0,
    out: Annotated[Path | None, typer.Option(help="File to write (argilla: folder). [default: in RUN/review]")] = None,
    blind: Annotated[bool, typer.Option("--blind", help="Show no suggestions: slower, but nobody is led by them.")] = False,
    vectors: Annotated[bool, typer.Option(help="Count near neighbours, and show few near-duplicates.")] = True,
    data: Annotated[str | None, typer.Option(help=f"Where the data is now: {DATA}. [default: where the run read it]")] = None,
    cache: Cache = None,
    as_json: Json = False,
) -> None:
    """Write the rows that are worth a person's look, least sure and most useful first, mixed with a random part.

    Of an audit: its rows, worst first. Rows people have answered are left out of the queue. Which rows were drawn how, and why,
    stands in RUN/review/BATCH.json, not in what people see.

    Example: llmlabel review export runs/tickets --format label-studio --n 200
    """
    from llmlabel.review.export import export

    show_result(
        export(run, kind, n=n, random=random, seed=seed, out=out, blind=blind, vectors=vectors, data=data, cache=cache), as_json
    )


@app.command("import")
def import_rows(
    run: RunFolder,
    file: Annotated[Path, typer.Argument(help="What came back: a Label Studio or Argilla export, or the CSV file.")],
    as_json: Json = False,
) -> None:
    """Add people's answers to RUN/corrections.jsonl; a new run with --from RUN takes them as true.

    Importing a file twice adds nothing. Exit code 3 when some answers could not be used: RUN/review/rejected-BATCH.jsonl
    lists them, each with the reason.

    Example: llmlabel review import runs/tickets project-1.json
    """
    from llmlabel.review.importing import import_answers

    counts = import_answers(run, file)
    show_result(counts, as_json)
    raise typer.Exit(3 if counts["rejected_in"] else 0)
