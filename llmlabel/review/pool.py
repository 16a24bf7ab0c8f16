"""What is known of the rows of a run: what it labelled them, how sure it is, who disagreed, and their texts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmlabel.data import fingerprint, read_examples
from llmlabel.errors import ConfigError, DataError
from llmlabel.records import NONE_FITS, Example, Status, Taxonomy, fold
from llmlabel.runs import Run

SUSPECT = 0.5  # no text that looks like an attack on the labeller counts as surer than this


@dataclass
class Pool:
    """Rows that people may be shown: those with a text. `rank`: positions, worst first, where an audit has put them in order.

    `labels`: by row; ids of its labels, none for "no label fits"; None: no usable answer. `confidence`: (N,), NaN where unknown,
    0 where there is no answer. `disagreement`: (N,) share of annotators with another answer, NaN for one annotator.
    """

    ids: list[str]
    texts: list[str]
    labels: list[list[str] | None]
    confidence: NDArray[np.float64]
    disagreement: NDArray[np.float64]
    suspect: NDArray[np.bool_]
    why: list[str]
    rank: list[int] = field(default_factory=list)

    @property
    def trust(self) -> NDArray[np.float64]:
        """(N,) the confidence, but at most `SUSPECT` for suspects."""
        return np.where(self.suspect, np.minimum(np.nan_to_num(self.confidence, nan=1.0), SUSPECT), self.confidence)

    @cached_property
    def same(self) -> list[str]:
        """The texts without what makes no difference: rows with the same one are copies."""
        return [" ".join(text.split()).casefold() for text in self.texts]

    @cached_property
    def copies(self) -> NDArray[np.int64]:
        """(N,) how many rows have this text."""
        count = Counter(self.same)
        return np.array([count[text] for text in self.same], dtype=np.int64)


def present(run: Run, taxonomy: Taxonomy) -> dict[str, list[str] | None]:
    """What the run says of each row: ids of its labels, none for "no label fits", None for no usable answer."""
    if _is_audit(run):
        rows = _read(run.path / "audit.parquet", ["id", "given"])
        return {str(i): _given(g, taxonomy) for i, g in zip(rows["id"], rows["given"], strict=True)}
    rows = _read(run.path / "labels.parquet", ["id", "label", "labels", "status"])
    return {i: _labels(*values) for i, *values in rows.iter_rows()}


def read_pool(run: Run, taxonomy: Taxonomy, data: str | None = None) -> Pool:
    """The rows of a run folder.

    Args:
        data: where the data is now, if not where the run found it.
    Raises: ConfigError when the run has no labels yet; DataError when the data is not what the run saw, or a file is damaged.
    """
    return _audited(run, taxonomy, data) if _is_audit(run) else _labelled(run, data)


def _is_audit(run: Run) -> bool:
    return (run.path / "audit.parquet").is_file()


def _read(path: Path, columns: list[str]) -> pl.DataFrame:
    if not path.is_file():
        raise ConfigError(f"{path.parent} has no {path.name}; let the run finish first")
    try:
        return pl.read_parquet(path, columns=columns)
    except (pl.exceptions.PolarsError, OSError) as e:
        raise DataError(f"{path} is damaged ({str(e)[:200]}); run the same command again to write it anew") from e


def _labels(label: str | None, labels: list[str] | None, status: str) -> list[str] | None:
    if status == Status.NONE_FITS:
        return []
    if Status(status).failed or (label is None and not labels):
        return None
    return list(labels or [str(label)])


def _labelled(run: Run, data: str | None) -> Pool:
    rows = _read(run.path / "labels.parquet", ["id", "label", "labels", "confidence", "status", "suspect"])
    rows, texts = _with_text(rows, run, data)
    status, suspect = [Status(s) for s in rows["status"]], np.array(rows["suspect"].fill_null(False), bool)
    labels = [_labels(*values) for values in rows.select("label", "labels", "status").iter_rows()]
    sure = rows["confidence"].cast(pl.Float64).to_numpy().astype(float)
    sure = np.where([ours is None for ours in labels], 0.0, sure)
    multi = bool((run.info.get("config") or {}).get("multi_label"))
    against = _disagreement(run.path / "annotations.parquet", rows["id"].to_list(), multi)
    why = [_why(*row) for row in zip(status, suspect, sure, against, strict=True)]
    return Pool(rows["id"].to_list(), [texts[i] for i in rows["id"]], labels, sure, against, suspect, why)


def _with_text(rows: pl.DataFrame, run: Run, data: str | None) -> tuple[pl.DataFrame, dict[str, str]]:
    """The rows that have a text, and all texts by id."""
    texts = {e.id: e.text for e in _examples(run, data)}
    if missing := next((i for i in rows["id"] if i not in texts), None):
        raise DataError(
            f"{run.path} has labels for the row {missing!r}, which the data does not have: it is not the data of this run"
        )
    return rows.filter(pl.Series([bool(texts[i].strip()) for i in rows["id"]], dtype=pl.Boolean)), texts


def _examples(run: Run, data: str | None) -> list[Example]:
    """The rows the run saw, read again."""
    config, known = run.info.get("config") or {}, (run.info.get("definition") or {}).get("data") or {}
    spec = data or config.get("data")
    if not spec:
        raise ConfigError(f"{run.path}/run.json does not say where the data is; name it with --data")
    gold = config.get("label_column") or config.get("gold_column")  # an audit's labels, or what scores were made with
    text, ids = config.get("text_column") or "text", config.get("id_column")
    examples = read_examples(str(spec), text_column=text, id_column=ids, gold_column=gold)
    if isinstance(known, dict) and known.get("fingerprint") not in (None, fingerprint(examples)):
        raise DataError(f"{spec} has changed since {run.path} labelled it; name the file it read with --data, or run it again")
    return examples


def _disagreement(path: Path, ids: list[str], multi: bool) -> NDArray[np.float64]:
    """(N,) the share of a row's annotators who do not say what most say."""
    if not path.is_file():
        return np.full(len(ids), np.nan)
    failed = [str(s) for s in Status if s.failed]
    said = pl.col("labels").list.sort().list.join("|") if multi else pl.col("label")
    votes = _read(path, ["id", "label", "labels", "status"]).filter(~pl.col("status").is_in(failed))
    by_answer = votes.group_by("id", said.fill_null("").alias("said")).agg(pl.len().alias("n"))
    by_row = by_answer.group_by("id").agg(pl.col("n").sum(), (1 - pl.col("n").max() / pl.col("n").sum()).alias("against"))
    found = {i: share for i, n, share in by_row.iter_rows() if n > 1}
    return np.array([found.get(i, np.nan) for i in ids], dtype=float)


