"""What is in the data: how much of it has each label, what the labels miss, and sets of labels that hold the true ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmlabel.records import NONE_FITS, Taxonomy
from llmlabel.report import words
from llmlabel.report.charts import Scale, scale
from llmlabel.report.parts import Estimate, estimate, part, parts, sentence, texts, whole

MOST_LABELS, MOST_PROPOSALS, MOST_EXAMPLES = 60, 30, 3


@dataclass
class Share:
    """One label's share of the texts: `naive` counted, `corrected` by the known labels, `gold` from those alone."""

    name: str
    naive: float | None
    corrected: Estimate
    gold: Estimate
    rows: int | None


@dataclass
class Shares:
    """Largest first. `corrected`: whether known labels corrected anything."""

    note: list[str]
    rows: list[Share]
    scale: Scale
    corrected: bool
    hidden: int


def shares(metrics: Mapping[str, Any], taxonomy: Taxonomy) -> Shares | None:
    """None for a run that estimated none."""
    raw = part(metrics, "shares")
    names = {label.id: words.clean(label.name, 120) for label in taxonomy.labels} | {NONE_FITS: "(no label fits)"}
    rows = [_share(row, names) for row in parts(raw, "rows")]
    rows.sort(key=lambda row: -(row.corrected.value if row.corrected.value is not None else row.naive or 0.0))
    shown = rows[:MOST_LABELS]
    if not shown:
        return None
    ends = [v for row in shown for v in (row.naive, row.corrected.value, row.corrected.high, row.gold.high)]
    corrected = any(row.corrected.value is not None for row in shown)
    return Shares(sentence(raw, "note"), shown, scale(ends), corrected, len(rows) - len(shown))


def _share(raw: Mapping[str, Any], names: Mapping[str, str]) -> Share:
    label = words.field(raw, "label", 120)
    gold = estimate(raw, "", "classical_low", "classical_high")
    return Share(names.get(label, label), words.figure(raw.get("naive")), estimate(raw, "share"), gold, whole(raw, "gold_rows"))


@dataclass
class Proposal:
    """A label the taxonomy may lack."""

    name: str
    description: str
    rows: int | None
    examples: list[str]


@dataclass
class Gaps:
    """What the taxonomy misses. `said`: sentences."""

    said: list[str]
    note: list[str]
    proposals: list[Proposal]
    hidden: int


def gaps(metrics: Mapping[str, Any]) -> Gaps | None:
    """None for a run that did not look."""
    raw = part(metrics, "coverage")
    found = parts(raw, "proposals")
    proposals = [_proposal(p) for p in found[:MOST_PROPOSALS]]
    said, note = _missed(raw), sentence(raw, "note")
    return Gaps(said, note, proposals, len(found) - len(proposals)) if said or note or proposals else None


def _proposal(raw: Mapping[str, Any]) -> Proposal:
    name, description = words.field(raw, "name", 120) or "(no name)", words.field(raw, "description", 400)
    return Proposal(name, description, whole(raw, "rows"), texts(raw, "examples", MOST_EXAMPLES))


def _missed(raw: Mapping[str, Any]) -> list[str]:
    fits, unseen = estimate(raw, "share"), estimate(raw, "missing_mass", "missing_low", "missing_high")
    rows, unfit = whole(raw, "rows"), whole(raw, "none_fits")
    said = []
    if fits.value is not None:
        seen = f" ({unfit:,} of {rows:,})" if rows and unfit is not None else ""
        said.append(f"No label fits {words.percent(fits.value)} of the texts{seen}{_interval(fits)}.")
    if unseen.value is not None:
        what = "of such texts are likely to be about something that no text seen so far is about"
        said.append(f"{words.percent(unseen.value)} {what}{_interval(unseen)}.")
    return said


def _interval(e: Estimate) -> str:
    return f", 95% interval {e.interval}" if e.interval else ""


def label_sets(metrics: Mapping[str, Any]) -> list[str]:
    """Sets of labels, for texts that may have several, in sentences; empty where none were made."""
    raw = part(metrics, "label_sets")
    if not raw:
        return []
    epsilon, coverage, single, size = (words.figure(raw.get(key)) for key in ("epsilon", "coverage", "single", "mean_size"))
    rows = whole(raw, "rows")
    said = ["A text may have several labels. For each text the run keeps every combination of labels that may be the true one."]
    if epsilon is not None:
        said.append(f"Promised: the true combination is among them for at least {words.percent(1 - epsilon)} of the texts.")
    if coverage is not None:
        on = f" of {words.count(rows, 'text')} with known labels" if rows else ""
        said.append(f"Measured: {words.percent(coverage)}{on}.")
    if size is not None:
        said.append(f"A text keeps {words.number(round(size, 1))} combinations on average; the fewer, the more is known.")
    if single is not None:
        said.append(f"{words.percent(single)} of the texts keep just one; among these alone it may be wrong more often.")
    return [*said, *sentence(raw)]
