"""`llmlabel run FLOW`, and `llmlabel retry`. Flows are named by string; nothing heavy is imported before it is needed."""

from __future__ import annotations

import os
import time
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from llmlabel.commands import options
from llmlabel.commands.options import Common, Limits, show_result, with_common, with_limits
from llmlabel.commands.prefect_server import QUIET, flow_server, told_when_gone
from llmlabel.errors import ConfigError
from llmlabel.flows import FLOWS

app = typer.Typer(help="Run a flow.", no_args_is_help=True, rich_markup_mode=None)


@app.command("taxonomy")
@with_common
def taxonomy(
    common: Common,
    use_case: Annotated[str | None, typer.Option(help="The question the taxonomy answers: 'why customers contact us'.")] = None,
    taxonomy: Annotated[Path | None, typer.Option(help="Label with this taxonomy.yaml instead of inducing one.")] = None,
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
) -> None:
    """From raw texts to a taxonomy, a label for every text, a small classifier and a report.

    Example: llmlabel run taxonomy --data tickets.parquet --use-case "why customers contact us" --out runs/tickets

    Exit codes: 0 done, 1 failed, 2 usage, 3 finished with failed rows, 4 budget reached, 130 interrupted.
    """
    start(
        "taxonomy",
        common,
        use_case=use_case,
        taxonomy=taxonomy,
        method=method,
        max_labels=max_labels,
        levels=levels,
        induce_on=induce_on,
        batch_size=batch_size,
        label_with_llm=label_with_llm,
    )


@app.command("annotate")
@with_common
def annotate(
    common: Common,
    taxonomy: Annotated[Path | None, typer.Option(help="Label with this taxonomy.yaml. [default: that of --from]")] = None,
    use_case: Annotated[str | None, typer.Option(help="The question the labels answer. [default: the taxonomy's]")] = None,
    annotator: options.Annotators = None,
    annotations: Annotated[
        Path | None,
        typer.Option(help="Labels somebody already gave: id, label[, confidence][, annotator]; alone, or beside models."),
    ] = None,
    multi_label: Annotated[bool | None, typer.Option("--multi-label", help="Any number of labels per text.")] = None,
    samples: Annotated[
        int | None, typer.Option(help="Answers per text where a model tells no probabilities. [default: 3]")
    ] = None,
    few_shot: Annotated[
        int | None, typer.Option(help="Show so many of the nearest gold rows in each question. [default: 0]")
    ] = None,
    consensus: Annotated[
        str | None,
        typer.Option(
            help="auto, majority, weighted, dawid_skene, mace or stacked. [default: auto: chosen on gold, else by rule]"
        ),
    ] = None,
    target_precision: Annotated[
        float | None, typer.Option(help="Accept only labels that are together so often right, such as .95; needs gold.")
    ] = None,
    cascade: Annotated[
        bool | None, typer.Option("--cascade", help="Ask annotators in order, each only for what those before left unsure.")
    ] = None,
    explain: Annotated[bool | None, typer.Option("--explain", help="A reason for every label, in explanations.jsonl.")] = None,
    label_with_llm: Annotated[
        int | None, typer.Option(help="Texts that are asked; a classifier does the rest. [default: all]")
    ] = None,
    runner: options.Runner = None,
    workers: options.Workers = None,
    address: options.Address = None,
    part_rows: options.PartRows = None,
) -> None:
    """Label texts with a taxonomy, by one model or several, and prove how good the labels are.

    Gold rows (--gold-column, empty where unknown; or `llmlabel review`) calibrate confidence, choose the consensus, and
    measure: accuracy, shares and promises come with intervals. Without gold it labels, and says what it cannot promise.

    Examples:

    llmlabel run annotate --data tickets.parquet --taxonomy taxonomy.yaml --gold-column label --out runs/labels

    llmlabel run annotate --data tickets.parquet --taxonomy taxonomy.yaml --gold-column label --annotator nearest
    --annotator openai:gpt-4.1-mini --annotator openai:gpt-4.1 --cascade --target-precision .95 --out runs/cascade

    With any of --runner, --workers, --address and --part-rows the data is cut into parts that run side by side, each a run of its
    own; OUT/labels holds the labels of all.

    Exit codes: 0 done, 1 failed, 2 usage, 3 finished with failed rows, 4 budget reached, 130 interrupted.
    """
    given = {"runner": runner, "workers": workers, "address": address, "part_rows": part_rows}
    parts = {name: value for name, value in given.items() if value is not None}
    start(
        "annotate_parts" if parts else "annotate",
        common,
        **parts,
        taxonomy=taxonomy,
        use_case=use_case,
        annotators=annotator or None,
        annotations=annotations,
        multi_label=multi_label,
        samples=samples,
        few_shot=few_shot,
        consensus=consensus,
        target_precision=target_precision,
        cascade=cascade,
        explain=explain,
        label_with_llm=label_with_llm,
    )


