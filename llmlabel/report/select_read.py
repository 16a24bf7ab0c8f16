"""The answers of a selection, and how its figures are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmlabel.report import words
from llmlabel.report.files import table
from llmlabel.report.parts import Estimate
from llmlabel.selection.answers import OWN
from llmlabel.selection.elimination import HIGHER_IS_BETTER, NATS
from llmlabel.selection.reasons import unit

Json = Mapping[str, Any]
OWN_NAME = "The target itself"
NAME = 80  # characters of a strategy's name
SCORES = {  # name, what it is
    "sppl": ("Self-aligned perplexity", "how likely the target finds an answer that stands after answers of its own"),
    "ppl": ("Perplexity", "how likely the target finds an answer that stands after the bare prompt"),
    "ifd": ("IFD", "perplexity with the prompt over perplexity without it, which ranks high what is hard for the target"),
    "cosine": ("Cosine", "likeness to the target's own answer in the target's hidden states"),
}


@dataclass(frozen=True)
class Measured:
    """How the deciding score is told. `higher`: more is better."""

    score: str
    unit: str

    @property
    def nats(self) -> bool:
        return self.score in NATS

    @property
    def higher(self) -> bool:
        return self.score in HIGHER_IS_BETTER

    @property
    def name(self) -> str:
        return SCORES.get(self.score, (self.score, ""))[0]

    @property
    def means(self) -> str:
        return SCORES.get(self.score, ("", ""))[1]

    @property
    def better(self) -> str:
        return "higher is better" if self.higher else "lower is better"

    @property
    def gap(self) -> str:
        """The unit of a difference, in a sentence."""
        return f" {self.unit}" if self.nats else ""


def measured(evidence: Json) -> Measured:
    score = words.field(evidence, "score", 20) or "sppl"
    return Measured(score, words.field(evidence, "unit", 30) or unit(score))


def interval(raw: Json, value: str) -> Estimate:
    """`value` and `value_interval` of a JSON object; `mean` has its own under `interval`."""
    ends = raw.get("interval" if value == "mean" else f"{value}_interval")
    low, high = [words.figure(v) for v in ends] if isinstance(ends, list) and len(ends) == 2 else (None, None)
    return Estimate(words.figure(raw.get(value)), low, high)


def two(value: float | None) -> str:
    """A figure in nats or a ratio: `1.24`."""
    return words.NONE if value is None else f"{value:.2f}".replace("-0.00", "0.00")


def between(found: Estimate) -> str:
    """`1.20 to 1.28`, "" where it is not known."""
    return "" if found.low is None or found.high is None else f"{two(found.low)} to {two(found.high)}"


def named(name: object) -> str:
    return OWN_NAME if name == OWN else words.clean(name, NAME)


@dataclass
class Answers:
    """answers.parquet and questions.parquet.

    `of`: by strategy, by id of the question, the row of its answer. `questions`: by id, in order.
    """

    of: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    questions: dict[str, dict[str, Any]] = field(default_factory=dict)

    def values(self, strategy: str, score: str) -> dict[str, float]:
        """What is known of a score, by id."""
        return words.figures({key: row.get(score) for key, row in self.of.get(strategy, {}).items()})

    @property
    def strategies(self) -> list[str]:
        return [name for name in self.of if name != OWN]


def answers(folder: Path) -> Answers:
    """Empty where the files are not there. Raises: DataError for a damaged file."""
    found = Answers()
    for row in table(folder / "questions.parquet", lambda data: data):
        found.questions[str(row.get("id"))] = row
    for row in table(folder / "answers.parquet", lambda data: data):
        found.of.setdefault(str(row.get("strategy")), {}).setdefault(str(row.get("id")), row)
    return found


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names of strategies in a sentence."""
    shown = [named(name) for name in names[:most]]
    rest = len(names) - len(shown)
    return words.listed([*shown, f"{rest} more"] if rest > 0 else shown)


def texts(raw: Json, key: str, most: int = 20) -> list[str]:
    """A list of names as it stands in the file."""
    value = raw.get(key)
    return [str(item) for item in value[:most] if item is not None] if isinstance(value, list) else []
