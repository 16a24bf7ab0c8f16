"""`llmlabel apply` to a folder: a classifier's labels for any number of rows, part by part, on processes, Ray or Dask."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from llmlabel.flows.running.configured import flow
from llmlabel.flows.running.runners import carried_out
from llmlabel.flows.steps.annotation.labelling import PLAIN
from prefect import task

from llmlabel.config import ApplyConfig
from llmlabel.data import file_system
from llmlabel.errors import ConfigError, DataError
from llmlabel.events import emit
from llmlabel.parts import Part, opened, parts_of, within, written
from llmlabel.runs import DONE, PARTIAL
from llmlabel.students.apply import MARK, apply_part, digest_of

SUMMARY = "_apply.json"
AT_ONCE = 16  # footers that are read at once where parts are there already


@flow(name="apply", asks=False)
def apply(config: ApplyConfig) -> dict[str, Any]:
    """Label every part that is not there yet.

    Returns: the folder, exit code, rows by status, parts, rows per second of this call.
    """
    started = time.monotonic()
    parts = parts_of(config.data, config.part_rows)
    known = sum(part.rows or 0 for part in parts)
    emit("start", flow="apply", out=config.out, rows=known, run=config.run.name)
    done = _there(config, parts)
    left = [part for part in parts if part.name not in done]
    if done:
        emit("note", text=f"{len(done)} of {len(parts)} parts are there already")
    counts, fresh = sum(done.values(), Counter()), Counter[str]()
    calls = [{"config": config, "part": part, "name": part.name} for part in left]
    for _, found in carried_out(config, label_part, calls) if left else ():
        fresh += Counter(found)
        emit("progress", step="apply", done=sum((counts + fresh).values()), total=known or None, **_pace(started, fresh))
    counts += fresh
    if not counts:
        raise DataError(f"{config.data} has no rows")
    seconds = time.monotonic() - started
    found = {"counts": dict(counts), "rows": sum(counts.values()), "parts": len(parts), "labelled_now": sum(fresh.values())}
    with written(within(config.out, SUMMARY)) as sink:
        said = {"schema": 1, "run": str(config.run), "data": config.data, "text_column": config.text_column, **found}
        sink.write(json.dumps(said, indent=1).encode())
    empty = {"exit": PARTIAL, "note": "Rows without a text have the status error."} if counts.get("error") else {"exit": DONE}
    return {
        "out": config.out, **empty, **found, "seconds": round(seconds, 1),
        "rows_per_s": round(sum(fresh.values()) / seconds, 1),
    }  # fmt: skip


def _pace(started: float, fresh: Counter[str]) -> dict[str, Any]:
    return {"rate": sum(fresh.values()) / (time.monotonic() - started), "left_s": None, "cost": 0.0}


@task(name="label", task_run_name="label {name}", **PLAIN)
def label_part(config: ApplyConfig, part: Part, name: str) -> dict[str, int]:
    return dict(apply_part(config.run, part, config.out, config.text_column))


def _there(config: ApplyConfig, parts: Sequence[Part]) -> dict[str, Counter[str]]:
    """Rows by status of the parts that are written, from the same rows of the same file by the same classifier.

    Raises: ConfigError where the folder holds labels of another classifier.
    """
    digest = digest_of(config.run / "classifier")
    system, folder = file_system(config.out, "--out")
    present = {path.rpartition("/")[2] for path in system.ls(folder, detail=False)} if system.isdir(folder) else set()
    written_already = [part for part in parts if f"{part.name}.parquet" in present]
    with ThreadPoolExecutor(AT_ONCE) as several:
        told = list(several.map(lambda part: _told(within(config.out, f"{part.name}.parquet")), written_already))
    found = {}
    for part, one in zip(written_already, told, strict=True):
        if one.get("classifier") != digest or one.get("text_column") != config.text_column:
            raise ConfigError(
                f"{config.out} holds labels of another classifier or text column than {config.run}'s; name another --out"
            )
        if one.items() >= part.as_dict().items():
            found[part.name] = Counter[str](one["counts"])
    return found


def _told(file: str) -> dict[str, Any]:
    """What a file of labels says it was made from. Raises: ConfigError when it is not such a file."""
    try:
        with opened(file) as source:
            return json.loads((pq.ParquetFile(source).metadata.metadata or {})[MARK.encode()])
    except (OSError, pa.ArrowInvalid, KeyError, ValueError) as e:
        raise ConfigError(f"--out: {file} is there and holds no labels of llmlabel's; name another folder ({e})") from e