@app.command("audit")
@with_common
def audit(
    common: Common,
    label_column: Annotated[str | None, typer.Option(help="Column with the labels to audit. [default: label]")] = None,
    taxonomy: Annotated[
        Path | None, typer.Option(help="The taxonomy.yaml the labels are from. [default: the distinct labels]")
    ] = None,
    annotator: options.Annotators = None,
    ask: Annotated[int | None, typer.Option(help="Most suspicious rows each judge is asked about. [default: 500]")] = None,
    check: Annotated[Path | None, typer.Option(help="The run's check.csv with verdicts: how good the queue is.")] = None,
) -> None:
    """Find wrong labels in data somebody has labelled.

    A small classifier, cross-validated on the given labels, finds suspicious rows; models named with --annotator (or a hosted
    one, where a key or URL is set) judge the worst of them. audit.parquet holds the rows, worst first, with reasons. check.csv
    is a random draw for a person to look at; filled in and given back with --check, it says how many flagged labels are wrong.

    Examples:

    llmlabel run audit --data tickets.parquet --label-column topic --out runs/audit

    llmlabel run audit --data tickets.parquet --label-column topic --out runs/audit --check runs/audit/check.csv

    Exit codes: 0 done, 1 failed, 2 usage, 3 finished with failed rows, 4 budget reached, 130 interrupted.
    """
    start("audit", common, label_column=label_column, taxonomy=taxonomy, annotators=annotator or None, ask=ask, check=check)


@app.command("graph")
@with_common
def graph(
    common: Common,
    nodes: Annotated[
        str | None,
        typer.Option(help="Nodes: a table as --data reads it (the same option), or a .graphml, .gexf, .gml or PyG .pt file."),
    ] = None,
    edges: Annotated[
        str | None, typer.Option(help="Table with source, target[, weight]; edge list; .npy (2, E); scipy .npz.")
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Numbers for each node: .npy, .npz. [default: vectors of the texts]")
    ] = None,
    taxonomy: Annotated[Path | None, typer.Option(help="Label with this taxonomy.yaml.")] = None,
    annotator: options.Annotators = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="Labels somebody already gave: id, label[, confidence]; with --budget-nodes only selected nodes are read."
        ),
    ] = None,
    budget_nodes: Annotated[
        int | None, typer.Option(help="Nodes to annotate. [default: 20 per label; with --annotations: all its rows]")
    ] = None,
    select: Annotated[str | None, typer.Option(help="How nodes are chosen. [default: auto]")] = None,
    filter: Annotated[str | None, typer.Option(help="How doubtful annotations are dropped, or none. [default: auto]")] = None,
    gnn: Annotated[str | None, typer.Option(help="gcn, sage, sgc, appnp, label-spreading or mlp. [default: auto]")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds the budget is spent in. [default: 1]")] = None,
    neighbour_context: Annotated[
        bool | None, typer.Option("--neighbour-context", help="Show a model the texts of linked nodes too.")
    ] = None,
    target_precision: Annotated[
        float | None, typer.Option(help="Mark as low_confidence what keeps the others from being so often right, by estimate.")
    ] = None,
    structure: Annotated[
        bool | None, typer.Option("--structure", help="FastRP vectors of the edges beside texts or features.")
    ] = None,
) -> None:
    """Label every node of a graph for the price of a few.

    Chooses nodes, has them labelled by a model (or looks them up in --annotations), drops what is likely wrong, trains a graph
    learner on the rest, and labels all nodes, with an estimate of how many are right that needs no true labels.

    Examples:

    llmlabel run graph --nodes papers.parquet --edges cites.parquet --taxonomy taxonomy.yaml --budget-nodes 120 --out runs/papers

    llmlabel run graph --data env: --taxonomy taxonomy.yaml --budget-nodes 60 --out runs/packages

    Exit codes: 0 done, 1 failed, 2 usage, 3 finished with failed rows, 4 budget reached, 130 interrupted.
    """
    if nodes is not None:
        if common.values.get("data") is not None:
            raise ConfigError("--nodes and --data are the same option; give one of them")
        common.values["data"] = nodes
    start(
        "graph",
        common,
        edges=edges,
        features=features,
        taxonomy=taxonomy,
        annotators=annotator or None,
        annotations=annotations,
        budget_nodes=budget_nodes,
        select=select,
        filter=filter,
        gnn=gnn,
        rounds=rounds,
        neighbour_context=neighbour_context,
        structure=structure,
        target_precision=target_precision,
    )


