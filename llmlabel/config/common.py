"""What settings all flows share, and those share that ask a model about texts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, field_validator

NOT_DEFINING = {
    "out", "from_run", "budget", "budget_calls", "budget_tokens", "concurrency", "rpm", "tpm", "cache", "api_key_env", "prices",
    "api_key_block", "timeout", "time_limit", "prompts", "batch", "store_text",
}  # fmt: skip


class Roles(BaseModel):
    """Which model does what: model specs. A role left empty uses `default`."""

    model_config = ConfigDict(extra="forbid")

    default: str | None = Field(None, description="Model spec; when empty: a hosted model if a key or URL is set, else embedded.")
    summarise: str | None = Field(None, description="Writes the short summaries; a cheap model is enough.")
    generate: str | None = Field(None, description="Proposes the first taxonomy.")
    update: str | None = Field(None, description="Edits the taxonomy batch by batch; the step that needs the strong model.")
    review: str | None = Field(None, description="Polishes the final taxonomy.")
    choose: str | None = Field(None, description="Chooses among candidate taxonomies.")
    name: str | None = Field(None, description="Names clusters of texts.")
    label: str | None = Field(None, description="Labels texts.")
    judge: str | None = Field(None, description="Scores labels; best a different model than `label`.")
    teacher: str | None = Field(None, description="Writes the answers a model is to be trained on.")

    @field_validator("*")
    @classmethod
    def _no_password(cls, value: str | None) -> str | None:
        if value and re.search(r"://[^/@|]*@", value):
            raise ValueError("has a user or password in its URL; put the key into the variable named by api_key_env")
        return value

    def spec(self, role: str) -> str | None:
        return getattr(self, role, None) or self.default


class FlowConfig(BaseModel):
    """What every flow takes."""

    model_config = ConfigDict(extra="forbid", validate_default=True)

    data: str = Field(
        description="A parquet, jsonl(.gz) or csv file, a folder or pattern of these (also s3://, gs://, ...), hf://id[:split], "
        "or env: (the packages installed here)."
    )
    text_column: str = Field("text", description="Column with the texts.")
    time_limit: float | None = Field(
        None, gt=0, description="Most hours one attempt at this run may take; the same settings go on where it stopped."
    )

    @property
    def title(self) -> str:
        """What to call the data in the name of a run."""
        return Path(self.data).name if "/" in self.data and not self.data.startswith("hf://") else self.data

    @property
    def subject(self) -> str:
        """What a run is about, for its name."""
        return self.title


class CommonConfig(FlowConfig):
    """What every flow takes that works in a run folder, with models."""

    id_column: str | None = Field(None, description="Column with unique row ids; default: a unique column `id`, else a hash.")
    gold_column: str | None = Field(
        None, description="Column with true labels, empty where unknown; never shown to a model beside its own text."
    )
    out: Path = Field(description="The run folder. The same command on the same folder resumes.")
    from_run: Path | None = Field(None, description="An earlier run to start from; only what changed is asked again.")
    llm: Roles = Field(default_factory=Roles.model_construct, description="Model specs by role, or one spec for all.")
    embedder: str = Field("auto", description="auto, minilm, tfidf, st:DIR_OR_ID, openai:MODEL or MODEL@URL.")
    seed: int = Field(0, description="Seed of every random choice.")
    budget: float | None = Field(None, ge=0, description="Most US dollars this run may cost, over all resumes.")
    budget_calls: int | None = Field(None, ge=0, description="Most requests.")
    budget_tokens: int | None = Field(None, ge=0, description="Most tokens, prompt and completion together.")
    concurrency: int | None = Field(
        None, ge=1, le=4096, description="Most requests in flight at one endpoint; default: what the backend takes."
    )
    rpm: float | None = Field(None, gt=0, description="Most requests per minute at one endpoint.")
    tpm: float | None = Field(None, gt=0, description="Most tokens per minute at one endpoint.")
    batch: bool = Field(False, description="Ask through batch jobs: half the price, within a day.")
    mask_pii: Literal["none", "regex", "presidio"] = Field(
        "none", description="Take e-mail addresses, phone and card numbers and the like out of texts before they are sent."
    )
    store_text: bool = Field(True, description="Keep what was asked in the answer store; false: hashes and answers only.")
    timeout: float = Field(120.0, gt=0, description="Seconds to wait for one answer.")
    prompts: Path | None = Field(None, description="A directory of prompt files that override the packaged ones by id.")
    cache: Path | None = Field(None, description="Directory of the answer store; default: the user's cache directory.")
    api_key_env: str = Field("LLMLABEL_API_KEY", description="NAME of the environment variable that holds the key for MODEL@URL.")
    api_key_block: str | None = Field(
        None,
        pattern="^[a-z0-9-]+$",
        max_length=100,
        description="NAME of a Secret block on Prefect's server with the key; the run puts it where api_key_env says.",
    )
    prices: Path | dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="{model: {input: USD per million tokens, output: ...}}, or a YAML file with `date:` and `prices:`.",
    )

    @field_validator("llm", mode="before")
    @classmethod
    def _one_spec(cls, value: Any) -> Any:
        return {"default": value} if isinstance(value, str) else value

    @field_validator("api_key_env")
    @classmethod
    def _a_name(cls, value: str) -> str:
        if not value.replace("_", "").isalnum() or value.startswith("sk"):
            raise ValueError("is the NAME of an environment variable, never the key itself")
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A form shows first what nobody can do without, then the flow's own settings, and last what all flows share."""
        schema = handler(core)
        fields = handler.resolve_ref_schema(schema)["properties"]
        shared = list(CommonConfig.model_fields)
        last = ["time_limit", *shared[shared.index("llm") + 1 :]]
        for name in [n for n in fields if n not in shared] + [n for n in last if n in fields]:
            fields[name] = fields.pop(name)
        return schema

    @property
    def subject(self) -> str:
        """What a run is about, for its name: its data, and the model or annotators that are named."""
        named = [getattr(self, name, None) for name in ("policy", "target")]
        specs = getattr(self, "annotators", []) or [next(filter(None, named), None) or self.llm.spec("label")]
        short = [(without_url(spec) or "").rstrip("/").rsplit("/", 1)[-1] for spec in specs if spec]
        return f"{self.title} with {', '.join(short[:3])}{', ...' if len(short) > 3 else ''}" if short else self.title

    def definition(self) -> dict[str, Any]:
        """The settings that define a run: those that may not change on resume. URLs are left out of model specs."""
        values = self.model_dump(mode="json", exclude=NOT_DEFINING)
        values["llm"] = {role: without_url(spec) for role, spec in values["llm"].items()}
        return values


