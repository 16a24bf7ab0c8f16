"""Settings of the flows that label texts and nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from llmlabel.config.common import AskingConfig, LabellingConfig


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
