"""What was asked, answered and paid: one SQLite file.

Before a request goes out an *intent* with the most it can cost is written; afterwards it is settled with what it did
cost. An intent that a crash left open counts at its maximum. The answer is stored in the same transaction as the
settlement, so whatever was paid for is there for the next run. One process writes through one connection.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from llmlabel.errors import BudgetReached, ConfigError
from llmlabel.llm.requests import Completion

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, model TEXT NOT NULL, answer TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS intents (
    id INTEGER PRIMARY KEY, run TEXT NOT NULL, step TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'settled')), max_cost REAL NOT NULL, max_tokens INTEGER NOT NULL,
    cost REAL, prompt_tokens INTEGER, completion_tokens INTEGER, outcome TEXT, created REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS intents_run ON intents (run);
"""


@dataclass(frozen=True)
class Budget:
    """Caps of one run; None: no cap."""

    money: float | None = None
    calls: int | None = None
    tokens: int | None = None


@dataclass
class Totals:
    """What one run has used. `open_*`: sent, or about to be, and not settled yet: counted at the most it can be."""

    calls: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    open_calls: int = 0
    open_tokens: int = 0
    open_cost: float = 0.0

    def would_break(self, budget: Budget, tokens: int, cost: float) -> str | None:
        """The cap that one more request could break, in words, or None."""
        if budget.calls is not None and self.calls + self.open_calls + 1 > budget.calls:
            return f"the cap of {budget.calls} calls"
        if budget.tokens is not None and self.tokens + self.open_tokens + tokens > budget.tokens:
            return f"the cap of {budget.tokens} tokens"
        if budget.money is not None and self.cost + self.open_cost + cost > budget.money:
            return f"the budget of {budget.money:.2f} USD"
        return None


def default_cache() -> Path:
    return Path(platformdirs.user_cache_dir("llmlabel"))


class Ledger:
    """The store of answers and intents of all runs that share a cache directory.

    Args:
        directory: the cache directory; made when missing.
    Raises: ConfigError when the file cannot be opened, is damaged, or was written by a newer version.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.path = (directory or default_cache()) / "ledger.sqlite"
        self._lock = threading.RLock()
        self._totals: dict[str, Totals] = {}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=60)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise ConfigError(f"{self.path} was written by a newer llmlabel; upgrade, or name another --cache")
            self._db.executescript(SCHEMA)
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        except (sqlite3.Error, OSError) as e:
            raise self._unusable(e) from e

    def _unusable(self, e: Exception) -> ConfigError:
        return ConfigError(f"cannot use the answer store {self.path}: {e}. Name another place with --cache DIR")

    @contextmanager
    def _using(self) -> Iterator[None]:
        """One thread at a time; a file that proves damaged, full or locked on the way is a ConfigError."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as e:
                if self._db.in_transaction:
                    self._db.rollback()
                raise self._unusable(e) from e

    def answer(self, key: str) -> Completion | None:
        with self._using():
            row = self._db.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else Completion.from_json(row[0])

    def open(self, *, run: str, step: str, key: str, model: str, tokens: int, cost: float, budget: Budget) -> int:
        """Write the intent to send a request.

        Args:
            tokens, cost: the most it can use.
        Returns: the intent's id, for `settle`.
        Raises: BudgetReached when it could break a cap; then nothing is written.
        """
        with self._using():
            totals = self.totals(run)
            if cap := totals.would_break(budget, tokens, cost):
                raise BudgetReached(f"stopped before {cap} could be broken; run again with a larger one to go on")
            cursor = self._db.execute(
                "INSERT INTO intents (run, step, key, model, state, max_cost, max_tokens, created)"
                " VALUES (?, ?, ?, ?, 'open', ?, ?, ?)",
                (run, step, key, model, cost, tokens, time.time()),
            )
            totals.open_calls += 1
            totals.open_tokens += tokens
            totals.open_cost += cost
            return int(cursor.lastrowid or 0)

    def settle(
        self, intent: int, *, run: str, tokens: int, cost: float, answer: Completion | None, paid: float, outcome: str
    ) -> None:
        """Close an intent with what it did use, and keep its answer.

        Args:
            tokens, cost: as given to `open`. paid: what it cost, US dollars. outcome: `ok`, or the kind of failure.
        """
        used = answer or Completion()
        with self._using():
            self._db.execute("BEGIN IMMEDIATE")
            row = self._db.execute(
                "UPDATE intents SET state = 'settled', cost = ?, prompt_tokens = ?, completion_tokens = ?, outcome = ?"
                " WHERE id = ? RETURNING key, model",
                (paid, used.prompt_tokens, used.completion_tokens, outcome, intent),
            ).fetchone()
            if answer is not None:
                self._db.execute(
                    "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", (row[0], row[1], answer.to_json(), time.time())
                )
            self._db.execute("COMMIT")
            totals = self.totals(run)
            totals.open_calls -= 1
            totals.open_tokens -= tokens
            totals.open_cost -= cost
            totals.calls += 1
            totals.prompt_tokens += used.prompt_tokens
            totals.completion_tokens += used.completion_tokens
            totals.tokens += used.prompt_tokens + used.completion_tokens
            totals.cost += paid

    def totals(self, run: str) -> Totals:
        """What a run has used so far, over all its resumes; intents a crash left open are in `open_*`."""
        with self._using():
            if run not in self._totals:
                row = self._db.execute(
                    "SELECT count(*) FILTER (WHERE state = 'settled'), total(prompt_tokens), total(completion_tokens),"
                    " total(cost),"
                    " count(*) FILTER (WHERE state = 'open'), total(max_tokens) FILTER (WHERE state = 'open'),"
                    " total(max_cost) FILTER (WHERE state = 'open') FROM intents WHERE run = ?",
                    (run,),
                ).fetchone()
                read, wrote = int(row[1]), int(row[2])
                self._totals[run] = Totals(row[0], read + wrote, read, wrote, row[3], row[4], int(row[5]), row[6])
            return self._totals[run]

    def by_step(self, run: str) -> Iterator[dict[str, object]]:
        """Calls, tokens and money of a run, by step, model and outcome."""
        with self._using():
            rows = self._db.execute(
                "SELECT step, model, coalesce(outcome, 'maybe billed'), count(*), total(prompt_tokens), total(completion_tokens),"
                " total(coalesce(cost, max_cost)) FROM intents WHERE run = ? GROUP BY 1, 2, 3 ORDER BY min(id)",
                (run,),
            ).fetchall()
        for step, model, outcome, calls, read, wrote, cost in rows:
            yield {
                "step": step, "model": model, "outcome": outcome, "calls": calls,
                "prompt_tokens": int(read), "completion_tokens": int(wrote), "cost": cost,
            }  # fmt: skip

    def close(self) -> None:
        with self._lock:
            self._db.close()
