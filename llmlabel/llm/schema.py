"""The tables of the ledger, and how a damaged, full, locked or newer file becomes a clear error."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmlabel.errors import ConfigError, StoreError

VERSION = 2
BUSY_SECONDS = 60.0
# Survives SIGKILL at any instruction; a power cut may lose the last commits.
PRAGMAS = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL")
TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, model TEXT NOT NULL, answer TEXT NOT NULL, request TEXT, created REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS intents (
    id INTEGER PRIMARY KEY, run TEXT NOT NULL, step TEXT NOT NULL, key BLOB NOT NULL, model TEXT NOT NULL, owner TEXT NOT NULL,
    batch TEXT, state TEXT NOT NULL CHECK (state IN ('open', 'settled')), outcome TEXT,
    max_nano INTEGER NOT NULL, max_tokens INTEGER NOT NULL,
    nano INTEGER, prompt_tokens INTEGER, completion_tokens INTEGER, created REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS intents_run ON intents (run);
CREATE INDEX IF NOT EXISTS intents_open ON intents (key) WHERE state = 'open';
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY, calls INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    nano INTEGER NOT NULL, open_calls INTEGER NOT NULL, open_tokens INTEGER NOT NULL, open_nano INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS batches (
    id TEXT PRIMARY KEY, run TEXT NOT NULL, place TEXT NOT NULL, owner TEXT NOT NULL, remote TEXT,
    state TEXT NOT NULL CHECK (state IN ('open', 'done', 'failed')), created REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS batches_run ON batches (run) WHERE state = 'open';
CREATE INDEX IF NOT EXISTS intents_batch ON intents (batch) WHERE state = 'open' AND batch IS NOT NULL;
"""


def connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=BUSY_SECONDS)
    for pragma in PRAGMAS:
        db.execute(pragma)
    return db


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Make or bring up to date the tables.

    Raises: ConfigError when a newer version wrote them.
    """
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise ConfigError(f"{path} was written by a newer llmlabel; upgrade, or name another --cache")
    if version == VERSION:
        return
    db.execute("BEGIN IMMEDIATE")  # two processes may come here at once
    try:
        if db.execute("PRAGMA user_version").fetchone()[0] == 1:
            _from_version_1(db)
        for statement in TABLES.split(";")[:-1]:
            db.execute(statement)
        db.execute(f"PRAGMA user_version={VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _from_version_1(db: sqlite3.Connection) -> None:
    """Version 1 made its keys another way, so its answers cannot be found again; what it spent is history."""
    for table in ("answers", "intents"):
        db.execute(f"DROP TABLE IF EXISTS {table}")


def unusable(path: Path, e: Exception) -> StoreError:
    """What went wrong with the file, and what to do."""
    name = getattr(e, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreError(f"the answer store {path} is damaged ({e}); move it away, or name another place with --cache DIR")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return StoreError(f"cannot write the answer store {path}: {e}. Free some space, then run the same command to go on")
    if name.startswith("SQLITE_BUSY"):
        return StoreError(f"the answer store {path} was locked by another process for {BUSY_SECONDS:.0f} s; try again")
    return StoreError(f"cannot use the answer store {path}: {e}. Name another place with --cache DIR")


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as e:
        raise unusable(path, e) from e
