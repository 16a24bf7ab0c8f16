"""The `llmlabel` command. Flows are named by string; nothing heavy is imported before it is needed."""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from llmlabel.errors import LlmlabelError

app = typer.Typer(
    help="Taxonomies, labels and small classifiers from raw text. An LLM does the labelling; the program makes it trustworthy.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
run_app = typer.Typer(help="Run a flow.", no_args_is_help=True, rich_markup_mode=None)
taxonomy_app = typer.Typer(help="Compare and check taxonomy files.", no_args_is_help=True, rich_markup_mode=None)
prompts_app = typer.Typer(help="Look at the prompts.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(run_app, name="run")
app.add_typer(taxonomy_app, name="taxonomy")
app.add_typer(prompts_app, name="prompts")

DATA = "parquet, jsonl(.gz) or csv file, hf://id[:split], or env: (the Python packages installed here)"
SPEC = "embedded[:DIR_OR_ID], openai:MODEL, vllm:MODEL_OR_DIR, or MODEL@http://host:port/v1"


@run_app.command("taxonomy")
def run_taxonomy(
    data: Annotated[str | None, typer.Option(help=f"What to read: {DATA}.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column with the texts. [default: text]")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column with unique row ids. [default: id, else a hash]")] = None,
    gold_column: Annotated[str | None, typer.Option(help="Column with true labels, for scores only.")] = None,
    use_case: Annotated[str | None, typer.Option(help="The question the taxonomy answers: 'why customers contact us'.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; the same command on it resumes.")] = None,
    from_run: Annotated[Path | None, typer.Option("--from", help="An earlier run to start from; asks only what changed.")] = None,
    taxonomy: Annotated[Path | None, typer.Option(help="Label with this taxonomy.yaml instead of inducing one.")] = None,
    llm: Annotated[
        str | None, typer.Option(help=f"Model: {SPEC}. [default: hosted if a key or URL is set, else embedded]")
    ] = None,
    judge: Annotated[str | None, typer.Option(help="Model that scores the labels. [default: --llm]")] = None,
    method: Annotated[
        str | None, typer.Option(help="auto, tnt (TnT-LLM's chain) or cluster (name clusters). [default: auto]")
    ] = None,
    max_labels: Annotated[int | None, typer.Option(help="Most labels on one level. [default: 25]")] = None,
    levels: Annotated[int | None, typer.Option(help="1, or 2: induce again inside each category. [default: 1]")] = None,
    induce_on: Annotated[int | None, typer.Option(help="Texts to induce the taxonomy on. [default: 2000]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Texts in one minibatch of the chain. [default: 200]")] = None,
    label_with_llm: Annotated[
        int | None, typer.Option(help="Texts the model labels; the classifier does the rest. [default: 1000]")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Most US dollars to spend, over all resumes.")] = None,
    budget_calls: Annotated[int | None, typer.Option(help="Most requests to send.")] = None,
    budget_tokens: Annotated[int | None, typer.Option(help="Most tokens to use.")] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Print calls, tokens and money, and stop.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of every random choice. [default: 0]")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with any of these settings.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value for any setting, such as llm.update=openai:gpt-4.1.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="Directory of prompts that override the packaged ones by id.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Where answers and vectors are kept. [default: the user's cache]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Events as JSON lines on stdout.")] = False,
) -> None:
    """From raw texts to a taxonomy, a label for every text, a small classifier and a report.

    Example: llmlabel run taxonomy --data tickets.parquet --use-case "why customers contact us" --out runs/tickets

    Exit codes: 0 done, 1 failed, 2 usage, 3 finished with failed rows, 4 budget reached, 130 interrupted.
    """
    from llmlabel.config import TaxonomyConfig, load_config

    options: dict[str, Any] = {
        "data": data, "text_column": text_column, "id_column": id_column, "gold_column": gold_column, "use_case": use_case,
        "out": out, "from_run": from_run, "taxonomy": taxonomy, "method": method, "max_labels": max_labels, "levels": levels,
        "induce_on": induce_on, "batch_size": batch_size, "label_with_llm": label_with_llm, "budget": budget,
        "budget_calls": budget_calls, "budget_tokens": budget_tokens, "seed": seed, "prompts": prompts, "cache": cache,
    }  # fmt: skip
    roles = {role: spec for role, spec in (("default", llm), ("judge", judge)) if spec}
    options["llm"] = roles or None
    built = load_config(TaxonomyConfig, file=config, options=options, settings=settings or [])
    if estimate:
        from llmlabel.taxonomy.estimate import estimate_taxonomy

        _print(estimate_taxonomy(built), as_json)
        return
    _run_flow("llmlabel.flows.taxonomy:taxonomy", built, as_json)


def _run_flow(path: str, config: Any, as_json: bool) -> None:
    """Run a flow on the server of PREFECT_API_URL, else on a temporary one, and show its progress."""
    from llmlabel.events import listening
    from llmlabel.terminal import Terminal

    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
    os.environ.setdefault("PREFECT_RESULTS_DEFAULT_SERIALIZER", "json")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")  # progress is ours to show
    terminal = Terminal(as_json)
    start = time.monotonic()
    with terminal, listening(terminal):
        module, _, name = path.partition(":")
        result = getattr(import_module(module), name)(config)
        terminal({"event": "done", "seconds": round(time.monotonic() - start, 1), **result})
    raise typer.Exit(result["exit"])


@app.command()
def apply(
    run: Annotated[Path, typer.Argument(help="A run folder with a classifier.")],
    data: Annotated[str, typer.Option(help=f"What to label: {DATA}.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    text_column: Annotated[str, typer.Option(help="Column with the texts.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="The counts as JSON on stdout.")] = False,
) -> None:
    """Label any number of rows with a run's small classifier, streamed.

    Writes all columns of the data and label, label_name, confidence, probs and status.
    """
    from llmlabel.students.apply import apply as apply_classifier
    from llmlabel.terminal import Terminal

    start, done = time.monotonic(), 0
    with Terminal(as_json) as terminal:

        def count(n: int) -> None:
            nonlocal done
            done += n
            rate = done / (time.monotonic() - start)
            terminal(
                {
                    "event": "progress",
                    "step": "apply",
                    "done": done,
                    "total": None,
                    "rate": rate,
                    "left_s": None,
                    "cost": 0.0,
                }
            )

        counts = apply_classifier(run, data, out, text_column=text_column, on_done=count)
    _print(
        {
            "out": str(out),
            "rows": sum(counts.values()),
            "counts": dict(counts),
            "seconds": round(time.monotonic() - start, 1),
        },
        as_json,
    )
    raise typer.Exit(3 if counts.get("error") else 0)


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
def doctor(
    llm: Annotated[str | None, typer.Option(help=f"Model to try: {SPEC}.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON on stdout.")] = False,
) -> None:
    """What is installed, what a model spec resolves to, whether it answers, and what it can do."""
    from llmlabel.doctor import examine

    findings = examine(llm)
    _print(findings, as_json)
    raise typer.Exit(0 if findings["model"].get("answers") else 1)


def _print(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(values, ensure_ascii=False))
        return
    from llmlabel.terminal import show

    show(values)


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
