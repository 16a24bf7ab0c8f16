"""What a daily round says: whether anything has changed, what to do, and what the round did by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlabel.records import NONE_FITS, Taxonomy
from llmlabel.report import words
from llmlabel.report.charts import Scale, scale
from llmlabel.report.files import RunFiles
from llmlabel.report.parts import Estimate, estimate, part, parts, texts, whole

Json = Mapping[str, Any]
MOST_LABELS, MOST_ROWS = 25, 10
LOOKS = {"steady": "clear", "watch": "weak", "act": "no_meaning"}  # of the badge
VERDICTS = {
    "steady": "Nothing has changed beyond chance.",
    "watch": "Something may have changed; there is nothing to do yet.",
    "act": "Something has changed that needs attention.",
}
SURE, MAYBE = 0.05, 0.15
ASKED = {  # by question: what is counted; where rows are marked, and where not
    "none_fits": "Texts that no label fits",
    "texts": "Texts farther from the reference than nine in ten of its own",
    "student": "Labels that a classifier which learned the reference's would not give",
    "confidence": "Labels less sure than nine in ten of the reference's",
}
MARKED = "Rows left open as too unsure"
PARTS = {
    "annotate": "the labels of all rows",
    "extended": "the labels once more, by the wider taxonomy",
    "audit": "labels that may be wrong",
}


@dataclass
class Change:
    """A share then and now; `sign`: how sure it is that it has changed, in words; `points`: the difference with its interval."""

    name: str
    before: Estimate
    now: Estimate
    points: str
    sign: str
    sure: bool


@dataclass
class Shown:
    """A new text that lies far from the reference's, and the label it got."""

    text: str
    label: str


@dataclass
class DriftSection:
    """`verdict`: steady, watch, act, or "". `did`: what the round changed by itself. `links`: (file, what)."""

    verdict: str
    look: str
    summary: list[str]
    reasons: list[str]
    todo: list[str]
    did: list[str]
    notes: list[str]
    questions: list[Change]
    question_scale: Scale
    labels: list[Change]
    label_scale: Scale
    hidden: int
    by: str
    apart: str
    rows: list[Shown]
    links: list[tuple[str, str]]


def is_daily(files: RunFiles) -> bool:
    return files.run.get("flow") == "daily"


def drift_section(folder: Path, files: RunFiles) -> DriftSection:
    """The section of one round."""
    metrics = files.metrics
    decision, drift, about = part(metrics, "decision"), part(metrics, "drift"), part(metrics, "round")
    found = part(drift, "found")
    verdict = words.field(decision, "verdict", 20)
    names = {label.id: words.clean(label.name, 120) for label in files.taxonomy.labels} | {NONE_FITS: "(no label fits)"}
    names |= _taken_up(folder)
    questions = [_question(key, part(found, key), part(found, "p")) for key in ASKED if part(found, key)]
    labels = [_change(names.get(str(row.get("label")), words.field(row, "label", 120)), row) for row in parts(found, "labels")]
    return DriftSection(
        verdict=verdict if verdict in LOOKS else "",
        look=LOOKS.get(verdict, ""),
        summary=_summary(verdict, about, drift, found),
        reasons=[f"{line.rstrip('.')}." for line in texts(decision, "reasons", 10, 600)],
        todo=texts(decision, "todo", 10, 600),
        did=_did(decision, names, folder),
        notes=texts(about, "notes", 5, 600),
        questions=questions,
        question_scale=_scale(questions),
        labels=labels[:MOST_LABELS],
        label_scale=_scale(labels[:MOST_LABELS]),
        hidden=max(0, len(labels) - MOST_LABELS),
        by=words.field(found, "by", 80),
        apart=_apart(part(found, "apart")),
        rows=[Shown(words.field(row, "text", 300), words.field(row, "label", 120)) for row in parts(drift, "rows")[:MOST_ROWS]],
        links=[(f"{name}/report.html", what) for name, what in PARTS.items() if (folder / name / "report.html").is_file()],
    )


def _summary(verdict: str, about: Json, drift: Json, found: Json) -> list[str]:
    if not verdict:
        return ["This round has not ended."]
    said = VERDICTS.get(verdict, "") if found.get("enough") else "Nothing could be compared yet."
    lines = [said, f"{words.count(whole(about, 'new') or 0, 'row')} new or changed."]
    if people := whole(about, "corrected"):
        lines.append(f"People have labelled {people:,} rows since the last round.")
    if about.get("edited"):
        lines.append("The taxonomy was edited since the last round.")
    if found.get("enough"):
        now, before = whole(found, "rows_now") or 0, whole(found, "rows_before") or 0
        lines.append(f"Compared: {now:,} new rows with {before:,} of the reference, {words.field(drift, 'reference', 120)}.")
    return lines


def _taken_up(folder: Path) -> dict[str, str]:
    """Names of labels the round has added."""
    path = folder / "extended.yaml"
    return {label.id: words.clean(label.name, 120) for label in Taxonomy.load(path).labels} if path.is_file() else {}


def _did(decision: Json, names: Mapping[str, str], folder: Path) -> list[str]:
    lines = []
    if decision.get("extended"):
        before = {label.id for label in Taxonomy.load(folder / "taxonomy.yaml").labels}
        added = [names[label.id] for label in Taxonomy.load(folder / "extended.yaml").labels if label.id not in before]
        lines.append(
            f"Took up {words.count(len(added), 'label')}: {', '.join(added)}. Texts they may fit were asked about again."
        )
    if decision.get("retrained"):
        lines.append("Put the classifier this round has trained in force (student in current.json).")
    return lines


def _question(key: str, raw: Json, p: Json) -> Change:
    return _change(MARKED if raw.get("marked") else ASKED[key], {**raw, "p": p.get(key)})


def _change(name: str, raw: Json) -> Change:
    before, now = (estimate(raw, key, f"{key}_low", f"{key}_high") for key in ("before", "now"))
    apart, low, high = (words.figure(raw.get(key)) for key in ("difference", "low", "high"))
    told = None in (apart, low, high)
    points = "" if told else f"{100 * (apart or 0):+.1f} ({100 * (low or 0):+.1f} to {100 * (high or 0):+.1f})"
    p = words.figure(raw.get("p"))
    sign = "" if p is None else "changed" if p <= SURE else "perhaps" if p <= MAYBE else "no sign"
    return Change(name, before, now, points, sign, sign == "changed")


def _scale(rows: list[Change]) -> Scale:
    return scale([v for row in rows for v in (row.before.high, row.now.high)])


def _apart(raw: Json) -> str:
    auc = estimate(raw, "auc")
    if auc.value is None or auc.low is None or auc.high is None:
        return ""
    told = f"AUC {auc.value:.2f} ({auc.low:.2f} to {auc.high:.2f})"
    return f"A classifier that is shown old and new texts tells them apart with {told}; 0.5 is not at all, 1 is always."
