"""What was asked, answered and paid: one SQLite file per cache directory, shared by all runs and processes that use it.

Before a request goes out an *intent* with the most it can cost is written; afterwards it is settled with what it did
cost, and its answer is stored in the same transaction. An intent that nobody settled (a crash, a lost answer) counts at
its maximum: "maybe billed". docs/file-formats.md describes the tables.

Money is whole billionths of a US dollar, so that the books balance exactly.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import platformdirs

from llmlabel.errors import BudgetReached
from llmlabel.llm import schema
from llmlabel.llm.owners import Owner
from llmlabel.llm.requests import Completion
from llmlabel.llm.writer import Busy, Do, Open, Send, Settle, Stored, Transaction, Writer

T = TypeVar("T")
NANO = 1_000_000_000  # of a dollar
LOOKUP = 512  # keys asked for in one statement

__all__ = ["NANO", "Budget", "Busy", "Ledger", "Send", "Stored", "Totals", "default_cache"]


@dataclass(frozen=True)
class Budget:
    """Caps of one run; None: no cap. `money` in US dollars."""

    money: float | None = None
    calls: int | None = None
    tokens: int | None = None


@dataclass
class Totals:
    """What one run has used. `open_*`: sent, or about to be, and not settled: counted at the most it can be. Money in
    billionths of a US dollar."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    nano: int = 0
    open_calls: int = 0
    open_tokens: int = 0
    open_nano: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> float:
        """US dollars, settled."""
        return self.nano / NANO

    @property
    def open_cost(self) -> float:
        """US dollars, maybe billed."""
        return self.open_nano / NANO

    def would_break(self, budget: Budget, tokens: int, nano: int) -> str | None:
        """The cap that one more request could break, in words, or None."""
        if budget.calls is not None and self.calls + self.open_calls + 1 > budget.calls:
            return f"the cap of {budget.calls} calls"
        if budget.tokens is not None and self.tokens + self.open_tokens + tokens > budget.tokens:
            return f"the cap of {budget.tokens} tokens"
        if budget.money is not None and self.nano + self.open_nano + nano > budget.money * NANO:
            return f"the budget of {budget.money:.2f} USD"
        return None


def default_cache() -> Path:
    return Path(platformdirs.user_cache_dir("llmlabel"))


