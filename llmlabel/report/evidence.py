"""What an annotate run says for its labels: every section of the report that its metrics.json can fill."""

from __future__ import annotations

from dataclasses import dataclass

from llmlabel.report.annotators import Annotators, annotators
from llmlabel.report.asking import Cascade, Order, cascade, order_bias
from llmlabel.report.files import RunFiles
from llmlabel.report.shares import Gaps, Shares, gaps, label_sets, shares
from llmlabel.report.trust import People, Trust, export_command, people, trust

PARTS = (
    "gold", "annotators", "agreement", "calibration", "deferral", "cascade", "shares", "alt_test", "order_bias", "coverage",
    "label_sets", "reviews",
)  # fmt: skip


@dataclass
class Evidence:
    """The sections, in the order a reader asks; None or empty where the run says nothing."""

    trust: Trust
    annotators: Annotators | None
    shares: Shares | None
    order: Order | None
    gaps: Gaps | None
    cascade: Cascade | None
    sets: list[str]
    people: People


def evidence(files: RunFiles, folder: str) -> Evidence | None:
    """None for a run that says nothing of the kind, such as one that made a taxonomy.

    Args:
        folder: stands in commands where the run does not know its own folder.
    """
    metrics = files.metrics
    if files.run.get("flow") != "annotate" and not any(metrics.get(key) for key in PARTS):
        return None
    export = export_command(files.run, folder)
    return Evidence(
        trust(metrics, export),
        annotators(metrics),
        shares(metrics, files.taxonomy),
        order_bias(metrics),
        gaps(metrics),
        cascade(metrics),
        label_sets(metrics),
        people(metrics, files.rows.statuses, export),
    )
