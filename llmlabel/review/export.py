"""`llmlabel review export`: from a run folder to a file for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from llmlabel import embedding
from llmlabel.errors import ConfigError, DataError
from llmlabel.records import Taxonomy
from llmlabel.review import formats
from llmlabel.review.batch import Batch, Row
from llmlabel.review.corrections import history
from llmlabel.review.pool import Pool, read_pool
from llmlabel.review.queue import draw, mix, order, worth
from llmlabel.runs import Run, load_run, write_atomic

CANDIDATES, MOST = 5, 5000  # vectors are made for so many times the rows asked for, and for no more rows than that


def export(
    path: Path, kind: str, *, n: int = 200, random: float = 0.2, seed: int = 0, out: Path | None = None, blind: bool = False,
    vectors: bool = True, data: str | None = None, cache: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Choose rows of a run, and write them for people.

    Args:
        kind: `label-studio`, `argilla` or `csv`. n: rows. random: their share that is a uniform draw of all rows; the others
            are the most useful ones nobody has looked at. out: file (argilla: folder); default: in the run's `review/`.
        blind: show no suggestions. vectors: use sentence vectors, to count neighbours and to avoid near-duplicates.
        data: where the data is now. cache: where vectors are kept.
    Returns: what was written, as plain values.
    Raises: ConfigError, DataError.
    """
    if kind not in formats.FORMATS:
        raise ConfigError(f"--format {kind!r}: no such format. Known: {', '.join(formats.FORMATS)}")
    if n < 1 or not 0 <= random <= 1:
        raise ConfigError("--n must be 1 or more, and --random a share from 0 to 1")
    run = load_run(path)
    taxonomy = run.taxonomy
    pool = read_pool(run, taxonomy, data)
    if not pool.ids:
        raise DataError(f"{path}: no row has a text to show")
    rows, note = choose(run, pool, n, random, seed, vectors, cache)
    batch = batch_of(run, taxonomy, pool, rows, blind)
    manifest = path / "review" / f"{batch.id}.json"
    base = _without_ending(out, kind) if out else path / "review" / (batch.id if kind == "csv" else f"{batch.id}-{kind}")
    files = formats.write(batch, kind, base)
    write_atomic(manifest, json.dumps(batch.manifest(), ensure_ascii=False, indent=1) + "\n")
    drawn = sum(row.drawn == "random" for row in batch.rows)
    return {
        "out": str(files[0]), "also": [str(f) for f in files[1:]], "batch": batch.id, "rows": len(rows), "random": drawn,
        "queue": len(rows) - drawn, "manifest": str(manifest), "vectors": note,
    }  # fmt: skip


def _without_ending(out: Path, kind: str) -> Path:
    """The formats put the endings; `q.csv` and `q` mean the same file."""
    ending = {"csv": ".csv", "label-studio": ".json"}.get(kind)
    return out.with_suffix("") if ending and out.suffix.lower() == ending else out


def choose(
    run: Run, pool: Pool, n: int, random: float, seed: int, vectors: bool, cache: Path | None
) -> tuple[list[tuple[int, bool]], str]:
    """Positions in the pool with whether each is of the random part, mixed; and a word on the vectors.

    Rows people have answered are not queued again; rows they answered in an earlier random part are not drawn again, so that
    all random parts together are one uniform draw.
    """
    said = history(run.path)
    place = {row: i for i, row in enumerate(pool.ids)}
    drawn_before = {place[c.id] for c in said if c.drawn == "random" and c.id in place}
    picked = draw(len(pool.ids), round(random * n), seed, drawn_before)
    out = {*picked, *(place[c.id] for c in said if c.id in place)}
    queued, note = _queued(run, pool, n - len(picked), out, vectors, cache)
    rows = [(i, True) for i in picked] + [(i, False) for i in queued]
    return [rows[i] for i in mix(range(len(rows)), seed)], note


def _queued(run: Run, pool: Pool, n: int, out: set[int], vectors: bool, cache: Path | None) -> tuple[list[int], str]:
    if pool.rank:
        return [i for i in pool.rank if i not in out][:n], "the order is the audit's"
    value = worth(pool.trust, pool.disagreement, pool.copies)
    candidates = _one_of_each(pool, [i for i in order(value, len(value)) if i not in out], max(n, min(CANDIDATES * n, MOST)))
    if not vectors or len(candidates) <= n or len(candidates) > MOST:
        return candidates[:n], "not needed" if vectors else "not asked for"
    try:
        encoded = _vectors(run, [pool.texts[i] for i in candidates], cache)
    except ConfigError as e:
        return candidates[:n], f"none: {e}"
    return [candidates[i] for i in order(value[candidates], n, encoded)], f"of {len(candidates)} rows"


def _one_of_each(pool: Pool, positions: list[int], most: int) -> list[int]:
    """The first rows with each text: an answer for one is an answer for its copies."""
    found: dict[str, int] = {}
    for i in positions:
        if len(found) == most:
            break
        found.setdefault(pool.same[i], i)
    return list(found.values())


def _vectors(run: Run, texts: list[str], cache: Path | None) -> np.ndarray[Any, Any]:
    """Vectors of the run's own embedder. Raises: ConfigError where that is not on this machine, or costs money."""
    spec, saved = str((run.info.get("config") or {}).get("embedder") or "auto"), run.path / "classifier"
    if spec.startswith("openai:") or "@http" in spec:
        raise ConfigError(f"the run's embedder {spec} is a paid endpoint")
    if (saved / "embedder.json").is_file():
        embedder = embedding.load(saved)
    else:
        embedder = embedding.connect(spec, fit_on=texts, seed=int(run.info.get("seed") or 0))
    return np.asarray(embedding.VectorCache(cache).encode(embedder, texts))


def batch_of(run: Run, taxonomy: Taxonomy, pool: Pool, chosen: list[tuple[int, bool]], blind: bool) -> Batch:
    rows = []
    for i, random in chosen:
        sure = float(pool.confidence[i])
        known = None if pool.labels[i] is None or np.isnan(sure) else round(sure, 4)
        why = pool.why[i] + (f"; the text stands there {pool.copies[i]} times" if pool.copies[i] > 1 else "")
        rows.append(Row(pool.ids[i], pool.texts[i], pool.labels[i], known, "random" if random else "queue", why))
    info = run.info
    name = f"llmlabel-{str(info.get('id', ''))[:8]}".rstrip("-")
    multi = bool((info.get("config") or {}).get("multi_label"))
    return Batch(rows, taxonomy, multi, name, blind, len(pool.ids), str(info.get("id", "")))
