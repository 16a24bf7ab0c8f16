"""The nouns: statuses, labels, taxonomies, annotations. Plain values that travel between the rooms."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from llmlabel.errors import ConfigError


class Status(StrEnum):
    """What became of one row. The last five are failures."""

    OK = "ok"
    NONE_FITS = "none_fits"
    LOW_CONFIDENCE = "low_confidence"
    PARSE_FAILED = "parse_failed"
    OFF_LIST = "off_list"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    ERROR = "error"

    @property
    def failed(self) -> bool:
        return self not in (Status.OK, Status.NONE_FITS, Status.LOW_CONFIDENCE)


NONE_FITS = "-"  # stands where a label id would: no label of the taxonomy fits


@dataclass(frozen=True, slots=True)
class Example:
    """One text to label. `gold`: what is true, where it is known: ids or names of labels, several with `|` between
    them, `-` for none; it is never shown to a model beside its own text."""

    id: str
    text: str
    gold: str | None = None

    @property
    def golds(self) -> list[str]:
        """The true labels one by one; empty where none fits or nothing is known."""
        return [] if self.gold in (None, NONE_FITS) else [part for part in str(self.gold).split("|") if part.strip()]


@dataclass(slots=True)
class Annotation:
    """One annotator's answer for one example; one row of labels.parquet.

    `probs` maps label id to probability; `probs_kind` says where it comes from
    (`sequence`, `code`, `vote`, `stated`, `vector`, `student` or ""). `reason` explains a failure.
    """

    id: str
    label: str | None
    status: Status
    labels: list[str] = field(default_factory=list)
    confidence: float | None = None
    probs: dict[str, float] = field(default_factory=dict)
    probs_kind: str = ""
    source: Literal["llm", "student", "gnn", "human"] = "llm"
    annotator: str = ""
    prompt: str = ""
    prompt_hash: str = ""
    suspect: bool = False
    reason: str = ""


class Label(BaseModel):
    """One row of a taxonomy. `examples` are row ids, `parent` a label id."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    id: str = Field(pattern=r"^[^\s/]+$", max_length=80)
    name: str = Field(min_length=1)
    description: str = ""
    parent: str | None = None
    examples: list[str] = Field(default_factory=list)

    @field_validator("id", "name", "parent", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """YAML reads an unquoted 404 or 1.5 as a number; people mean the text."""
        return str(value) if isinstance(value, int | float) else value

    @property
    def meaning(self) -> str:
        """Name and description: the text whose vector stands for the label."""
        return f"{self.name}: {self.description}"


class Taxonomy(BaseModel):
    """A use case and its labels: `taxonomy.yaml`.

    Labels without children are what texts are labelled with; in a flat taxonomy that is all of them.
    """

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    use_case: str = ""
    labels: list[Label] = Field(default_factory=list)

    @model_validator(mode="after")
    def _sound(self) -> Taxonomy:
        ids = [label.id for label in self.labels]
        for twice in {i for i in ids if ids.count(i) > 1}:
            raise ValueError(f"label id {twice!r} stands there twice")
        for label in self.labels:
            if label.parent is not None and label.parent not in ids:
                raise ValueError(f"label {label.id!r} names the parent {label.parent!r}, which does not exist")
        for label in self.labels:
            seen = {label.id}
            above = label.parent
            while above is not None:
                if above in seen:
                    raise ValueError(f"label {label.id!r} is its own ancestor")
                seen.add(above)
                above = self[above].parent
        return self

    def __getitem__(self, label_id: str) -> Label:
        for label in self.labels:
            if label.id == label_id:
                return label
        raise KeyError(label_id)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def leaves(self) -> list[Label]:
        parents = {label.parent for label in self.labels}
        return [label for label in self.labels if label.id not in parents]

    @property
    def roots(self) -> list[Label]:
        return [label for label in self.labels if label.parent is None]

    def children(self, label_id: str) -> list[Label]:
        return [label for label in self.labels if label.parent == label_id]

    def path(self, label_id: str) -> list[str]:
        """A label's id and those of its ancestors, nearest first."""
        found: list[str] = []
        above: str | None = label_id
        while above is not None:
            found.append(above)
            above = self[above].parent
        return found

    def under(self, label_id: str) -> list[str]:
        """Ids of the leaves at or below a label."""
        below = self.children(label_id)
        return [leaf for child in below for leaf in self.under(child.id)] if below else [label_id]

    def find(self, id_or_name: str) -> Label | None:
        """The label with this id or name, compared after trimming and case-folding."""
        wanted = fold(id_or_name)
        for key in ("id", "name"):
            for label in self.labels:
                if fold(getattr(label, key)) == wanted:
                    return label
        return None

    @classmethod
    def of(cls, values: Iterable[str | None]) -> Taxonomy:
        """One label for each distinct value (case and blanks aside); its name is the commonest spelling."""
        spelt: dict[str, Counter[str]] = defaultdict(Counter)
        for value in values:
            if value is not None and value.strip() and fold(value) != NONE_FITS:
                spelt[fold(value)][" ".join(value.split())] += 1
        labels: list[Label] = []
        taken: set[str] = set()
        for folded in sorted(spelt):
            name = min(spelt[folded], key=lambda s: (-spelt[folded][s], s))
            labels.append(Label(id=slug(name, taken), name=name))
            taken.add(labels[-1].id)
        return cls(labels=labels)

    @classmethod
    def load(cls, path: str | Path) -> Taxonomy:
        """Read a taxonomy file.

        Raises: ConfigError when it is missing, not YAML, or not a sound taxonomy; the message names the line's label.
        """
        try:
            raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as e:
            raise ConfigError(f"cannot read the taxonomy {path}: {e.strerror}") from e
        except (yaml.YAMLError, UnicodeDecodeError) as e:
            raise ConfigError(f"{path} is not valid YAML: {e}") from e
        try:
            return cls.model_validate(raw)
        except ValidationError as e:
            raise ConfigError(f"{path} is not a sound taxonomy:\n{plain_errors(e)}") from e

    def dump(self) -> str:
        """The text of taxonomy.yaml: stable order, made to be read and edited."""
        rows = [label.model_dump() for label in self.labels]
        body = {"version": self.version, "use_case": self.use_case, "labels": rows}
        return yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=110)


def fold(text: str) -> str:
    """How ids and names are compared everywhere: normalised, trimmed, case-folded."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold()


def slug(name: str, taken: Iterable[str] = ()) -> str:
    """A new label id from a name; never one of `taken`."""
    base = re.sub(r"[^\w]+", "-", fold(name), flags=re.UNICODE).strip("-_")[:60] or "label"
    used, candidate, n = set(taken), base, 2
    while candidate in used:
        candidate, n = f"{base}-{n}", n + 1
    return candidate


def read_yaml(source: Any, what: str) -> Any:
    """What a YAML file holds; `what`: how messages call it. Raises: ConfigError where it cannot be read."""
    try:
        return yaml.safe_load(source.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"cannot read {what}: {e.strerror}") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ConfigError(f"{what} is not valid YAML: {e}") from e


def plain_errors(error: ValidationError) -> str:
    """pydantic's findings as lines a user can act on; the rejected values are not repeated (they may be secrets)."""
    return "\n".join(f"  {'.'.join(str(p) for p in e['loc']) or '(whole)'}: {e['msg']}" for e in error.errors())


def batched(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
