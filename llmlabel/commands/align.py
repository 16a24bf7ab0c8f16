"""`llmlabel align`: preference data before training, and a trained policy after it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmlabel.commands.options import DATA, Common, Json, RunFolder, show_result, with_common
from llmlabel.commands.run import start

if TYPE_CHECKING:
    from llmlabel.alignment.findings import Findings

FORMS = "auto, lists, pairs, ultrafeedback, nectar, comparisons or unpaired"
File = Annotated[str, typer.Argument(metavar="FILE", help=f"Preference data: {DATA}.")]
Form = Annotated[str, typer.Option("--from", metavar="FORM", help=f"What the file holds: {FORMS}.")]
IdColumn = Annotated[str | None, typer.Option(help="Column with unique row ids. [default: id, else a hash]")]

app = typer.Typer(help="Preference data and aligned models.", no_args_is_help=True, rich_markup_mode=None)


@app.command("check")
def check(
    file: File,
    against: Annotated[
        str | None, typer.Option(metavar="FILE", help="Data whose prompts must not be in FILE, such as a test set.")
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(metavar="MODEL_OR_DIR", help="The model to be trained, or embedded: checks with its tokenizer what is cut."),
    ] = None,
    max_prompt_tokens: Annotated[int, typer.Option(min=8, help="With --policy: longer prompts are cut.")] = 1024,
    max_completion_tokens: Annotated[int, typer.Option(min=4, help="With --policy: longer answers are cut.")] = 512,
    labels: Annotated[str, typer.Option(metavar="[auto|scores|ranks|wins]", help="What labels are made from.")] = "auto",
    form: Form = "auto",
    id_column: IdColumn = None,
    out: Annotated[Path | None, typer.Option(help="JSON-lines file for {id, codes}: what was found about which list.")] = None,
    as_json: Json = False,
) -> None:
    """What is wrong with preference data, and what it means for training.

    Example: llmlabel align check ranked.parquet --against held_out.parquet --policy HuggingFaceTB/SmolLM2-135M-Instruct

    Exit codes: 0 nothing that stops training, 1 rows cannot be read or nothing can be learned, 2 usage.
    """
    from llmlabel.alignment.check_tokens import encoder
    from llmlabel.alignment.checks import check as examine
    from llmlabel.alignment.convert import read
    from llmlabel.config import AlignConfig, load_config

    found = read(file, form, id_column=id_column, option="FILE")
    other = read(against, option="--against").lists if against else ()
    limits = {"max_prompt_tokens": max_prompt_tokens, "max_completion_tokens": max_completion_tokens}
    options = {"data": file, "out": "-", "policy": policy, "labels": labels, **limits}
    encode = encoder(load_config(AlignConfig, options=options, settings=[]), found.lists) if policy else None
    findings = examine(found.lists, found.broken, by=labels, other=other, encode=encode)
    if out:
        import orjson

        from llmlabel.runs import write_atomic

        write_atomic(out, b"".join(orjson.dumps(row) + b"\n" for row in findings.by_id()))
    _show(findings, {"file": file, "read_as": found.form, "rows": found.rows, "merged_rows": found.merged}, as_json)
    raise typer.Exit(1 if findings.failed else 0)


@app.command("convert")
def convert(
    file: File,
    out: Annotated[Path, typer.Option(help="What to write: .parquet or .jsonl.")],
    to: Annotated[str, typer.Option(metavar="[lists|pairs]", help="Ranked lists, or TRL's chosen and rejected.")] = "lists",
    form: Form = "auto",
    pairs: Annotated[
        str, typer.Option(metavar="[all|best-worst|adjacent]", help="With --to pairs: which of a list's answers are paired.")
    ] = "all",
    id_column: IdColumn = None,
    as_json: Json = False,
) -> None:
    """Ranked lists from pairs and other forms of preference data, or pairs from lists.

    Rows with the same prompt become one list; ties make no pair.

    Example: llmlabel align convert hh.jsonl --out ranked.parquet

    Exit codes: 0 done, 1 failed, 2 usage.
    """
    from llmlabel.alignment.convert import convert_file
    from llmlabel.events import listening

    def tell(event: dict[str, Any]) -> None:
        typer.echo(event["text"], err=True)

    with listening(tell):
        found = convert_file(file, out, to=to, form=form, pairs=pairs, id_column=id_column)
    show_result(found, as_json)


def _show(findings: Findings, of: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_result({**of, **findings.to_json()}, True)
        return
    from llmlabel.terminal import show, show_rows

    show({**of, **_in_words(findings.summary)})
    if not findings.findings:
        typer.echo("\nNothing found.")
        return
    typer.echo()
    told = [one.to_json() for one in findings.findings]
    columns = ("severity", "code", "lists", "share")
    show_rows([{k: f"{one[k]:.0%}" if k == "share" else one[k] for k in columns} for one in told], columns[2:])
    for one in told:
        names = f"\n  such as {', '.join(one['ids'])}" if one["ids"] and one["share"] < 1 else ""
        typer.echo(f"\n{one['code']}: {one['sentence']}{names}")


def _in_words(summary: dict[str, Any]) -> dict[str, Any]:
    """The summary with one line for each value."""
    told = dict(summary)
    for name in ("answers_per_list", "labels_from", "median_characters"):
        told[name] = "; ".join(f"{k}: {v}" for k, v in summary[name].items())
    for name in ("label_by_length", "label_by_place"):
        if bias := summary[name]:
            told[name] = "correlation {correlation:.2f} (95 % {low:.2f} to {high:.2f})".format(**bias)
    return told


@app.command("evaluate")
@with_common
def evaluate(
    common: Common,
    run: RunFolder,
    max_completion_tokens: Annotated[int | None, typer.Option(help="Longest answer. [default: the run's]")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of sampling. [default: the run's]")] = None,
    criteria: Annotated[str | None, typer.Option(help="What the judge looks at, as a question.")] = None,
    taxonomy: Annotated[Path | None, typer.Option(help="The labels right answers end in, with --gold-column.")] = None,
) -> None:
    """How often a judge prefers the answers of a run's model to those of the model it started from; or how often they are right.

    With --gold-column the greedy answers of both models are checked against gold, and a judge is asked only where one is named.

    --data has prompts, as for `llmlabel rank`; where its answers are ranked, both models are measured on them too. Each pair
    is judged in both orders; the win rate comes with an interval, and once more as it would be at equal length. Writes
    RUN/evaluation (or --out): metrics.json, comparisons.parquet with all answers, report.html.

    Example: llmlabel align evaluate runs/aligned --judge openai:gpt-4.1 --data held_out.parquet

    Exit codes: as `run`.
    """
    common.values["out"] = common.values.get("out") or run / "evaluation"
    start(
        "evaluate", common, run=run, max_completion_tokens=max_completion_tokens, temperature=temperature, criteria=criteria,
        taxonomy=taxonomy,
    )  # fmt: skip