def without_url(spec: str | None) -> str | None:
    """A model spec that says what is asked, not where."""
    return spec if spec is None or "@http" not in spec else spec[: spec.rindex("@http")]


class AskingConfig(CommonConfig):
    """What flows share that ask a model about texts."""

    label_probs: Literal["auto", "sequence", "code", "vote"] = Field(
        "auto",
        description="Label distributions: likelihood of whole names, alternatives of the first token, shares of samples; "
        "auto: what the model can give.",
    )
    max_text_chars: int = Field(4000, ge=100, description="A model sees at most this much of a text.")
    shard_size: int = Field(500, ge=1, description="Texts per task when labelling.")


class LabellingConfig(AskingConfig):
    """What flows share that label with a taxonomy they are given."""

    annotators: list[str] = Field(
        default_factory=list,
        description="Who labels: model specs, each with a way of asking before it where the usual one is not wanted "
        "(descent:openai:MODEL), or nearest (vectors, no model). Empty: the model of the role `label`.",
    )
    samples: int = Field(3, ge=1, le=100, description="Answers per text where a model tells no probabilities.")

    @field_validator("annotators")
    @classmethod
    def _no_password_either(cls, values: list[str]) -> list[str]:
        for value in values:
            Roles.model_validate({"label": value})
        return values

    def definition(self) -> dict[str, Any]:
        return super().definition() | {"annotators": [without_url(spec) for spec in self.annotators]}
