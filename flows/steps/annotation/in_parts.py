"""One part of `annotate` part by part: its settings, its run on a worker, and its labels where all parts' labels are."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from llmlabel.flows.running.common import exit_code
from llmlabel.flows.steps.annotation.labelling import PLAIN
from prefect import task

from llmlabel.config import AnnotateConfig, AnnotatePartsConfig
from llmlabel.errors import ConfigError, DataError, LlmlabelError
from llmlabel.parts import Part, within, written
from llmlabel.runs import lock_folder, read_json

STALE = 600.0  # seconds that a part waits for a worker of an earlier attempt to be done with it
LOOK_EVERY = 1.0


def run_of(out: Path, name: str) -> Path:
    """The run folder of a part."""
    return out / "parts" / name / "run"


def labels_of(out: Path, name: str) -> Path:
    """Where the labels of a part are, beside those of all others."""
    return out / "labels" / f"{name}.parquet"


def told(out: Path, name: str) -> dict[str, Any]:
    """The run.json of a part; {} where it has not begun."""
    with suppress(FileNotFoundError):
        return dict(read_json(run_of(out, name) / "run.json"))
    return {}


def everywhere(config: AnnotatePartsConfig) -> AnnotatePartsConfig:
    """The settings with paths that mean the same in every folder."""
    paths = {name: value.absolute() for name in type(config).model_fields if isinstance(value := getattr(config, name), Path)}
    data = config.data if "://" in config.data or config.data == "env:" else os.path.abspath(config.data)
    return config.model_copy(update={**paths, "data": data})


def settings_of(config: AnnotatePartsConfig, part: Part, **given: Any) -> AnnotateConfig:
    """The settings of one part's run.

    Args:
        given: its shares of what the whole may use.
    """
    shared = {name: getattr(config, name) for name in AnnotateConfig.model_fields}
    own = {"out": run_of(config.out, part.name), "data": _rows_of(config, part), "taxonomy": config.out / "taxonomy.yaml"}
    old = _earlier(config, part)
    return AnnotateConfig.model_validate({**shared, **own, "from_run": old, "cache": _cache(config, part), **given})


def _rows_of(config: AnnotatePartsConfig, part: Part) -> str:
    """A file that holds this part's rows and no others."""
    return part.file if part.first is None else str(config.out / "parts" / part.name / f"{part.name}.parquet")


def _earlier(config: AnnotatePartsConfig, part: Part) -> Path | None:
    """The run to start from: this part's own, where the earlier run was in parts too."""
    if config.from_run is None or not (config.from_run / "parts").is_dir():
        return config.from_run
    return run_of(config.from_run, part.name) if told(config.from_run, part.name) else None


def _cache(config: AnnotatePartsConfig, part: Part) -> Path | None:
    """The answer store a part has begun with; else one of its own on a cluster, whose machines cannot share an SQLite file."""
    begun = told(config.out, part.name).get("config")
    if begun:
        return Path(begun["cache"]) if begun.get("cache") else None
    return config.out / "parts" / part.name / "cache" if config.address else config.cache


@task(name="annotate a part", task_run_name="annotate {name}", **PLAIN)
def annotate_part(
    config: AnnotateConfig, part: Part, name: str, labels: Path, publish: str | None, ended: bool
) -> dict[str, Any]:
    """One part, on a worker: a run of its own, and a subflow, so that Prefect's UI shows it as any other.

    Args:
        ended: its run has ended, and only its labels are to be put where they belong.
    Returns: its exit code, and where it failed why.
    """
    from llmlabel.flows.annotate import annotate  # as a name of this module it would be pickled whole, with the task

    try:
        if not ended:
            _wait_for(config.out)
            if part.first is not None and not Path(config.data).is_file():
                write_rows(part, config)
            annotate(config)
        hand_over(config.out / "labels.parquet", labels, publish)
    except (LlmlabelError, OSError) as e:
        return {"exit": exit_code(e), "error": str(e)}
    return {"exit": read_json(config.out / "run.json")["exit"], "error": ""}


def _wait_for(folder: Path) -> None:
    """A worker may outlive the attempt that started it: what it buys in the meantime is this attempt's too."""
    end = time.monotonic() + STALE
    while busy(folder) and time.monotonic() < end:
        time.sleep(LOOK_EVERY)


def busy(folder: Path) -> bool:
    """Whether a process is at work in a run folder."""
    if not (folder / ".lock").is_file():
        return False
    try:
        lock_folder(folder).close()
    except ConfigError:
        return True
    return False


def write_rows(part: Part, config: AnnotateConfig) -> None:
    """The columns of a part's rows that annotate reads, as a file of their own. Raises: DataError for a missing column."""
    wanted = {config.text_column, config.id_column or "id", config.gold_column}
    writer: pq.ParquetWriter | None = None
    with written(config.data) as sink:
        for table in part.tables():
            for column in filter(None, (config.text_column, config.id_column, config.gold_column)):
                if column not in table.column_names:
                    raise DataError(f"{part.file} has no column {column!r}. It has: {', '.join(table.column_names)}")
            table = table.select([name for name in table.column_names if name in wanted])
            writer = writer or pq.ParquetWriter(sink, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()


def hand_over(file: Path, labels: Path, publish: str | None) -> None:
    """Put a part's labels beside those of the others, a second name of the same file where the disk can, and publish them."""
    labels.parent.mkdir(parents=True, exist_ok=True)
    if not (labels.is_file() and labels.samefile(file)):
        new = labels.with_name(f".{labels.name}.tmp")
        new.unlink(missing_ok=True)
        try:
            os.link(file, new)
        except OSError:
            shutil.copyfile(file, new)
        new.replace(labels)
    if publish:
        with file.open("rb") as source, written(within(publish, labels.name)) as sink:
            shutil.copyfileobj(source, sink)
