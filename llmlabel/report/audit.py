"""What an audit found: the queue's worst rows, errors by label, labels that may be one, and a person's check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from llmlabel.errors import DataError
from llmlabel.report import words
from llmlabel.report.files import RunFiles
from llmlabel.report.parts import Estimate, estimate, part, parts, whole
from llmlabel.runs import read_json

WORST, NOISIEST = 50, 25  # rows shown


@dataclass
class Suspect:
    """One row of the queue."""

    rank: int
    text: str
    given: str
    proposed: str
    score: float | None
    reason: str


@dataclass
class Noisy:
    """One label. `errors`: estimated wrong labels among its `rows`; `rather`: the label most of them should have."""

    label: str
    rows: int
    errors: float
    share: float
    rather: str


@dataclass
class Pair:
    """Two labels that are taken for each other; `rows`: mixed up, estimated; `share`: of both."""

    a: str
    b: str
    rows: float
    share: float


@dataclass
class Judge:
    """A model that was asked. `agrees`: how often with the given label, of the rows with a usable answer."""

    name: str
    asked: int
    usable: int
    agrees: int
    weight: float | None


@dataclass
class Check:
    """A person's verdicts on rows drawn at random."""

    precision: Estimate
    recall: Estimate
    flagged: int
    others: int


@dataclass
class Audit:
    """The section."""

    summary: list[str]
    worst: list[Suspect]
    flagged: int
    noisy: list[Noisy]
    overlaps: list[Pair]
    off_list: list[tuple[str, int]]
    too_few: list[tuple[str, int]]
    judges: list[Judge]
    check: Check | None


def audit(folder: Path, files: RunFiles) -> Audit | None:
    """None for a run that is no audit."""
    found = part(files.metrics, "audit")
    if not found:
        return None
    return Audit(
        summary=_summary(found),
        worst=_worst(folder / "audit.parquet"),
        flagged=whole(found, "flagged") or 0,
        noisy=[_noisy(row) for row in parts(found, "by_label") if (words.figure(row.get("errors")) or 0) >= 1][:NOISIEST],
        overlaps=[_pair(row) for row in parts(found, "overlaps")],
        off_list=_counted(found, "off_list_labels"),
        too_few=_counted(found, "too_few"),
        judges=[
            Judge(words.field(j, "name"), whole(j, "asked") or 0, whole(j, "usable") or 0, whole(j, "agrees") or 0,
                  words.figure(j.get("weight")))
            for j in parts(found, "judges")
        ],
        check=_check(folder / "checked.json"),
    )  # fmt: skip


def _summary(found: dict[str, Any]) -> list[str]:
    judged, flagged = whole(found, "judged") or 0, whole(found, "flagged") or 0
    errors, share = words.figure(found.get("errors")), words.figure(found.get("error_share"))
    lines = [f"{words.count(judged, 'label')} judged, {flagged:,} flagged as probably wrong."]
    if errors is not None:
        lines.append(f"By estimate {round(errors):,} labels ({words.percent(share)}) are wrong.")
    if not parts(found, "judges"):
        lines.append("No language model judged: the audit rests on a classifier and on neighbouring texts.")
    notes = {
        "off_list": "a label that is not in the taxonomy", "conflicts": "a text that is also there with another label",
        "no_label": "no label", "no_text": "no text",
    }  # fmt: skip
    said = [f"{n:,} have {note}" for key, note in notes.items() if (n := whole(found, key))]
    return lines + ([f"Of all rows, {words.listed(said)}."] if said else [])


def _worst(path: Path) -> list[Suspect]:
    if not path.is_file():
        return []
    try:
        rows = pl.scan_parquet(path).filter(pl.col("flagged")).sort("rank").head(WORST).collect().to_dicts()
    except (pl.exceptions.PolarsError, OSError) as e:
        raise DataError(f"{path} is damaged ({str(e)[:200]}); delete it and run the same command into a new folder") from e
    return [
        Suspect(row["rank"], words.clean(row["text"] or "", 300), words.field(row, "given"), words.field(row, "proposed"),
                row["score"], words.field(row, "reason", 600))
        for row in rows
    ]  # fmt: skip


def _noisy(row: dict[str, Any]) -> Noisy:
    errors, share = (words.figure(row.get(key)) or 0.0 for key in ("errors", "share"))
    return Noisy(words.field(row, "label"), whole(row, "rows") or 0, errors, share, words.field(row, "rather"))


def _pair(row: dict[str, Any]) -> Pair:
    mixed, share = (words.figure(row.get(key)) or 0.0 for key in ("rows", "share"))
    return Pair(words.field(row, "a"), words.field(row, "b"), mixed, share)


def _counted(found: dict[str, Any], key: str) -> list[tuple[str, int]]:
    return [(words.clean(name, 120), int(n)) for name, n in words.figures(found.get(key)).items()]


def _check(path: Path) -> Check | None:
    try:
        found = read_json(path)
    except FileNotFoundError:
        return None
    precision = estimate(found, "precision", "precision_low", "precision_high")
    recall = estimate(found, "recall", "recall_low", "recall_high")
    return Check(precision, recall, whole(found, "flagged_checked") or 0, whole(found, "others_checked") or 0)
