"""Every setting, in pydantic models that the command line, a YAML file and Prefect's form share.

Order of precedence: YAML file < environment (`LLMLABEL_SEED=1`) < command line and `--set a.b=c`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from llmlabel.errors import ConfigError
from llmlabel.records import plain_errors

NOT_DEFINING = {
    "out", "from_run", "budget", "budget_calls", "budget_tokens", "concurrency", "rpm", "tpm", "cache", "api_key_env", "prices",
    "timeout", "prompts", "batch", "store_text",
}  # fmt: skip


ALIGN_FREE = {  # of a training: what may change on resume, as after running out of memory or of budget
    "report_to", "save_every", "judge_calls", "launcher", "lists_at_once", "two_pass", "shared_prefix", "gradient_checkpointing",
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


class CommonConfig(BaseModel):
    """What every flow takes."""

    model_config = ConfigDict(extra="forbid", validate_default=True)

    data: str = Field(description="A parquet, jsonl(.gz) or csv file, hf://id[:split], or env: (the packages installed here).")
    text_column: str = Field("text", description="Column with the texts.")
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

    @property
    def title(self) -> str:
        """What to call the data in the name of a run."""
        return Path(self.data).name if "/" in self.data and not self.data.startswith("hf://") else self.data

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


class TaxonomyConfig(AskingConfig):
    """`llmlabel run taxonomy`: from raw texts to a taxonomy, labels and a classifier."""

    use_case: str = Field("", description="The question the taxonomy answers, such as: why customers contact us.")
    taxonomy: Path | None = Field(None, description="A taxonomy.yaml to label with, instead of inducing one.")
    method: Literal["auto", "tnt", "cluster"] = Field(
        "auto", description="tnt: TnT-LLM's chain; cluster: name clusters of vectors."
    )
    max_labels: int = Field(25, ge=2, le=500, description="Most labels on one level.")
    levels: Literal[1, 2] = Field(1, description="2: induce again inside each category.")
    induce_on: int = Field(2000, ge=1, description="Texts the taxonomy is induced on, sampled with the seed.")
    batch_size: int = Field(200, ge=2, description="Texts in one minibatch of the tnt chain.")
    chains: int = Field(3, ge=1, le=20, description="Seeded tnt chains; the best on the validation split is kept.")
    label_with_llm: int = Field(1000, ge=0, description="Texts the model labels; the classifier labels the rest.")
    label_by: Literal["auto", "llm", "vectors"] = Field(
        "auto",
        description="Who labels the first texts; auto: the model if it passed the editing exercise, else the vectors.",
    )
    samples: int = Field(1, ge=1, le=100, description="Answers per text where distributions are votes.")
    student: Literal["auto", "logistic_regression", "lightgbm", "mlp"] = Field(
        "auto", description="auto: chosen by cross-validation."
    )
    name_words: int = Field(5, ge=1, le=20, description="Longest label name, in words.")
    description_words: int = Field(30, ge=3, le=100, description="Longest label description, in words.")
    summary_words: int = Field(20, ge=3, le=100, description="Length of a summary, in words; shorter texts are not summarised.")
    min_confidence: float = Field(0.0, ge=0, le=1, description="Labels less sure than this are marked low_confidence.")

    @model_validator(mode="after")
    def _complete(self) -> TaxonomyConfig:
        if not self.use_case.strip() and self.taxonomy is None:
            raise ValueError("needs a use case: say what the taxonomy is for, as in --use-case 'why customers contact us'")
        return self


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


class AnnotateConfig(LabellingConfig):
    """`llmlabel run annotate`: texts and a taxonomy to labels one can trust, and the proof."""

    use_case: str = Field("", description="The question the labels answer; default: the taxonomy's own.")
    taxonomy: Path | None = Field(None, description="The taxonomy.yaml to label with; default: that of --from.")
    multi_label: bool = Field(False, description="Any number of labels per text.")
    annotations: Path | None = Field(
        None, description="Labels somebody already gave: a file with id, label[, confidence][, annotator]."
    )
    few_shot: int = Field(0, ge=0, le=50, description="Solved examples in each question: the nearest gold rows.")
    consensus: Literal["auto", "majority", "weighted", "dawid_skene", "mace", "stacked"] = Field(
        "auto", description="How several annotators become one label; auto: chosen on gold, else by rule."
    )
    target_precision: float | None = Field(
        None, gt=0.5, lt=1, description="Leave as low_confidence what keeps the accepted labels from being this often right."
    )
    delta: float = Field(0.1, gt=0, lt=0.5, description="Chance that the promise of target_precision is broken.")
    epsilon: float = Field(0.1, gt=0, lt=0.5, description="Multi-label: chance that the true set is not among those offered.")
    cascade: bool = Field(False, description="Ask annotators in order, each only for what those before left unsure.")
    explain: bool = Field(False, description="Ask for a reason for every label, in a question of its own.")
    label_with_llm: int | None = Field(
        None, ge=1, description="Texts that are asked; a classifier trained on them labels the rest. Empty: all."
    )
    back_off: bool = Field(
        False,
        description="Where the classifier is unsure of a leaf it answers with a label above it; deep taxonomies, with gold.",
    )
    order_sample: int = Field(100, ge=0, description="Texts asked again in another order of labels, to measure order bias.")
    student: Literal["auto", "logistic_regression", "lightgbm", "mlp"] = Field(
        "auto", description="auto: chosen by cross-validation."
    )
    min_confidence: float = Field(0.0, ge=0, le=1, description="Labels less sure than this are marked low_confidence.")

    @model_validator(mode="after")
    def _complete(self) -> AnnotateConfig:
        if self.taxonomy is None and self.from_run is None:
            raise ValueError("needs labels: --taxonomy FILE (a taxonomy.yaml; `llmlabel run taxonomy` makes one), or --from RUN")
        if self.cascade and len(self.annotators) < 2:
            raise ValueError("--cascade needs two annotators or more, the cheapest first: --annotator A --annotator B")
        if self.back_off and self.label_with_llm is None:
            raise ValueError("back_off is about rows the classifier labels: say how many the model labels, --label-with-llm N")
        return self


class GraphConfig(LabellingConfig):
    """`llmlabel run graph`: nodes, edges and a budget to a label for every node."""

    edges: str | None = Field(
        None, description="A table with source, target[, weight], an edge list, a (2, E) .npy, a scipy .npz; not for graph files."
    )
    edges_column: str | None = Field(
        None, description="Instead of edges: a column of the nodes that lists the ids each links to."
    )
    features: Path | None = Field(
        None, description="(N, F) numbers in the order of the nodes: .npy, a scipy .npz, or what `llmlabel graph embed` wrote."
    )
    structure: bool | None = Field(
        None, description="FastRP vectors of the edges beside texts or features; default: only where there is neither."
    )
    use_case: str = Field("", description="The question the labels answer; default: the taxonomy's own.")
    taxonomy: Path | None = Field(None, description="The taxonomy.yaml to label with; not needed with annotations.")
    annotations: Path | None = Field(
        None,
        description="Labels somebody already gave: a file with id, label[, confidence][, annotator]. With budget_nodes only the "
        "rows of selected nodes are read from it.",
    )
    budget_nodes: int | None = Field(
        None, ge=1, description="Nodes to annotate; default: 20 for each label, or every row of annotations."
    )
    select: str = Field("auto", description="How nodes are chosen: a file of llmlabel/graph/selectors, such as feat-prop.")
    filter: str = Field("auto", description="How annotations that are likely wrong are dropped; none: all stay.")
    filter_share: float = Field(0.2, ge=0, lt=1, description="Share of the annotations a filter drops, at most.")
    gnn: str = Field("auto", description="What learns from the annotations: sgc, appnp, gcn, sage, mlp or label-spreading.")
    weigh: Literal["equal", "reliability", "confidence"] = Field(
        "equal", description="What annotations that stay weigh: all the same, by their reliability, or as sure as they were told."
    )
    loss: str | None = Field(None, description="Of the learner: ce, gce, sce or forward for those on torch; default: its own.")
    correct_and_smooth: bool = Field(False, description="Correct the learner by its errors on annotated nodes, and smooth.")
    trainings: int = Field(5, ge=1, le=50, description="Seeds a GNN is trained with; their probabilities are averaged.")
    rounds: int = Field(
        1, ge=1, le=10, description="Rounds the budget is spent in; later ones go where graph and model disagree."
    )
    neighbour_context: bool = Field(False, description="Show a model the texts of linked nodes too (in the paper it hurts).")
    few_shot: int = Field(0, ge=0, le=50, description="Solved examples in each question: the taxonomy's own.")
    consensus: Literal["auto", "majority", "weighted", "dawid_skene", "mace", "stacked"] = Field(
        "auto", description="How several annotators become one label."
    )
    target_precision: float | None = Field(
        None, gt=0, lt=1, description="Leave as low_confidence what keeps the others from being this often right, by estimate."
    )
    min_confidence: float = Field(0.0, ge=0, le=1, description="Labels less sure than this are marked low_confidence.")

    @model_validator(mode="after")
    def _complete(self) -> GraphConfig:
        if self.taxonomy is None and self.annotations is None and self.from_run is None:
            raise ValueError(
                "needs labels: --taxonomy FILE for a model to label with, or --annotations FILE with labels there are"
            )
        if self.rounds > 1 and self.annotations is not None and self.budget_nodes is None:
            raise ValueError("rounds share a budget: say how many rows of the annotations may be looked up, --budget-nodes N")
        if self.budget_nodes is not None and self.rounds > self.budget_nodes:
            raise ValueError("more rounds than nodes to annotate")
        return self


class AuditConfig(LabellingConfig):
    """`llmlabel run audit`: labels somebody gave, and which of them are probably wrong."""

    label_column: str = Field("label", description="Column with the labels to audit.")
    taxonomy: Path | None = Field(None, description="A taxonomy.yaml the labels are from; default: the distinct labels.")
    use_case: str = Field("", description="The question the labels answer, for judges; default: the taxonomy's own.")
    ask: int = Field(
        500, ge=0, description="Most suspicious rows each judge is asked about; fewer where fewer errors are estimated."
    )
    ask_random: int = Field(100, ge=0, description="Rows drawn at random that judges are asked about too, to weigh them by.")
    check: Path | None = Field(None, description="The run's check.csv with verdicts filled in.")
    check_rows: int = Field(100, ge=2, description="Rows drawn for check.csv, half of them flagged.")
    student: Literal["logistic_regression", "lightgbm", "mlp"] = Field(
        "logistic_regression", description="The classifier that is cross-validated on the given labels."
    )

    def definition(self) -> dict[str, Any]:
        return {k: v for k, v in super().definition().items() if k != "check"}


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


class AlignConfig(JudgingConfig):
    """`llmlabel run align`: ranked answers, or prompts and a judge, to a trained model."""

    method: Literal["lipo", "cyclealign"] = Field(
        "lipo", description="lipo: train on ranked lists; cyclealign: make them, in cycles."
    )
    policy: str = Field("embedded", description="The model to train: a folder, a hub id, or embedded (the packaged small model).")
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
    lora: bool = Field(False, description="Train low-rank adapters; the reference is the model without them.")
    lora_rank: int = Field(16, ge=1, description="Rank of the adapters; alpha is twice as much.")
    learning_rate: float | None = Field(None, gt=0, description="Default: 5e-6; with adapters 1e-4.")
    epochs: float = Field(1.0, gt=0, description="Passes over the lists (of each cycle).")
    max_steps: int | None = Field(None, ge=1, description="Stop after so many steps.")
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
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on a GPU that has it, else fp32.")
    gradient_checkpointing: bool = Field(False, description="Compute activations twice and keep few.")
    warmup_share: float = Field(0.1, ge=0, le=1, description="Of the steps, in which the learning rate rises.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are cut to this length.")
    held_out: str | None = Field(None, description="Ranked lists to measure on; default: a share of the data.")
    held_out_share: float = Field(0.1, ge=0, lt=1, description="Of the prompts, kept out of training to measure on.")
    measure_every: int | None = Field(
        None, ge=1, description="Steps between two looks at the held-out lists; default: four looks."
    )
    save_every: int | None = Field(None, ge=1, description="Steps between two checkpoints; default: at every look.")
    launcher: str | None = Field(
        None, description="Command that starts the training in several processes, such as: accelerate launch --num_processes 4."
    )
    report_to: list[str] = Field(default_factory=list, description="tensorboard, wandb, mlflow, beside log.jsonl.")
    cycles: int = Field(3, ge=1, le=50, description="cyclealign: most cycles.")
    sampler: Literal["embedded", "vllm"] = Field("embedded", description="cyclealign: what samples the policy's answers.")
    temperature: float = Field(0.7, gt=0, le=2, description="cyclealign: of sampling.")
    top_p: float = Field(0.95, gt=0, le=1, description="cyclealign: of sampling.")
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

    @field_validator("report_to")
    @classmethod
    def _known_reporters(cls, values: list[str]) -> list[str]:
        if unknown := set(values) - {"tensorboard", "wandb", "mlflow"}:
            raise ValueError(f"knows tensorboard, wandb and mlflow, not {', '.join(sorted(unknown))}")
        return values


class EvaluateConfig(JudgingConfig):
    """`llmlabel align evaluate`: a trained model against the one it started from."""

    run: Path = Field(description="The run of `llmlabel run align` whose model is evaluated.")
    sampler: Literal["embedded", "vllm"] = Field("embedded", description="What samples the answers of both models.")
    temperature: float = Field(0.7, gt=0, le=2, description="Of sampling.")
    top_p: float = Field(0.95, gt=0, le=1, description="Of sampling.")
    max_completion_tokens: int = Field(512, ge=4, description="Longest answer.")


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


C = TypeVar("C", bound=CommonConfig)


def load_config(kind: type[C], *, file: Path | None = None, options: dict[str, Any], settings: list[str]) -> C:
    """Put a configuration together.

    Args:
        kind: the model to build.
        file: a YAML file, or None.
        options: what the command line gave; None values are left out.
        settings: `key=value` or `key.sub=value` texts; values are read as YAML.
    Raises: ConfigError that names the setting, what is wrong, and never the value.
    """
    values: dict[str, Any] = _read_yaml(file) if file else {}
    values = _merge(values, _from_environment(kind))
    values = _merge(values, {k: v for k, v in options.items() if v is not None})
    for setting in settings:
        values = _merge(values, _one_setting(setting))
    try:
        return kind.model_validate(values)
    except ValidationError as e:
        raise ConfigError(f"the settings do not fit:\n{plain_errors(e)}") from e


def _from_environment(kind: type[CommonConfig]) -> dict[str, Any]:
    class Environment(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="LLMLABEL_", extra="ignore")

    annotations: dict[str, Any] = dict.fromkeys(kind.model_fields, str | None)
    reader = type("Reader", (Environment,), {"__annotations__": annotations, **dict.fromkeys(annotations)})
    found = reader().model_dump(exclude_none=True)
    return {k: yaml.safe_load(v) if k not in ("out", "data", "use_case") else v for k, v in found.items()}


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"cannot read --config {file}: {e.strerror}") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ConfigError(f"--config {file} is not valid YAML: {e}") from e
    if not isinstance(values, dict):
        raise ConfigError(f"--config {file}: expected settings as `key: value` lines")
    return values


def _one_setting(setting: str) -> dict[str, Any]:
    key, eq, text = setting.partition("=")
    if not eq or not key.strip():
        raise ConfigError(f"--set {setting!r}: write key=value, or key.sub=value")
    value: Any = yaml.safe_load(text) if text else None
    for part in reversed(key.strip().replace("-", "_").split(".")):
        value = {part: value}
    return dict(value)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        if key == "llm" and isinstance(merged.get(key), str) and isinstance(value, dict):
            merged[key] = {"default": merged[key]}
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
