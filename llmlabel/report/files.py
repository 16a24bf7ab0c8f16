"""What a run folder holds, read once. Every file may be missing; a report shows what is there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from llmlabel.errors import DataError
from llmlabel.records import Status, Taxonomy
from llmlabel.runs import read_json

Json = dict[str, Any]


@dataclass
class LabelStats:
    """One label's rows. `also`: rows it is a secondary label of."""

    rows: int = 0
    also: int = 0
    confidence: float | None = None


@dataclass
class Rows:
    """labels.parquet in numbers. `labels`, `sources`: rows that got a label."""

    total: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    labels: dict[str, LabelStats] = field(default_factory=dict)
    suspect: int = 0


@dataclass
class Failures:
    """The failed rows of one status."""

    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)


@dataclass
class RunFiles:
    """All that the report is made from."""

    run: Json
    taxonomy: Taxonomy
    rows: Rows
    metrics: Json
    induction: Json
    map: Json
    texts: dict[str, str]
    failures: dict[str, Failures]


def read_run(folder: Path) -> RunFiles:
    """Read what a run folder holds.

    Raises: DataError when it holds no run, or when a file is damaged.
    """
    if not any((folder / name).is_file() for name in ("run.json", "taxonomy.yaml", "labels.parquet")):
        raise DataError(f"{folder} holds no run: no run.json, taxonomy.yaml or labels.parquet. Name a run folder")
    run = _object(folder / "run.json")
    return RunFiles(
        run=run,
        taxonomy=Taxonomy.load(folder / "taxonomy.yaml") if (folder / "taxonomy.yaml").is_file() else Taxonomy(),
        rows=_rows(folder / "labels.parquet") or _rows(folder / "labels") or _counted(run),
        metrics=_object(folder / "metrics.json"),
        induction=_object(folder / "steps" / "induction.json"),
        map=_object(folder / "steps" / "map.json"),
        texts={str(k): str(v) for k, v in _object(folder / "steps" / "texts.json").items()},
        failures=_failures(folder / "failures.jsonl"),
    )


def table(path: Path, query: Callable[[pl.LazyFrame], pl.LazyFrame]) -> list[Json]:
    """What a query finds in a parquet file; no rows where the file is not there. Raises: DataError for a damaged file."""
    if not path.is_file():
        return []
    try:
        return query(pl.scan_parquet(path)).collect().to_dicts()
    except (pl.exceptions.PolarsError, OSError) as e:
        raise DataError(f"{path} is damaged ({str(e)[:200]}); run the same command again to write it anew") from e


def _object(path: Path) -> Json:
    try:
        value = read_json(path)
    except FileNotFoundError:
        return {}
    if not isinstance(value, dict):
        raise DataError(f"{path} is damaged: it does not hold a JSON object")
    return value


def _counted(run: Json) -> Rows:
    """What run.json knows of the rows, for a run that has no labels yet."""
    counts = {str(k): int(v) for k, v in (run.get("counts") or {}).items()}
    return Rows(total=int((run.get("data") or {}).get("rows") or sum(counts.values())), statuses=counts)


def _rows(path: Path) -> Rows | None:
    if not path.exists():
        return None
    try:
        return _summed(pl.scan_parquet(path))
    except (pl.exceptions.PolarsError, OSError) as e:
        raise DataError(f"{path} is damaged ({str(e)[:200]}); run the same command again to write it anew") from e


def _summed(table: pl.LazyFrame) -> Rows:
    labelled = table.filter(pl.col("status") == str(Status.OK), pl.col("label").is_not_null())
    by_label = labelled.group_by("label").agg(pl.len().alias("n"), pl.col("confidence").mean())
    others = labelled.select("label", pl.col("labels").alias("other")).explode("other")
    also = others.filter(pl.col("other") != pl.col("label")).group_by("other").agg(pl.len().alias("n"))
    labels = {label: LabelStats(n, 0, confidence) for label, n, confidence in by_label.collect().iter_rows()}
    for name, n in also.collect().iter_rows():
        labels.setdefault(name, LabelStats()).also = n
    statuses = _tally(table, "status")
    suspect = int(table.select(pl.col("suspect").fill_null(False).sum()).collect().item() or 0)
    return Rows(sum(statuses.values()), statuses, _tally(labelled, "source"), labels, suspect)


def _tally(table: pl.LazyFrame, column: str) -> dict[str, int]:
    counted = table.group_by(column).agg(pl.len().alias("n")).sort("n", column, descending=[True, False])
    return {str(name): n for name, n in counted.collect().iter_rows()}


def _failures(path: Path) -> dict[str, Failures]:
    found: dict[str, Failures] = {}
    for row in _lines(path):
        group = found.setdefault(str(row.get("status") or Status.ERROR), Failures())
        group.rows += 1
        group.reasons[str(row.get("reason") or "")[:500]] += 1
        if len(group.ids) < 4:
            group.ids.append(str(row.get("id")))
    return found


def _lines(path: Path) -> Iterator[Json]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as lines:
        for n, line in enumerate(lines, 1):
            try:
                row = json.loads(line) if line.strip() else None
            except ValueError as e:
                raise DataError(f"{path}, line {n} is damaged ({e}); run the same command again") from e
            if isinstance(row, dict):
                yield row
