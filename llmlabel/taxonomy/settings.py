"""What every way of inducing a taxonomy needs to know, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmlabel.embedding import Embedder, VectorCache, Vectors
from llmlabel.events import Progress, counter
from llmlabel.llm import Models
from llmlabel.prompting import Prompt, PromptLibrary
from llmlabel.records import Taxonomy
from llmlabel.taxonomy.edits import Limits

PROMPTS = {
    "summarise": "taxonomy/summarise@1.0.0",
    "generate": "taxonomy/generate@1.0.0",
    "update": "taxonomy/update@1.0.0",
    "review": "taxonomy/review@1.0.0",
    "choose": "taxonomy/choose@1.0.0",
    "keywords": "taxonomy/keywords@1.0.0",
    "name": "taxonomy/name_cluster@1.0.0",
    "describe": "taxonomy/describe_label@1.0.0",
    "same": "taxonomy/same_label@1.0.0",
    "name_score": "taxonomy/name_score@1.0.0",
}


def silent(step: str, done: int, total: int) -> None:
    """Progress nobody looks at."""


@dataclass
class Setting:
    """The use case, the limits, and the doors to models, vectors and prompts."""

    use_case: str
    limits: Limits
    models: Models
    embedder: Embedder
    vectors: VectorCache
    prompts: PromptLibrary
    seed: int = 0
    batch_size: int = 200
    chains: int = 3
    summary_words: int = 20
    max_text_chars: int = 4000
    able: bool = False  # the model passed the editing exercise
    progress: Progress = silent

    def prompt(self, name: str) -> Prompt:
        return self.prompts.get(PROMPTS[name])

    def encode(self, texts: Sequence[str]) -> Vectors:
        return self.vectors.encode(self.embedder, texts)

    def counter(self, step: str, total: int) -> Callable[[int], None]:
        """An `on_done` that reports this step's progress."""
        return counter(self.progress, step, total)


@dataclass
class Induction:
    """A taxonomy and how it came about.

    Args:
        assignment: row id -> label id for the texts it was made from, where the method gives one.
        probs: row id -> probability of every label, for the same texts.
        history: one entry per step: step, batch, labels (how many), rating (0 to 100 or None), coverage (0 to 1 or
            None) and the edits with their reasons.
    """

    taxonomy: Taxonomy
    method: str
    why: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)
    assignment: Mapping[str, str] = field(default_factory=dict)
    probs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        taxonomy = self.taxonomy.model_dump()
        return {
            "taxonomy": taxonomy, "method": self.method, "why": self.why, "history": self.history,
            "assignment": dict(self.assignment), "probs": dict(self.probs), "failures": self.failures,
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Induction:
        return cls(**{**values, "taxonomy": Taxonomy.model_validate(values["taxonomy"])})
