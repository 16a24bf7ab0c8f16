"""`llmlabel run pipeline` and `llmlabel run sample`: the chain of flows, and the link between training and ranking."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmlabel.commands.options import Common, with_common
from llmlabel.commands.run import start


@with_common
def pipeline(
    common: Common,
    use_case: Annotated[str | None, typer.Option(help="The question the taxonomy answers: 'why customers contact us'.")] = None,
    stages: Annotated[
        str | None,
        typer.Option(help="Commas between: taxonomy,annotate (or graph),select,sft,sample,rank,align,evaluate. [default: all]"),
    ] = None,
    target: Annotated[str | None, typer.Option(help="The model to train: folder, hub id, or embedded.")] = None,
    teacher: Annotated[str | None, typer.Option(help="Model that writes the training answers. [default: --llm]")] = None,
    train_rows: Annotated[int | None, typer.Option(help="Labelled rows that answers are written for. [default: 1000]")] = None,
    test_rows: Annotated[int | None, typer.Option(help="Labelled rows kept apart for tests, gold first. [default: 200]")] = None,
) -> None:
    """From raw texts to a taxonomy, labels, training answers in the way that fits the model, and the trained model, tested.

    Each stage is a flow with a run folder of its own, OUT/STAGE, that the next one starts from; the same command goes on where
    it stopped. Caps (--budget) hold for all stages together. Settings of a stage stand under its name in --config, or in --set
    STAGE.SETTING=VALUE. Sampled answers are ranked by --judge, where one is named, else by whether they end in the row's label.

    Examples:

    llmlabel run pipeline --data tickets.parquet --use-case "why customers contact us" --stages taxonomy,annotate --out R

    llmlabel run pipeline --config pipeline.yaml --data tickets.parquet --target Qwen/Qwen3-0.6B --out runs/all

    with pipeline.yaml: {use_case: why customers contact us, select: {n: 60}, sft: {lora: true}, sample: {samples: 6}}

    Exit codes: 0 done, 1 failed, 2 usage, 3 finished with failed rows, 4 budget reached, 130 interrupted.
    """
    if teacher:
        common.values["llm"] = {**(common.values.get("llm") or {}), "teacher": teacher}
    wanted = [name.strip() for name in stages.split(",")] if stages else None
    start(
        "pipeline", common, use_case=use_case, stages=wanted, target=target, train_rows=train_rows, test_rows=test_rows
    )  # fmt: skip


@with_common
def sample(
    common: Common,
    policy: Annotated[str | None, typer.Option(help="The model that answers: folder, hub id. [default: embedded]")] = None,
    samples: Annotated[int | None, typer.Option(help="Answers to each prompt; copies are left out. [default: 4]")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of sampling. [default: 0.7]")] = None,
    max_completion_tokens: Annotated[int | None, typer.Option(help="Longest answer. [default: 512]")] = None,
    sampler: Annotated[str | None, typer.Option(help="embedded, or vllm. [default: embedded]")] = None,
    most: Annotated[int | None, typer.Option(help="Most prompts, drawn with the seed. [default: all]")] = None,
    taxonomy: Annotated[Path | None, typer.Option(help="The labels right answers end in, with --gold-column.")] = None,
) -> None:
    """Several answers of a model to each prompt: what `llmlabel rank` puts in order and `llmlabel run align` learns from.

    OUT/responses.parquet holds lists of answers. With --gold-column they are checked, and right answers stand above wrong ones.

    Example: llmlabel run sample --data prompts.parquet --policy runs/sft/model --samples 6 --out runs/sampled

    Exit codes: as `run taxonomy`.
    """
    start(
        "sample", common, policy=policy, samples=samples, temperature=temperature, sampler=sampler, most=most, taxonomy=taxonomy,
        max_completion_tokens=max_completion_tokens,
    )  # fmt: skip
