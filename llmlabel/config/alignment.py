"""Settings of the flows that judge answers and train a model on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from llmlabel.config.common import CommonConfig

# What may change on resume, as after running out of memory or of budget.
TRAINING_FREE = {"report_to", "save_every", "launcher", "gradient_checkpointing"}
ALIGN_FREE = {"judge_calls", "lists_at_once", "two_pass", "shared_prefix"}
SFT_FREE = {"rows_at_once"}


class JudgingConfig(CommonConfig):
    """What flows share that have a model judge answers."""

    judge_by: Literal["auto", "pairwise", "listwise", "pointwise"] = Field(
        "auto",
        description="How the judge orders K answers: two at a time, all at once, or a score for each; "
        "auto: pairwise up to 4 answers, listwise above.",
    )
    criteria: str = Field(
        "Which answer is the better one: more correct, more helpful, closer to what was asked?",
        description="What the judge is told to look at.",
    )
    comparisons: int | None = Field(
        None, ge=1, description="Pairwise: comparisons each answer takes part in, drawn with the seed; default: all pairs."
    )
    orders: Literal[1, 2] = Field(
        2, description="Pairwise: 2 shows every pair in both orders; 1 leaves the judge's liking for a place in."
    )
    suspect_answers: Literal["judged", "last"] = Field(
        "judged",
        description="Answers that look like an attack on the judge: judged as all others and marked, or behind all others.",
    )
    judge_samples: int = Field(2, ge=1, le=50, description="Listwise: orders each list is shown in; pointwise: answers asked.")
    max_text_chars: int = Field(6000, ge=100, description="A judge sees at most this much of a prompt, and of an answer.")
    shard_size: int = Field(200, ge=1, description="Lists per task when judging.")


class RankConfig(JudgingConfig):
    """`llmlabel rank`: answers to the same prompt, put in order by a judge."""


class TrainingConfig(CommonConfig):
    """What flows share that train a language model."""

    policy: str = Field("embedded", description="The model to train: a folder, a hub id, or embedded (the packaged small model).")
    lora: bool = Field(False, description="Train low-rank adapters: less memory.")
    lora_rank: int = Field(16, ge=1, description="Rank of the adapters; alpha is twice as much.")
    learning_rate: float | None = Field(None, gt=0, description="Default: 5e-6; with adapters 1e-4.")
    epochs: float = Field(1.0, gt=0, description="Passes over the data (of each cycle).")
    max_steps: int | None = Field(None, ge=1, description="Stop after so many steps.")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on a GPU that has it, else fp32.")
    gradient_checkpointing: bool = Field(False, description="Compute activations twice and keep few.")
    warmup_share: float = Field(0.1, ge=0, le=1, description="Of the steps, in which the learning rate rises.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are cut to this length.")
    held_out_share: float = Field(0.1, ge=0, lt=1, description="Of the prompts, kept out of training to measure on.")
    measure_every: int | None = Field(
        None, ge=1, description="Steps between two looks at the held-out prompts; default: four looks."
    )
    save_every: int | None = Field(None, ge=1, description="Steps between two checkpoints; default: at every look.")
    launcher: str | None = Field(
        None, description="Command that starts the training in several processes, such as: accelerate launch --num_processes 4."
    )
    report_to: list[str] = Field(default_factory=list, description="tensorboard, wandb, mlflow, beside log.jsonl.")

    def definition(self) -> dict[str, Any]:
        return {k: v for k, v in super().definition().items() if k not in TRAINING_FREE}

    @field_validator("report_to")
    @classmethod
    def _known_reporters(cls, values: list[str]) -> list[str]:
        if unknown := set(values) - {"tensorboard", "wandb", "mlflow"}:
            raise ValueError(f"knows tensorboard, wandb and mlflow, not {', '.join(sorted(unknown))}")
        return values


class SamplingConfig(CommonConfig):
    """What flows share that sample a model's answers."""

    sampler: Literal["embedded", "vllm"] = Field("embedded", description="What samples the answers of a model in a folder.")
    temperature: float = Field(0.7, gt=0, le=2, description="Of sampling.")
    top_p: float = Field(0.95, gt=0, le=1, description="Of sampling.")
    max_completion_tokens: int = Field(512, ge=4, description="Longest answer.")
    shard_size: int = Field(200, ge=1, description="Prompts per task.")