def _why(status: Status, suspect: bool, sure: float, against: float) -> str:
    """Why a row is worth a look, in plain words."""
    said = []
    if status.failed:
        said.append(f"no usable answer ({status})")
    if suspect:
        said.append("the text looks like an attack on the labeller")
    if against > 0:
        said.append(f"{against:.0%} of the annotators say something else")
    if status is Status.NONE_FITS:
        said.append("no label seems to fit")
    if not status.failed:
        said.append("nobody says how sure the label is" if np.isnan(sure) else f"{sure:.0%} sure")
    return "; ".join(said)


def _audited(run: Run, taxonomy: Taxonomy, data: str | None) -> Pool:
    rows, texts = _with_text(_read(run.path / "audit.parquet", ["id", "rank", "given", "proposed", "reason"]), run, data)
    proposed = [_given(p, taxonomy) for p in rows["proposed"]]
    given = [_given(g, taxonomy) for g in rows["given"]]
    unknown = np.full(len(rows), np.nan)
    shown = [g if p is None else p for p, g in zip(proposed, given, strict=True)]
    rank = [int(i) for i in rows["rank"].arg_sort(nulls_last=True)]
    ids, why = [str(i) for i in rows["id"]], [r or "" for r in rows["reason"]]
    return Pool(ids, [texts[i] for i in ids], shown, unknown, unknown, np.zeros(len(ids), bool), why, rank)


def _given(value: Any, taxonomy: Taxonomy) -> list[str] | None:
    """Labels as a cell of somebody's table has them; None where there is none, or none the taxonomy knows."""
    if value is None or (isinstance(value, str) and fold(value) == NONE_FITS):
        return None if value is None else []
    whole = taxonomy.find(value) if isinstance(value, str) else None
    parts = value if isinstance(value, list) else str(value).split("|")
    found = [whole] if whole else [taxonomy.find(str(part)) for part in parts]
    return [label.id for label in found if label] or None
