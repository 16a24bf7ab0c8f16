"""`llmlabel apply`: a run's classifier on any number of rows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from llmlabel.commands.options import DATA, Address, Json, PartRows, Runner, Workers, show_result
from llmlabel.commands.run import run_flow
from llmlabel.errors import ConfigError


def apply(
    run: Annotated[Path, typer.Argument(help="A run folder with a classifier.")],
    data: Annotated[str, typer.Option(help=f"What to label: {DATA}; also s3://, gs://, ... with fsspec's packages.")],
    out: Annotated[str, typer.Option(help="A .parquet file, or a folder (also s3://, ...) for a file per part.")],
    text_column: Annotated[str, typer.Option(help="Column with the texts.")] = "text",
    runner: Runner = None,
    workers: Workers = None,
    address: Address = None,
    part_rows: PartRows = None,
    as_json: Json = False,
) -> None:
    """Label any number of rows with a run's small classifier, streamed; no model is asked.

    Writes all columns of the data and label, label_name, confidence, probs and status. To a .parquet file in this process; to a
    folder in parts, side by side, each there when it is whole: the same command goes on with those that are missing, and with
    files that are new or have changed.

    Examples:

    llmlabel apply runs/tickets --data tickets.parquet --out labelled.parquet

    llmlabel apply runs/tickets --data 'tickets/*.parquet' --out labelled --workers 8

    llmlabel apply /shared/run --data s3://bucket/tickets --out s3://bucket/labels --runner ray --address auto

    Exit codes: 0 done, 1 failed, 2 usage, 3 some rows have no text, 130 interrupted.
    """
    parts = {"runner": runner, "workers": workers, "address": address, "part_rows": part_rows}
    if not out.endswith(".parquet"):
        from llmlabel.config import ApplyConfig, load_config

        given: dict[str, Any] = {"run": run, "data": data, "out": out, "text_column": text_column, **parts}
        run_flow("apply:apply", load_config(ApplyConfig, options=given, settings=[]), as_json)
    if said := [name for name, value in parts.items() if value is not None]:
        raise ConfigError(f"--{said[0].replace('_', '-')}: parts are written to a folder; name one with --out instead of {out}")
    _to_file(run, data, out, text_column, as_json)


def _to_file(run: Path, data: str, out: str, text_column: str, as_json: bool) -> None:
    from llmlabel.students.apply import apply as apply_classifier
    from llmlabel.terminal import Terminal

    start, done = time.monotonic(), 0
    with Terminal(as_json) as terminal:

        def count(n: int) -> None:
            nonlocal done
            done += n
            rate = done / (time.monotonic() - start)
            terminal(
                {"event": "progress", "step": "apply", "done": done, "total": None, "rate": rate, "left_s": None, "cost": 0.0}
            )

        counts = apply_classifier(run, data, out, text_column=text_column, on_done=count)
    seconds = round(time.monotonic() - start, 1)
    show_result({"out": out, "rows": sum(counts.values()), "counts": dict(counts), "seconds": seconds}, as_json)
    raise typer.Exit(3 if counts.get("error") else 0)
