"""Settings of the flow that selects how training answers are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from llmlabel.config.common import CommonConfig

SELECT_FREE = {"generate_all", "keep", "shard_size"}  # of a selection: what may change on resume


class SelectConfig(CommonConfig):
    """`llmlabel run select`: which way of writing the training answers fits the model to be trained."""

    text_column: str = Field(
        "", description="Column with the prompts: texts or messages [prompt]; with a taxonomy the texts to label [text]."
    )
    responses: str | None = Field(
        None,
        description="Answers somebody already has: lists of answers with a column strategies (or models); no teacher is asked.",
    )
    strategies: Path | None = Field(
        None, description="strategies.yaml; default: those that are shipped, as far as the data allows."
    )
    taxonomy: Path | None = Field(
        None, description="The labels answers end in; the texts of --data become prompts that ask for one."
    )
    use_case: str = Field("", description="The question the labels answer; default: the taxonomy's own.")
    target: str = Field(description="The model that will be trained: a folder, a hub id, or a spec (vllm:DIR, embedded).")
    n: int = Field(100, ge=2, description="Prompts every strategy answers, drawn evenly over the gold labels.")
    score: Literal["sppl", "ppl", "ifd", "cosine", "all"] = Field(
        "sppl", description="What decides; all: sppl decides, the others are computed too."
    )
    verify: str = Field(
        "auto",
        description="How an answer is checked against gold: label, numeric, exact, PACKAGE.MODULE of your own, or none; "
        "auto: label with a taxonomy, numeric where all gold are numbers, else exact.",
    )
    exemplars: int = Field(3, ge=1, le=10, description="Own answers of the target that stand before a prompt in sppl.")
    own_samples: int = Field(2, ge=1, le=20, description="Answers of the target itself to each prompt, for exemplars.")
    own_temperature: float = Field(0.7, ge=0, le=2, description="Of the target's own answers.")
    max_answer_tokens: int = Field(512, ge=4, description="Longest answer, where a strategy sets none.")
    looks: list[int] = Field(
        [10, 20, 40, 60, 80, 100], description="Prompts after which strategies that are behind are dropped; empty: never."
    )
    drop_at: float = Field(
        2.5, gt=0, description="A strategy is dropped when its mean gap is more than this many standard errors."
    )
    choose: Literal["strategy", "per_prompt"] = Field(
        "strategy", description="One strategy for all prompts, or for each prompt the answer the target finds likeliest (GRAPE)."
    )
    generate_all: int | None = Field(None, ge=1, description="Then write the chosen answers for so many prompts: sft.parquet.")
    keep: Literal["verified", "all"] = Field("verified", description="Of answers that can be checked: only right ones, or all.")
    pilot: bool = Field(False, description="Train the target on the two best strategies and test it; needs gold.")
    pilot_seeds: int = Field(3, ge=2, le=20, description="Trainings of each of the two.")
    pilot_tests: int = Field(200, ge=10, description="Prompts, apart from those learnt from, the trained models are tested on.")
    pilot_epochs: float = Field(3.0, gt=0, description="Passes over the answers.")
    lora_rank: int = Field(8, ge=1, description="Rank of the pilot's adapters; alpha is twice as much.")
    learning_rate: float = Field(2e-4, gt=0, description="Of the pilot's trainings.")
    max_text_chars: int = Field(4000, ge=100, description="Of a text to label, as much stands in its prompt.")
    shard_size: int = Field(200, ge=1, description="Prompts per task.")

    @model_validator(mode="before")
    @classmethod
    def _responses_are_data(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("responses") and not values.get("data"):
            return {**values, "data": values["responses"]}
        return values

    @field_validator("looks")
    @classmethod
    def _ascending(cls, values: list[int]) -> list[int]:
        if values != sorted(set(values)) or any(v < 3 for v in values):
            raise ValueError("are ascending numbers of prompts, from 3 on")
        return values

    def definition(self) -> dict[str, Any]:
        return {k: v for k, v in super().definition().items() if k not in SELECT_FREE}
