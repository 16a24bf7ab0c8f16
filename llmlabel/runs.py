"""The run folder: what a run is, what it has finished, and how it goes on after a kill.

A step writes its result to `steps/<name>.json` once, atomically; a resumed run reads it back. Whatever a step had
asked a model before it was killed is in the ledger, so doing the step again pays nothing twice. Opening a run that ended
with failed rows begins a retry round.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from llmlabel.errors import ConfigError, DataError, RunMismatch
from llmlabel.records import Taxonomy

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

DONE, PARTIAL = 0, 3


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as f:
            f.write(content.encode() if isinstance(content, str) else content)
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(path)
    except OSError as e:
        with suppress(OSError):
            temporary.unlink()
        raise DataError(f"cannot write {path}: {e.strerror}. Free some space or name another --out, then run again") from e


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def write_parquet(path: Path, table: pa.Table) -> None:
    """A table as a parquet file, as `write_atomic` does it: for what fits into memory."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomic(path, buffer.getvalue())


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as e:
        raise DataError(f"{path} is damaged ({e}); delete it and run again: what was asked is still in the answer store") from e


class RunFolder:
    """One run's folder, locked while it is open.

    Args:
        path: the folder; made when missing. flow: which flow writes it. definition: what defines the run (its data,
            taxonomy, method, prompts, models, seed), as plain JSON values. config: the settings in effect.
    Raises: RunMismatch when the folder holds a run with another definition; ConfigError when it cannot be written or
        another process is at work in it.
    """

    def __init__(self, path: Path, *, flow: str, definition: dict[str, Any], config: dict[str, Any]) -> None:
        self.path = path
        self._lock = lock_folder(path)
        try:
            self.info: dict[str, Any] = read_json(path / "run.json")
        except FileNotFoundError:
            self.info = {"schema": 1, "id": uuid.uuid4().hex, "flow": flow, "definition": definition}
            self.info["started"] = datetime.now(UTC).isoformat(timespec="seconds")
        _same_definition(self.info.get("definition", {}), definition, path)
        self.finished = self.info.get("exit") == DONE
        if not self.finished:
            if self.info.get("exit") == PARTIAL:  # in the same write as `exit`: a kill may come at any time
                self.info["retries"] = self.retries + 1
            self.info |= {"config": config, "package": metadata.version("llmlabel"), "exit": None}
            self.save()

    @property
    def id(self) -> str:
        return str(self.info["id"])

    @property
    def retries(self) -> int:
        """Rounds in which the rows that had failed were, or are now, asked again."""
        return int(self.info.get("retries", 0))

    def save(self) -> None:
        write_json(self.path / "run.json", self.info)

    def step(self, name: str, make: Callable[[], Any]) -> Any:
        """The JSON result of a step: read back when it is there, else made and kept."""
        file = self.path / "steps" / f"{name}.json"
        try:
            return read_json(file)
        except FileNotFoundError:
            value = make()
            write_json(file, value)
            return value

    def spent(self, name: str, seconds: float) -> None:
        timings = self.info.setdefault("timings", {})
        timings[name] = round(timings.get(name, 0.0) + seconds, 3)

    def finish(self, code: int) -> None:
        self.info |= {"exit": code, "ended": datetime.now(UTC).isoformat(timespec="seconds")}
        self.save()

    def close(self) -> None:
        self._lock.close()


def lock_folder(path: Path) -> IO[str]:
    """Keep other processes out of a folder, made when missing, until the handle is closed.

    Raises: ConfigError when it cannot be written or another process is at work in it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = (path / ".lock").open("w")
    except OSError as e:
        raise ConfigError(f"cannot write to --out {path}: {e.strerror}") from e
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        raise ConfigError(
            f"another process is at work in {path.resolve()}, perhaps the scheduled run before this one; wait until it has "
            "ended, or name another --out"
        ) from e
    return handle


def _same_definition(old: dict[str, Any], new: dict[str, Any], path: Path) -> None:
    different = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
    if different:
        lines = "\n".join(f"  {_apart(k, old.get(k), new.get(k))}" for k in different)
        raise RunMismatch(
            f"{path} holds a run that was defined differently:\n{lines}\n"
            f"Give back the old settings to go on with it, or start a new run from it: --out NEW --from {path}"
        )


def _apart(key: str, old: Any, new: Any) -> str:
    """Where two values differ first, going down into what they hold: `taxonomy.labels.3.name: was "Seats", now "Places"`."""
    if isinstance(old, dict) and isinstance(new, dict):
        inner = next(k for k in [*old, *new] if k not in old or k not in new or old[k] != new[k])
        return _apart(f"{key}.{inner}", old.get(inner), new.get(inner))
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        place = next(n for n, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1])
        return _apart(f"{key}.{place + 1}", old[place], new[place])
    if isinstance(old, list) and isinstance(new, list):
        return f"{key}: was {len(old)} entries, now {len(new)}"
    return f"{key}: was {_short(old)}, now {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else text[:157] + "..."


@dataclass(frozen=True)
class Run:
    """A finished (or partly finished) run, to be read."""

    path: Path

    @property
    def info(self) -> dict[str, Any]:
        return dict(read_json(self.path / "run.json"))

    @property
    def metrics(self) -> dict[str, Any]:
        return dict(read_json(self.path / "metrics.json"))

    @cached_property
    def taxonomy(self) -> Taxonomy:
        return Taxonomy.load(self.path / "taxonomy.yaml")

    def table(self, name: str) -> list[dict[str, Any]]:
        """The rows of a parquet file of the run.

        Raises: DataError when it is missing or damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return list(pq.read_table(self.path / name).to_pylist())
        except (OSError, pa.ArrowInvalid) as e:
            raise DataError(f"cannot read {self.path / name}: {e}. Is {self.path} a finished run?") from e

    def columns(self, name: str, *wanted: str) -> list[tuple[Any, ...]]:
        """Some columns of a parquet file of the run, row by row."""
        return [tuple(row[c] for c in wanted) for row in self.table(name)]

    @property
    def labels(self) -> datasets.Dataset:
        """One row per input row, in input order; see labels.parquet in the docs."""
        import datasets

        datasets.disable_progress_bars()
        return datasets.Dataset.from_parquet(str(self.path / "labels.parquet"))


def load_run(path: str | Path) -> Run:
    """Open a run folder.

    Raises: ConfigError when there is none.
    """
    if not (Path(path) / "run.json").is_file():
        raise ConfigError(f"{path} is not a run folder (it has no run.json)")
    return Run(Path(path))
