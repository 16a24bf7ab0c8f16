"""Looking at a ledger and clearing it out: what a run cost, what is stored, and how old answers go."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmlabel.errors import ConfigError
from llmlabel.llm import schema
from llmlabel.llm.ledger import NANO, Ledger, Totals, default_cache
from llmlabel.llm.owners import Owner

PATIENCE_MS = 2000  # to wait for another process's transaction
CAPS = {"budget": "money", "budget_calls": "calls", "budget_tokens": "tokens"}
VECTORS = "kept whole: vectors have no dates and name no model; delete the file by hand, they are computed anew"
COUNTED = ("calls", "prompt_tokens", "completion_tokens")


def bill(info: Mapping[str, Any], directory: Path | None = None) -> dict[str, Any]:
    """What a run cost, as JSON values: by step, totals, caps and the price table.

    From the ledger where that knows the run, else from run.json, as `source` says. Money in US dollars.

    Args:
        info: what run.json holds. directory: where the ledger is; None: where the run's settings say.
    """
    run, config, kept = str(info.get("id", "")), info.get("config") or {}, info.get("cost") or {}
    place = directory or (Path(config["cache"]) if config.get("cache") else default_cache())
    found = _from_ledger(place, run) or _from_run(kept)
    totals = found["totals"]
    used = {
        "money": totals["money"] + totals["maybe_billed"], "calls": totals["calls"] + totals["open_calls"],
        "tokens": totals["prompt_tokens"] + totals["completion_tokens"] + totals["open_tokens"],
    }  # fmt: skip
    caps = {CAPS[name]: config[name] for name in CAPS if config.get(name) is not None}
    return {
        "run": run, **found, "caps": caps, "left": {name: round(cap - used[name], 9) for name, cap in caps.items()},
        "prices": {"table": kept.get("price_table"), "known": kept.get("price_known")},
        "from_cache": kept.get("from_cache"), "retries": kept.get("retries"),
    }  # fmt: skip


def _from_ledger(directory: Path, run: str) -> dict[str, Any] | None:
    if not (directory / "ledger.sqlite").is_file():
        return None
    with closing(Ledger(directory)) as ledger:
        totals, lines = ledger.totals(run), list(ledger.by_step(run))
    if totals == Totals() and not lines:
        return None
    sums = {**asdict(totals), "money": totals.cost, "maybe_billed": totals.open_cost}
    del sums["nano"], sums["open_nano"]
    gone = _pruned(sums, [line for line in lines if line["outcome"] != "maybe billed"])
    return {"source": f"ledger {directory / 'ledger.sqlite'}", "by_step": lines + gone, "totals": sums}


def _pruned(totals: Mapping[str, Any], lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What `prune` took the details of, as one line; the totals stay."""
    less = {name: totals[name] - sum(line[name] for line in lines) for name in COUNTED}
    if not less["calls"]:
        return []
    cost = round(totals["money"] - sum(line["cost"] for line in lines), 9)
    return [{"step": "(pruned)", "model": "", "outcome": "", **less, "cost": cost}]


def _from_run(kept: Mapping[str, Any]) -> dict[str, Any]:
    names = (*COUNTED, "open_calls", "open_tokens", "money", "maybe_billed")
    return {"source": "run.json", "by_step": list(kept.get("by_step") or []), "totals": {n: kept.get(n) or 0 for n in names}}


def stats(directory: Path | None = None) -> dict[str, Any]:
    """What a cache directory holds, as JSON values; sizes in bytes, money in US dollars.

    Raises: ConfigError when there is no ledger, or it cannot be read.
    """
    path = _ledger(directory)
    with closing(schema.connect(path)) as db, schema.mapped(path):
        schema.prepare(db, path)
        answers = db.execute(
            "SELECT model, count(*), total(length(CAST(answer AS BLOB))) + total(length(CAST(request AS BLOB))),"
            " min(created), max(created) FROM answers GROUP BY model ORDER BY 3 DESC"
        ).fetchall()
        intents = db.execute(
            "SELECT state, count(*), total(CASE state WHEN 'open' THEN max_nano ELSE nano END) FROM intents GROUP BY state"
        ).fetchall()
        runs, nano = db.execute("SELECT count(*), total(nano) FROM runs").fetchone()
        facts = db.execute("SELECT count(*) FROM facts").fetchone()[0]
    return {
        "file": str(path), "size": _size(path),
        "answers": [
            {"model": model, "answers": n, "bytes": int(size), "oldest": _day(first), "newest": _day(last)}
            for model, n, size, first, last in answers
        ],
        "intents": [{"state": state, "requests": n, "money": money / NANO} for state, n, money in intents],
        "runs": {"runs": runs, "money": nano / NANO}, "facts": facts,
        "vectors": _vectors(path.with_name("vectors.sqlite")),
    }  # fmt: skip


