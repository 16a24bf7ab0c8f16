"""The findings as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST = 3  # labels named in a sentence
TODO = {
    "none_fits": "Extend the taxonomy: annotate/taxonomy.proposed.yaml of this round offers labels for texts that none fits.",
    "student": "Retrain the student: it has learned from texts that are unlike those of today.",
    "texts": "Look at the new texts below that are farthest from the reference: do the labels they got fit them?",
    "confidence": "Have people look at rows the labels are unsure of: llmlabel review export on this round's annotate run.",
    "labels": "Ask those who use the shares whether the change is real; if it is, name this round's annotate run as --reference.",
}


def percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share < 0.1 else f"{100 * share:.0f}%"


def _pair(found: Mapping[str, float]) -> str:
    """`4.0% before, 12% now (5.1 to 11 points more)`."""
    low, high = 100 * found["low"], 100 * found["high"]
    return f"{percent(found['before'])} before, {percent(found['now'])} now (by {low:+.1f} to {high:+.1f} points)"


def reason(name: str, found: Mapping[str, Any], names: Mapping[str, str], sure: bool) -> str:
    """Why a question counts, in a sentence. `sure`: rather than only likely."""
    said = {"labels": _labels, "texts": _texts}.get(name)
    if said:
        text = said(found, names)
    elif name == "none_fits":
        text = f"More texts fit no label: {_pair(found['none_fits'])}"
    elif name == "student":
        text = (
            f"A classifier that learned the reference's labels disagrees with the labels of more texts: {_pair(found['student'])}"
        )
    else:
        what = (
            "More rows are left open as too unsure"
            if found["confidence"].get("marked")
            else "Labels are less sure than they were"
        )
        text = f"{what}: {_pair(found['confidence'])}"
    return text if sure else f"{text}; it may be chance"


def _labels(found: Mapping[str, Any], names: Mapping[str, str]) -> str:
    moved = [row for row in found["labels"] if row["p"] is not None]
    moved = [row for row in moved if row["p"] <= 0.05] or sorted(moved, key=lambda row: row["p"])[:1]
    told = [
        f"{names.get(row['label'], row['label'])} {percent(row['before'])} before, {percent(row['now'])} now" for row in moved
    ]
    more = f" and {len(told) - MOST} more" if len(told) > MOST else ""
    return f"Shares of labels have changed: {'; '.join(told[:MOST])}{more}"


def _texts(found: Mapping[str, Any], names: Mapping[str, str]) -> str:
    far, apart = found["texts"], found["apart"]
    tail = f"{percent(far['now'])} of the new texts are farther from the reference than nine in ten of its own"
    if not apart:
        return f"New texts are unlike the reference's: {tail}"
    told = f"a classifier tells them apart with AUC {apart['auc']:.2f} (.5: not at all)"
    return f"New texts are unlike the reference's: {tail}, and {told}"


def todo(acting: Sequence[str], watching: Sequence[str]) -> dict[str, str]:
    """What to do, by question, most urgent first; by "" where there is nothing to do yet."""
    if acting:
        return {name: what for name, what in TODO.items() if name in acting}
    return {"": "Nothing yet; see whether the next rounds say it again."} if watching else {}