@app.command("align")
@with_common
def align(
    common: Common,
    method: Annotated[
        str | None, typer.Option(help="lipo: train on ranked answers; cyclealign: make them, in cycles. [default: lipo]")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="Model to train: folder, hub id, or embedded (the packaged small one). [default: embedded]")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Model the policy is held to. [default: the policy before training]")
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="lambda, list-mle, pair-logistic, softmax, ...: a wrong name lists them. [default: lambda]")
    ] = None,
    convention: Annotated[str | None, typer.Option(help="Constants of the loss: paper or rax. [default: paper]")] = None,
    beta: Annotated[float | None, typer.Option(help="What a nat away from the reference counts. [default: 0.05]")] = None,
    sft_weight: Annotated[float | None, typer.Option(help="Of -log p(best answer), added to the loss. [default: 0]")] = None,
    lora: Annotated[bool | None, typer.Option("--lora", help="Train low-rank adapters only: less memory.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="[default: 5e-6; with --lora 1e-4]")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the lists, of each cycle. [default: 1]")] = None,
    list_size: Annotated[
        int | None, typer.Option(help="Most answers of a list; cyclealign: answers to sample. [default: all; 4]")
    ] = None,
    held_out: Annotated[
        str | None, typer.Option(help="Ranked answers to measure on. [default: a tenth of the prompts of --data]")
    ] = None,
    cycles: Annotated[int | None, typer.Option(help="cyclealign: most cycles. [default: 3]")] = None,
    judge_by: Annotated[str | None, typer.Option(help="pairwise, listwise or pointwise. [default: auto]")] = None,
    demonstrations: Annotated[str | None, typer.Option(help="cyclealign: ranked answers the judge is always shown.")] = None,
) -> None:
    """Train a model on lists of ranked answers (LiPO), or let a judge and the model make them (CycleAlign).

    RUN/model is a transformers folder with a model card. Before training the data is checked; held-out lists are measured
    before and after; with --judge, the model's answers are compared with those of the model it started from. The same
    command goes on after a kill, at the very step.

    Examples:

    llmlabel run align --data ranked.parquet --policy Qwen/Qwen3-0.6B --out runs/aligned

    llmlabel run align --method cyclealign --data prompts.parquet --policy DIR --judge openai:gpt-4.1 --cycles 3 --out runs/cycles

    Exit codes: 0 done, 1 failed, 2 usage, 4 budget reached, 130 interrupted.
    """
    start(
        "align",
        common,
        method=method,
        policy=policy,
        reference=reference,
        loss=loss,
        convention=convention,
        beta=beta,
        sft_weight=sft_weight,
        lora=lora,
        learning_rate=learning_rate,
        epochs=epochs,
        list_size=list_size,
        held_out=held_out,
        cycles=cycles,
        judge_by=judge_by,
        demonstrations=demonstrations,
    )