class AlignConfig(JudgingConfig, TrainingConfig, SamplingConfig):
    """`llmlabel run align`: ranked answers, or prompts and a judge, to a trained model."""

    method: Literal["lipo", "cyclealign"] = Field(
        "lipo", description="lipo: train on ranked lists; cyclealign: make them, in cycles."
    )
    reference: str | None = Field(None, description="What the policy is held to; default: the policy before training.")
    loss: str = Field("lambda", description="A file of llmlabel/alignment/losses, such as lambda, list-mle, pair-logistic.")
    convention: Literal["paper", "rax"] = Field(
        "paper", description="Constants of the loss: as printed, or as the paper's library has them."
    )
    labels: Literal["auto", "scores", "ranks", "wins"] = Field(
        "auto",
        description="What the labels in [0, 1] are made from; auto: win_matrix, else scores between 0 and 1, else the order.",
    )
    beta: float = Field(0.05, gt=0, description="How much a nat away from the reference counts.")
    sft_weight: float = Field(0.0, ge=0, description="Of -log p(best answer) per token, added to the loss.")
    lists_per_step: int = Field(8, ge=1, description="Lists one optimiser step learns from.")
    lists_at_once: int = Field(1, ge=1, description="Lists one forward pass holds; more need more memory.")
    list_size: int | None = Field(
        None,
        ge=2,
        le=64,
        description="Most answers of a list; longer ones keep best, worst and some between. cyclealign: answers sampled (4).",
    )
    max_prompt_tokens: int = Field(1024, ge=8, description="Longer prompts are cut at their beginning.")
    max_completion_tokens: int = Field(512, ge=4, description="Longer answers are cut at their end, and counted.")
    chat: Literal["auto", "always", "never"] = Field(
        "auto", description="Whether a prompt goes through the model's chat template; auto: if it has one."
    )
    shared_prefix: Literal["auto", "kv", "packed", "naive"] = Field(
        "auto", description="How a prompt is computed once for all its answers; naive: once for each."
    )
    two_pass: Literal["auto", "on", "off"] = Field(
        "auto", description="Answers of a list one at a time in the backward pass: memory hardly grows with their number."
    )
    held_out: str | None = Field(None, description="Ranked lists to measure on; default: a share of the data.")
    cycles: int = Field(3, ge=1, le=50, description="cyclealign: most cycles.")
    demonstrations: str | None = Field(None, description="cyclealign: ranked lists the judge is always shown.")
    demonstrations_shown: int = Field(
        2, ge=0, le=10, description="cyclealign: agreed lists of earlier cycles the judge is shown."
    )
    agreement_above: float = Field(
        0.9,
        ge=0,
        lt=1,
        description="cyclealign: lists count whose agreement chance reaches with a probability of at most one minus this.",
    )
    train_on: Literal["agreed", "judge"] = Field(
        "agreed",
        description="cyclealign: the answers judge and policy order alike, or the judge's whole order, of lists that agree.",
    )
    plateau: float = Field(
        0.0, ge=0, description="cyclealign: stop when a cycle raises held-out agreement by no more than this; 0: never."
    )
    judge_calls: int | None = Field(
        None, ge=1, description="cyclealign: most questions to the judge; the cycle that would pass it is not begun."
    )

    def definition(self) -> dict[str, Any]:
        return {k: v for k, v in super().definition().items() if k not in ALIGN_FREE}


class EvaluateConfig(JudgingConfig, SamplingConfig):
    """`llmlabel align evaluate`: a trained model against the one it started from."""

    run: Path = Field(description="The run of `llmlabel run align` or `run sft` whose model is evaluated.")
    judged: Literal["auto", "always", "never"] = Field(
        "auto", description="Whether a judge compares the answers; auto: unless gold can check them and no judge is named."
    )
    taxonomy: Path | None = Field(None, description="The labels right answers end in, where gold are labels.")
    verify: str = Field("auto", description="How an answer is checked against gold, as in `llmlabel run select`.")
    beside: list[str] = Field(default_factory=list, description="Other models that answer the same prompts with gold.")


class SampleConfig(SamplingConfig):
    """`llmlabel run sample`: several answers of a model to each prompt, to be ranked."""

    policy: str = Field("embedded", description="The model that answers: a folder, a hub id, or embedded.")
    samples: int = Field(4, ge=1, le=64, description="Answers to each prompt; copies are left out.")
    most: int | None = Field(None, ge=1, description="Most prompts, drawn with the seed; default: all.")
    taxonomy: Path | None = Field(None, description="The labels right answers end in, where gold are labels.")
    verify: str = Field("auto", description="How an answer is checked against gold, as in `llmlabel run select`.")


class SftConfig(TrainingConfig):
    """`llmlabel run sft`: prompts with one good answer each, to a model fine-tuned on them."""

    learning_rate: float | None = Field(None, gt=0, description="Default: 2e-5; with adapters 2e-4.")
    epochs: float = Field(3.0, gt=0, description="Passes over the rows.")
    rows_per_step: int = Field(8, ge=1, description="Rows one optimiser step learns from.")
    rows_at_once: int = Field(8, ge=1, description="Rows one forward pass holds; more need more memory.")
    max_tokens: int = Field(2048, ge=16, description="Longer rows, prompt and answer together, are left out and counted.")

    def definition(self) -> dict[str, Any]:
        return {k: v for k, v in super().definition().items() if k not in SFT_FREE}
