"""What an audit says at its end, what a person's check of it says, and what it will cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from llmlabel.flows.estimates.common import Step, filled, label_table, total
from llmlabel.flows.running.artifacts import show_table

from llmlabel.annotation.annotators.classify import MOST_LABELS, PROMPTS
from llmlabel.annotation.audit import noise
from llmlabel.annotation.audit.check import checked, read_verdicts
from llmlabel.annotation.audit.queue import Evidence, Given, conflicts
from llmlabel.annotation.panel import Column
from llmlabel.config import AuditConfig
from llmlabel.data import read_examples, read_rows
from llmlabel.errors import ConfigError
from llmlabel.llm.specs import parse_spec
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example, Taxonomy
from llmlabel.report import write_report
from llmlabel.runs import RunFolder, read_json, write_json

SHOWN = 20  # rows in Prefect's table
MOST = 20  # labels off the list that are named


def metrics(
    examples: Sequence[Example], given: Given, few: Mapping[str, int], alone: Evidence, found: Evidence,
    queued: Sequence[Mapping[str, Any]], columns: Sequence[Column], weights: Mapping[str, float],
) -> dict[str, Any]:  # fmt: skip
    """metrics.json: what was counted, the estimated errors by label, and labels that may be one."""
    names = {label.id: label.name for label in given.taxonomy.labels}
    classes = [names.get(label, label) for label in found.classes]
    joint = found.joint
    off = Counter(given.off_list.values())
    without = sum(given.label[i] is None and e.id not in given.off_list for i, e in enumerate(examples))
    about = {
        "rows": len(examples), "judged": len(found.given), "flagged": sum(bool(row["flagged"]) for row in queued),
        "errors": round(float(found.wrong.sum()), 1), "error_share": round(float(found.wrong.mean()), 4),
        "errors_joint": round(float(joint.sum() - np.trace(joint)), 1),
        "no_label": without, "no_text": sum(not e.text.strip() for e in examples),
        "off_list": sum(off.values()), "off_list_labels": dict(off.most_common(MOST)),
        "too_few": {names.get(label, label): n for label, n in few.items()}, "conflicts": len(conflicts(examples, given)),
        "classifier_accuracy": round(float(np.mean(found.classifier.argmax(axis=1) == found.given)), 4),
        "by_label": by_label(joint, found, classes), "overlaps": noise.overlaps(joint, classes),
        "judges": [judge(column, alone, found, given, examples, weights) for column in columns], "weights": dict(weights),
    }  # fmt: skip
    return {"schema": 1, "scores": {}, "counts": {"ok": len(queued)}, "audit": about}


def by_label(joint: np.ndarray[Any, Any], found: Evidence, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Labels, the noisiest first: rows, expected errors among them, their share, and the class most of those rather are."""
    rows = []
    for k, name in enumerate(classes):
        wrong, others = found.wrong[found.given == k], np.where(np.arange(len(classes)) == k, 0.0, joint[k])
        rather = classes[int(others.argmax())] if others.max() >= 1 else None
        rows.append({"label": name, "rows": len(wrong), "errors": round(float(wrong.sum()), 1),
                     "share": round(float(wrong.mean()), 4), "rather": rather})  # fmt: skip
    return sorted(rows, key=lambda row: -row["share"])


def judge(
    column: Column, alone: Evidence, found: Evidence, given: Given, examples: Sequence[Example], weights: Mapping[str, float]
) -> dict[str, Any]:
    """How often a judge agrees with the given label, of the rows it gave a usable answer for."""
    label_of = {e.id: label for e, label in zip(examples, given.label, strict=True)}
    usable = [row for row in column.rows.values() if not row.status.failed]
    agree = sum(row.label == label_of[row.id] for row in usable)
    return {"name": column.name, "way": column.way, "asked": len(column.rows), "usable": len(usable), "agrees": agree,
            "weight": weights.get(column.name)}  # fmt: skip


def shown(folder: RunFolder) -> dict[str, Any]:
    """The worst rows and the overlapping labels in Prefect's UI, and the run in a few figures."""
    about = read_json(folder.path / "metrics.json")["audit"]
    worst = pq.read_table(folder.path / "audit.parquet").slice(0, SHOWN).to_pylist()
    show_table("audit", worst, "labels that are most likely wrong")
    show_table("overlaps", about["overlaps"], "labels that are taken for each other")
    kept = ("judged", "flagged", "errors", "off_list", "conflicts", "no_label", "no_text")
    return {
        "out": str(folder.path), "exit": folder.info["exit"], "counts": folder.info["counts"],
        **{key: about[key] for key in kept}, "cost": folder.info["cost"]["money"], "retries": folder.retries,
        "queue": str(folder.path / "audit.parquet"), "report": str(folder.path / "report.html"),
    }  # fmt: skip


def check(config: AuditConfig) -> dict[str, Any]:
    """What the verdicts in --check say of a run's queue: that of --from, else that of --out. Kept as checked.json, and shown in
    the report.

    Raises: ConfigError when that run drew no rows; DataError for verdicts that cannot be used.
    """
    drawn_by = (config.from_run or config.out) / "steps" / "check.json"
    if not drawn_by.is_file():
        raise ConfigError(f"--check: {config.from_run or config.out} is no audit; name the run that wrote the check.csv")
    verdicts = read_verdicts(read_rows(str(config.check)), str(config.check))
    found = checked(verdicts, read_json(drawn_by), config.seed)
    write_json(config.out / "checked.json", found)
    write_report(config.out)
    return found


def estimate(config: AuditConfig, specs: Sequence[str | None]) -> dict[str, Any]:
    """Calls, tokens and US dollars at the most: every judge on `ask` and `ask_random` rows."""
    examples = read_examples(
        config.data, text_column=config.text_column, id_column=config.id_column, gold_column=config.label_column
    )
    return {"rows": len(examples), **total([_asked(config, examples, spec) for spec in specs], config)}


def _asked(config: AuditConfig, examples: Sequence[Example], spec: str | None) -> Step:
    from llmlabel.annotation.audit.queue import read_given

    tree = read_given(examples, Taxonomy.load(config.taxonomy) if config.taxonomy else None).taxonomy
    rows = [e for e in examples if e.text.strip() and e.gold][: config.ask + config.ask_random]
    common = {"use_case": config.use_case or tree.use_case, "labels": label_table(tree.leaves[:MOST_LABELS]), "shots": []}
    values = [{"text": e.text[: config.max_text_chars], **common} for e in rows]
    return filled("judge", parse_spec(spec), PromptLibrary(config.prompts).get(PROMPTS["one"]), values, 1)