@app.command("select")
@with_common
def select(
    common: Common,
    target: Annotated[
        str | None, typer.Option(help="The model that will be trained: folder, hub id, or a spec such as vllm:DIR.")
    ] = None,
    teacher: Annotated[str | None, typer.Option(help="Model that writes the answers. [default: --llm]")] = None,
    strategies: Annotated[
        Path | None,
        typer.Option(help="strategies.yaml; `llmlabel strategies` prints the shipped one. [default: the shipped ones]"),
    ] = None,
    responses: Annotated[
        str | None, typer.Option(help="Answers somebody already has (lists of answers, column strategies or models): no teacher.")
    ] = None,
    taxonomy: Annotated[
        Path | None,
        typer.Option(help="The texts of --data are to be labelled with this; they become prompts that ask for a label."),
    ] = None,
    use_case: Annotated[str | None, typer.Option(help="The question the labels answer. [default: the taxonomy's]")] = None,
    n: Annotated[int | None, typer.Option(help="Prompts that every strategy answers. [default: 100]")] = None,
    score: Annotated[
        str | None,
        typer.Option(help="What decides: sppl, ppl, ifd or cosine; all: sppl, and the others beside it. [default: sppl]"),
    ] = None,
    verify: Annotated[
        str | None,
        typer.Option(help="How answers are checked against gold: label, numeric, exact, YOUR.MODULE, none. [default: auto]"),
    ] = None,
    per_prompt: Annotated[
        bool | None,
        typer.Option("--per-prompt", help="For each prompt the answer the target finds likeliest (GRAPE), not one strategy."),
    ] = None,
    pilot: Annotated[
        bool | None, typer.Option("--pilot", help="Train the target on the two best strategies, three seeds each, and test it.")
    ] = None,
    generate_all: Annotated[
        int | None, typer.Option(help="Then write so many training rows the chosen way, into sft.parquet.")
    ] = None,
) -> None:
    """Which way of writing the training answers fits the model you will train?

    Every strategy answers the same few dozen prompts; answers are checked against gold (--gold-column); the target model says
    how likely it finds each (self-aligned perplexity, before it its own verified answers to other prompts). Strategies that
    are clearly behind are dropped early. The verdict is clear, weak, or a tie, in which the cheapest is taken; metrics.json and
    report.html hold the evidence, sft.parquet the answers, as TRL's SFTTrainer reads them.

    Examples:

    llmlabel run select --data prompts.parquet --target Qwen/Qwen3-0.6B --teacher openai:gpt-4.1-mini --out runs/select

    llmlabel run select --data tickets.parquet --taxonomy labels.yaml --gold-column label --target DIR --teacher vllm:BIG --out R

    llmlabel run select --responses answers.parquet --target vllm:DIR --out runs/select

    llmlabel run select --from runs/select --generate-all 50000 --out runs/sft

    Exit codes: 0 done, 1 failed, 2 usage, 3 finished with failed answers, 4 budget reached, 130 interrupted.
    """
    own = {
        "target": target, "strategies": strategies, "responses": responses, "taxonomy": taxonomy, "use_case": use_case, "n": n,
        "score": score, "verify": verify, "choose": "per_prompt" if per_prompt else None, "pilot": pilot,
        "generate_all": generate_all,
    }  # fmt: skip
    if teacher:
        common.values["llm"] = {**(common.values.get("llm") or {}), "teacher": teacher}
    if source := common.values.get("from_run"):
        common.values = _settings_of(source) | {name: value for name, value in common.values.items() if value is not None}
        own = {name: value for name, value in own.items() if value is not None}
    start("select", common, **own)