class Ledger:
    """The store of answers and intents in one cache directory.

    All writes go through one thread of this process, in grouped transactions; other processes may use the same file at
    the same time, and a cap holds over all of them.

    Args:
        directory: the cache directory; made when missing. store_text: keep what was asked beside its answer.
    Raises: ConfigError when the file cannot be opened, is damaged, or was written by a newer version.
    """

    def __init__(self, directory: Path | None = None, *, store_text: bool = True) -> None:
        self.path = (directory or default_cache()) / "ledger.sqlite"
        self.store_text = store_text
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = schema.connect(self.path)
            schema.prepare(self._db, self.path)
            self.owner = Owner(self.path.parent / "owners")
            self._writer = Writer(self.path, self.owner)
        except (sqlite3.Error, OSError) as e:
            raise schema.unusable(self.path, e) from e
        self.in_flight: dict[bytes, asyncio.Event] = {}  # what this process is asking right now
        self.followed: set[str] = set()  # batch jobs it waits for
        self.unsettled, self.settled = 0, asyncio.Event()  # requests out there; the next one to come back

    # -- asking and paying -------------------------------------------------------------------------------------------

    def answers(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """The stored answers among these keys."""
        found: dict[bytes, Completion] = {}
        for start in range(0, len(keys), LOOKUP):
            part = keys[start : start + LOOKUP]
            marks = ",".join("?" * len(part))
            rows = self._read(f"SELECT key, answer FROM answers WHERE key IN ({marks})", part)
            found |= {key: Completion.from_json(answer) for key, answer in rows}
        return found

    def answer(self, key: bytes) -> Completion | None:
        return self.answers([key]).get(key)

    async def open(self, send: Send, budget: Budget) -> int | Stored | Busy:
        """Write the intent to send a request, and wait until it is on disk.

        Returns: the intent's id for `settle`; or Stored, when another process has got the answer in the meantime; or
            Busy, when another living process is asking for it right now.
        Raises: BudgetReached when it could break a cap; then nothing is written.
        """
        result = await self._writer.ask(Open(send, lambda totals: Totals(*totals).would_break(budget, send.tokens, send.nano)))
        if isinstance(result, str):
            raise BudgetReached(result)
        if isinstance(result, bytes):
            return Stored(Completion.from_json(result))
        return result  # type: ignore[no-any-return]

    def settle(self, intent: int, send: Send, *, answer: Completion | None, nano: int, outcome: str, asked: bytes = b"") -> None:
        """Close an intent with what it did use, and keep its answer; on disk soon (`flush` waits for it).

        Args:
            nano: what it cost. outcome: `ok`, or the kind of failure. asked: the request, kept where text may be stored.
        """
        used = answer or Completion()
        stored = answer.to_json() if answer is not None else None
        text = asked.decode("utf-8", "replace") if self.store_text and answer is not None else None
        self._writer.put(Settle(intent, send, nano, used.prompt_tokens, used.completion_tokens, outcome, stored, text))

    def lose(self, intent: int, send: Send, outcome: str) -> None:
        """The request went out and no answer came: the intent stays open, at its maximum, and nobody waits for it."""
        self._writer.put(Settle(intent, send, 0, 0, 0, outcome, None, None, lost=True))

    def wake(self) -> None:
        """One more request has come back: those who wait for room under a cap look again."""
        self.settled.set()
        self.settled = asyncio.Event()

    async def change(self, work: Callable[[Transaction], T]) -> T:
        """Do something in a transaction of the writer's, after everything handed in so far. Returns: its result, on disk."""
        return await self._writer.ask(Do(work))  # type: ignore[no-any-return]

    async def flush(self) -> None:
        """Wait until everything handed in so far is on disk."""
        await self._writer.ask(None)

    # -- the books ---------------------------------------------------------------------------------------------------

    def totals(self, run: str) -> Totals:
        """What a run has used so far, over all its resumes and processes."""
        names = ", ".join(f.name for f in fields(Totals))
        rows = self._read(f"SELECT {names} FROM runs WHERE run = ?", (run,))
        return Totals(*rows[0]) if rows else Totals()

    def by_step(self, run: str) -> Iterator[dict[str, Any]]:
        """Calls, tokens and US dollars of a run, by step, model and outcome."""
        rows = self._read(
            "SELECT step, model, CASE state WHEN 'open' THEN 'maybe billed' ELSE outcome END, count(*), total(prompt_tokens),"
            " total(completion_tokens), sum(CASE state WHEN 'open' THEN max_nano ELSE nano END) FROM intents WHERE run = ?"
            " GROUP BY 1, 2, 3 ORDER BY min(id)",
            (run,),
        )
        for step, model, outcome, calls, read, wrote, nano in rows:
            yield {
                "step": step, "model": model, "outcome": outcome, "calls": calls,
                "prompt_tokens": int(read), "completion_tokens": int(wrote), "cost": nano / NANO,
            }  # fmt: skip

    def has_batches(self, run: str) -> bool:
        """Does the run have batch jobs whose results have not been fetched?"""
        return bool(self._read("SELECT 1 FROM batches WHERE run = ? AND state = 'open' LIMIT 1", (run,)))

    def fact(self, name: str) -> str | None:
        """Something found out about an endpoint earlier."""
        rows = self._read("SELECT value FROM facts WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def facts(self) -> dict[str, str]:
        """All that was found out about endpoints, by name."""
        return dict(self._read("SELECT name, value FROM facts", ()))

    def remember(self, name: str, value: str) -> None:
        with self._lock, schema.mapped(self.path):
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def _read(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._lock, schema.mapped(self.path):
            return self._db.execute(sql, values).fetchall()

    def close(self) -> None:
        """Write what is left and let go of the file; a second call does nothing."""
        self._writer.close()
        with self._lock:
            self._db.close()
        self.owner.close()
