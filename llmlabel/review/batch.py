"""A batch: the rows that go to people in one file, and its manifest, which stays in the run folder.

What people see does not say how a row was drawn, or why; the manifest does (`review/BATCH.json`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from llmlabel.errors import DataError
from llmlabel.records import NONE_FITS, Taxonomy, fold
from llmlabel.runs import read_json

Drawn = Literal["random", "queue", ""]
NONE_TEXT = "None of these"
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot hold


@dataclass(frozen=True)
class Row:
    """One row to look at. `labels`: ids of the labels it has, none for "no label fits"; None: no usable answer."""

    id: str
    text: str
    labels: list[str] | None
    confidence: float | None = None
    drawn: Drawn = "queue"
    reason: str = ""


@dataclass(frozen=True)
class Batch:
    """Rows for people, in the order they are shown. `options`: what a person can choose -> label id, or "-".

    `model`: who made the suggestions. `blind`: people do not see suggestions. `population`: rows the random part was drawn from.
    """

    rows: list[Row]
    taxonomy: Taxonomy
    multi: bool = False
    model: str = "llmlabel"
    blind: bool = False
    population: int = 0
    run: str = ""

    @cached_property
    def id(self) -> str:
        rows = [[r.id, r.text, r.labels, r.confidence, r.drawn] for r in self.rows]
        what = json.dumps([self.run, self.taxonomy.dump(), self.multi, self.model, self.blind, rows])
        return (
            "q" + hashlib.blake2b(what.encode(), digest_size=5).hexdigest()
        )  # a letter first: no spreadsheet takes it for a number

    @cached_property
    def options(self) -> dict[str, str]:
        return options(self.taxonomy)

    def key(self, n: int) -> str:
        """What row `n` (from 0) is called in this batch; unlike its id it survives a spreadsheet."""
        return f"{self.id}-{n + 1}"

    def suggested(self, row: Row) -> list[str]:
        """The texts of a row's labels; empty where there is no suggestion."""
        if self.blind or row.labels is None:
            return []
        texts = {label: text for text, label in self.options.items()}
        return [texts[label] for label in row.labels or [NONE_FITS] if label in texts]

    def manifest(self) -> dict[str, Any]:
        rows = [
            {"row": self.key(n), "id": r.id, "drawn": r.drawn, "reason": r.reason, "text": digest(r.text)}
            for n, r in enumerate(self.rows)
        ]
        return {
            "schema": 1, "batch": self.id, "run": self.run, "taxonomy": digest(self.taxonomy.dump()), "multi_label": self.multi,
            "blind": self.blind, "population": self.population, "options": self.options, "rows": rows,
        }  # fmt: skip


@dataclass(frozen=True)
class Manifest:
    """A batch as it is remembered. `drawn`: by row id. `keys`: row key -> id. `texts`: digest -> ids of rows with that text."""

    taxonomy: str
    options: Mapping[str, str]
    drawn: Mapping[str, Drawn] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, set[str]] = field(default_factory=dict)


def load_manifest(batch: str, folders: Iterable[Path]) -> Manifest | None:
    """The manifest of a batch from the first folder that has it.

    Raises: DataError when it is damaged.
    """
    if not (batch.isascii() and batch.isalnum()):  # it comes from a file people had in their hands, and names a path
        return None
    for path in (folder / f"{batch}.json" for folder in folders):
        if path.is_file():
            return _manifest(read_json(path), path)
    return None


def _manifest(raw: Any, path: Path) -> Manifest:
    try:
        texts: dict[str, set[str]] = {}
        for row in raw["rows"]:
            texts.setdefault(row["text"], set()).add(row["id"])
        drawn, keys = ({row[key]: row[value] for row in raw["rows"]} for key, value in (("id", "drawn"), ("row", "id")))
        return Manifest(raw["taxonomy"], {fold(text): label for text, label in raw["options"].items()}, drawn, keys, texts)
    except (KeyError, TypeError, AttributeError) as e:
        raise DataError(f"{path} is damaged (no {e}); export the batch again, or delete the file to go on without it") from e


def options(taxonomy: Taxonomy) -> dict[str, str]:
    """What a person can choose -> label id, in the taxonomy's order; last "None of these" -> "-".

    Names that could be mistaken for another label, or for none, are followed by their id.
    """
    found: dict[str, str] = {}
    taken = {fold(NONE_TEXT), NONE_FITS}
    for label in taxonomy.leaves:
        text = " ".join(NOT_XML.sub(" ", label.name).replace("|", "/").split())
        other = taxonomy.find(text)
        if not text or fold(text) in taken or (other and other.id != label.id):
            text = f"{text} ({label.id})".strip()
        taken.add(fold(text))
        found[text] = label.id
    return found | {NONE_TEXT: NONE_FITS}


def digest(text: str) -> str:
    """16 hex digits that tell texts apart, but not their white space: tools change that."""
    return hashlib.blake2b(" ".join(text.split()).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