@app.command("sft")
@with_common
def sft(
    common: Common,
    policy: Annotated[
        str | None,
        typer.Option(
            help="Model to train: folder, hub id, or embedded (the packaged small one). [default: the target of --from; embedded]"
        ),
    ] = None,
    lora: Annotated[bool | None, typer.Option("--lora", help="Train low-rank adapters only: less memory.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="[default: 2e-5; with --lora 2e-4]")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the rows. [default: 3]")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop after so many steps.")] = None,
    rows_per_step: Annotated[int | None, typer.Option(help="Rows one step of the optimiser learns from. [default: 8]")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longer rows, prompt and answer together, are left out and counted. [default: 2048]")
    ] = None,
    held_out_share: Annotated[
        float | None, typer.Option(help="Of the prompts, kept out of training to measure on. [default: 0.1]")
    ] = None,
) -> None:
    """Fine-tune a model on prompts with one good answer each.

    --data has `prompt` and `completion` (texts or messages) or `messages` that end with the answer; --from RUN takes the rows
    and the target of a finished `llmlabel run select`. Only the answers' tokens are learnt. RUN/model is a transformers folder
    with a model card, which embedded:RUN/model, vllm:RUN/model and `llmlabel run align --policy RUN/model` load. Held-out rows
    are measured before and after. The same command goes on after a kill, at the very step.

    Examples:

    llmlabel run sft --from runs/select --lora --out runs/sft

    llmlabel run sft --data chats.jsonl --policy Qwen/Qwen3-0.6B --learning-rate 1e-5 --epochs 2 --out runs/sft

    Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted.
    """
    if source := common.values.get("from_run"):
        common.values, policy = _rows_of(source, common.values), policy or _target_of(source)
    start(
        "sft",
        common,
        policy=policy,
        lora=lora,
        learning_rate=learning_rate,
        epochs=epochs,
        max_steps=max_steps,
        rows_per_step=rows_per_step,
        max_tokens=max_tokens,
        held_out_share=held_out_share,
    )


def _rows_of(run: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Shared options with the training rows of a selection as data."""
    from llmlabel.runs import load_run

    if values.get("data") is not None:
        raise ConfigError("--from RUN means RUN/sft.parquet; leave out --data, or --from")
    if not (load_run(run).path / "sft.parquet").is_file():
        raise ConfigError(f"--from {run} has no training rows (sft.parquet): name a finished run of `llmlabel run select`")
    return {**values, "data": str(run / "sft.parquet")}


def _target_of(run: Path) -> str | None:
    """The model a selection was for, as one to train."""
    from llmlabel.runs import load_run
    from llmlabel.selection.target import weights_of

    target = load_run(run).info["config"].get("target")
    return (weights_of(target) or "embedded") if target else None


def _settings_of(run: Path) -> dict[str, Any]:
    """The settings an earlier run had, but for those that were about itself: its folder, its caps."""
    from llmlabel.config.common import NOT_DEFINING
    from llmlabel.runs import load_run

    return {
        name: value for name, value in load_run(run).info["config"].items() if name not in NOT_DEFINING - {"prompts", "prices"}
    }


def start(name: str, common: Common, **own: Any) -> None:
    """Run a flow by its name in FLOWS, or say what it would cost."""
    flow, kind, estimate = FLOWS[name]
    config = common.build(_load(f"llmlabel.config:{kind}"), **own)
    if common.estimate:
        show_estimate(_load(f"llmlabel.flows.{estimate}")(config), common.as_json)
    else:
        run_flow(flow, config, common.as_json)


def show_estimate(found: dict[str, Any], as_json: bool) -> None:
    """Calls, tokens and money by step, and in total."""
    if as_json:
        return show_result(found, True)
    from llmlabel.terminal import show, show_rows

    steps = [step | {"money": "unknown" if step["money"] is None else f"${step['money']:,.4f}"} for step in found.pop("steps")]
    show_rows(steps, ("calls", "prompt_tokens", "completion_tokens", "money"))
    typer.echo()
    show(found)


@with_limits
def retry(
    limits: Limits,
    run: Annotated[Path, typer.Argument(help="A run folder; the command that made it ended with exit code 3.")],
) -> None:
    """Ask the rows of a run that failed once more, keep all others, and write its files anew.

    Rows without a text are not asked. A run that stopped before its end goes on; a run without failed rows is left alone.
    Each round draws new answers, at temperature 0.5. The settings are those of the run (run.json); caps count from its start.

    Example: llmlabel retry runs/tickets

    Exit codes: as `run`; 3 when rows still fail.
    """
    from llmlabel.config import load_config
    from llmlabel.runs import load_run

    info = load_run(run).info
    if info["flow"] not in FLOWS:
        raise ConfigError(f"{run} was made by the flow {info['flow']!r}, which this version does not have")
    flow, kind, _ = FLOWS[info["flow"]]
    config = load_config(
        _load(f"llmlabel.config:{kind}"), options={**info["config"], **limits.values, "out": run}, settings=limits.settings
    )
    run_flow(flow, config, limits.as_json)


def run_flow(flow: str, config: Any, as_json: bool) -> None:
    """Run a flow, FILE:NAME, on the server of PREFECT_API_URL, else on a temporary one, and show its progress."""
    from llmlabel.events import listening
    from llmlabel.terminal import Terminal

    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    terminal = Terminal(as_json)
    start = time.monotonic()
    with terminal, listening(terminal), told_when_gone(), flow_server() as wait:
        function = _load(f"llmlabel.flows.{flow}")
        wait()
        result = function(config)
        terminal({"event": "done", "seconds": round(time.monotonic() - start, 1), **result})
    raise typer.Exit(result["exit"])


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
