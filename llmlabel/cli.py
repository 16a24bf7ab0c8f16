"""The `llmlabel` command. Flows are named by string; nothing heavy is imported before it is needed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from llmlabel.commands import align, apply, books, chain, codebook, daily, graph, rank, review, serve
from llmlabel.commands import run as flows
from llmlabel.commands.options import SPEC, Cache, Json, Prices, show_result
from llmlabel.errors import LlmlabelError

app = typer.Typer(
    help="Taxonomies, labels and small classifiers from raw text. An LLM does the labelling; the program makes it trustworthy.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
taxonomy_app = typer.Typer(help="Compare and check taxonomy files.", no_args_is_help=True, rich_markup_mode=None)
prompts_app = typer.Typer(help="Look at the prompts.", no_args_is_help=True, rich_markup_mode=None)
flows.app.command("pipeline")(chain.pipeline)
flows.app.command("sample")(chain.sample)
flows.app.command("daily")(daily.daily)
app.add_typer(flows.app, name="run")
app.command("apply")(apply.apply)
app.command("retry")(flows.retry)
app.command("cost")(books.cost)
app.command("codebook")(codebook.codebook)
app.command("rank")(rank.rank)
app.command("serve")(serve.serve)
app.command("deploy")(serve.deploy)
app.add_typer(books.cache_app, name="cache")
app.add_typer(review.app, name="review")
app.add_typer(graph.app, name="graph")
app.add_typer(align.app, name="align")
app.add_typer(taxonomy_app, name="taxonomy")
app.add_typer(prompts_app, name="prompts")


@taxonomy_app.command("diff")
def taxonomy_diff(a: Path, b: Path) -> None:
    """What changed from taxonomy A to taxonomy B, by label id (files or run folders). Exit code 1 when they differ."""
    from llmlabel.taxonomy.diff import diff

    change = diff(_taxonomy(a), _taxonomy(b))
    for line in change.lines():
        typer.echo(line)
    raise typer.Exit(1 if change else 0)


@taxonomy_app.command("check")
def taxonomy_check(file: Path) -> None:
    """Is a taxonomy file (or a run's) sound? Exit code 1 and a line for every problem when it is not."""
    from llmlabel.taxonomy.diff import problems

    tree = _taxonomy(file)
    found = problems(tree)
    for line in found or [f"sound: {len(tree.labels)} labels"]:
        typer.echo(line)
    raise typer.Exit(1 if found else 0)


def _taxonomy(path: Path) -> Any:
    from llmlabel.records import Taxonomy

    return Taxonomy.load(path / "taxonomy.yaml" if path.is_dir() else path)


@prompts_app.command("list")
def prompts_list(prompts: Annotated[Path | None, typer.Option(help="Directory of overrides.")] = None) -> None:
    """All prompts with their hashes and what they are for."""
    from llmlabel.prompting import PromptLibrary

    library = PromptLibrary(prompts)
    for prompt in map(library.get, library.ids()):
        typer.echo(f"{prompt.id:32} {prompt.hash[:12]}  {prompt.head.summary}")


@prompts_app.command("show")
def prompts_show(
    prompt_id: Annotated[str, typer.Argument(metavar="ID")], prompts: Annotated[Path | None, typer.Option()] = None
) -> None:
    """The text of one prompt, such as annotate/classify@1.0.0."""
    from llmlabel.prompting import PromptLibrary

    typer.echo(PromptLibrary(prompts).get(prompt_id).source)


@prompts_app.command("diff")
def prompts_diff(a: str, b: str, prompts: Annotated[Path | None, typer.Option()] = None) -> None:
    """The lines that differ between two prompts."""
    import difflib

    from llmlabel.prompting import PromptLibrary

    library = PromptLibrary(prompts)
    old, new = (library.get(i).source.splitlines() for i in (a, b))
    for line in difflib.unified_diff(old, new, a, b, lineterm=""):
        typer.echo(line)


@app.command()
def strategies() -> None:
    """The shipped ways to write training answers, as a strategies.yaml to edit and give to `llmlabel run select --strategies`."""
    from importlib import resources

    typer.echo(resources.files("llmlabel.prompts").joinpath("respond", "strategies.yaml").read_text(encoding="utf-8"), nl=False)


@app.command()
def doctor(
    llm: Annotated[str | None, typer.Option(help=f"Model to try: {SPEC}.")] = None,
    prices: Prices = None,
    cache: Cache = None,
    as_json: Json = False,
) -> None:
    """What is installed, what a model spec resolves to, whether it answers, what it can do, and what it costs.

    The model is asked anew (two tiny requests), and runs remember what came out.
    """
    from llmlabel.doctor import examine

    findings = examine(llm, prices, cache)
    show_result(findings, as_json)
    raise typer.Exit(0 if findings["model"].get("answers") else 1)


def main() -> None:
    """Run the command line; deliberate errors become one clear message and an exit code."""
    try:
        sys.exit(app(standalone_mode=False) or 0)  # typer.Exit comes back as its code
    except LlmlabelError as e:
        _fail(str(e), e.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on where it stopped", 130)
    except Exception as e:
        code = getattr(e, "exit_code", None)  # click's own usage errors
        if code is None or not hasattr(e, "format_message"):
            raise
        _fail(e.format_message(), 2)


def _fail(message: str, code: int) -> None:
    if "--json" in sys.argv:
        print(json.dumps({"event": "error", "exit": code, "message": message}, ensure_ascii=False), flush=True)
    print(f"llmlabel: {message}", file=sys.stderr)
    sys.exit(code)