def _vectors(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    with closing(schema.connect(path)) as db, schema.mapped(path):
        count = db.execute("SELECT count(*) FROM vectors").fetchone()[0]
    return {"file": str(path), "size": _size(path), "vectors": count}


def prune(
    directory: Path | None = None, *, before: float | None = None, model: str | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Delete answers, settled intents and remembered facts, and shrink the file; both limits must hold where both are given.

    What runs spent in total stays, so caps still hold; so do open intents. A run that is not finished buys again what was
    deleted.

    Args:
        before: Unix time; only what is older. model: only what is of this model. dry_run: count, delete nothing.
    Raises: ConfigError when there is no ledger, or a living process has requests in flight or holds the file.
    """
    path = _ledger(directory)
    size, now = _size(path), datetime.now(UTC).timestamp()
    values = {"before": now + 1 if before is None else before, "model": model}
    with closing(schema.connect(path)) as db, closing(Owner(path.parent / "owners")) as owner:
        with schema.mapped(path):
            schema.prepare(db, path)
        gone = _delete(db, owner, path, values, dry_run)
        shrunk = not dry_run and _shrink(db)
    return {
        "file": str(path), "dry_run": dry_run, **gone, "size_before": size, "size_after": _size(path), "shrunk": shrunk,
        "vectors": VECTORS if path.with_name("vectors.sqlite").is_file() else None,
    }  # fmt: skip


WHICH = {
    "answers": "created < :before AND (:model IS NULL OR model = :model)",
    "intents": "state = 'settled' AND created < :before AND (:model IS NULL OR model = :model)",
    "facts": ":model IS NULL OR instr(name, ' of ' || :model || ' ') > 0",  # they have no dates, and are soon found out again
}


def _delete(db: sqlite3.Connection, owner: Owner, path: Path, values: Mapping[str, Any], dry_run: bool) -> dict[str, int]:
    try:
        db.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
        db.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as e:
        if "locked" in str(e):
            raise ConfigError(f"another process is writing to {path} right now; try again when it is done") from e
        raise schema.unusable(path, e) from e
    try:
        with schema.mapped(path):
            _nobody_asks(db, owner, path)
            gone = {t: db.execute(f"SELECT count(*) FROM {t} WHERE {which}", values).fetchone()[0] for t, which in WHICH.items()}
            for table, which in {} if dry_run else WHICH.items():
                db.execute(f"DELETE FROM {table} WHERE {which}", values)
            db.execute("COMMIT")
            return gone
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _nobody_asks(db: sqlite3.Connection, owner: Owner, path: Path) -> None:
    rows = db.execute(
        "SELECT owner, count(*) FROM intents WHERE state = 'open' AND outcome IS NULL AND batch IS NULL GROUP BY owner"
    ).fetchall()
    asking = sum(n for name, n in rows if owner.lives(name))
    if asking:
        raise ConfigError(f"another process has {asking} requests in flight from {path}; try again when it is done")


def _shrink(db: sqlite3.Connection) -> bool:
    """Give the space back to the disk; not while another process reads: then the file just keeps its size."""
    try:
        db.execute("VACUUM")
        return not db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.OperationalError:
        return False


def _ledger(directory: Path | None) -> Path:
    path = (directory or default_cache()) / "ledger.sqlite"
    if not path.is_file():
        raise ConfigError(f"no answer store {path}; name its directory with --cache DIR")
    return path


def _size(path: Path) -> int:
    return sum(f.stat().st_size for f in (path, path.with_name(f"{path.name}-wal")) if f.is_file())


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
