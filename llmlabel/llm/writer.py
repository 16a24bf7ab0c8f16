"""The one thread of a process that writes the ledger, many requests to a transaction."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from llmlabel.errors import StoreError
from llmlabel.llm import schema
from llmlabel.llm.owners import Owner
from llmlabel.llm.requests import Completion

GROUP = 512  # operations in one transaction
OPEN = "INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?, ?, 'open', NULL, ?, ?, NULL, NULL, NULL, ?)"
SETTLE = (
    "UPDATE intents SET state = 'settled', nano = ?, prompt_tokens = ?, completion_tokens = ?, outcome = ?"
    " WHERE id = ? AND state = 'open'"
)
LOSE = "UPDATE intents SET outcome = ? WHERE id = ? AND state = 'open'"
KEEP = "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)"
TOTALS = "SELECT calls, prompt_tokens, completion_tokens, nano, open_calls, open_tokens, open_nano FROM runs WHERE run = ?"


class Send(NamedTuple):
    """A request about to go out. `tokens` and `nano` (billionths of a US dollar): the most it can use."""

    run: str
    step: str
    key: bytes
    model: str
    tokens: int
    nano: int
    batch: str | None = None


class Stored(NamedTuple):
    """Another process has got the answer already."""

    answer: Completion


class Busy(NamedTuple):
    """Another living process is asking for the same thing right now."""


class Open(NamedTuple):
    """`refuse`: totals of the run -> the cap it would break, or None."""

    send: Send
    refuse: Callable[[Sequence[int]], str | None]


class Settle(NamedTuple):
    """`lost`: stays open, at its maximum."""

    intent: int
    send: Send
    nano: int
    prompt_tokens: int
    completion_tokens: int
    outcome: str
    answer: str | None
    request: str | None
    lost: bool = False


class Do(NamedTuple):
    """Anything else; comes after what else is settled and opened in the same transaction."""

    work: Callable[[Transaction], Any]


@dataclass
class _Waiting:
    """An operation (None: just tell when you get there) and who waits for its result."""

    what: Open | Settle | Do | None
    future: asyncio.Future[Any] | None = None


@dataclass
class _Group:
    """What one transaction has come to: totals by run, rows to write, results to tell."""

    totals: dict[str, list[int]] = field(default_factory=dict)
    told: list[tuple[asyncio.Future[Any], Any]] = field(default_factory=list)


@dataclass
class Transaction:
    """What `Do` works with: the connection, the run's totals (as in TOTALS, to be changed in place), opening requests."""

    db: sqlite3.Connection
    owner: Owner
    totals: Callable[[str], list[int]]
    open: Callable[[list[Open]], list[int | bytes | Busy | str]]


class Writer:
    """Takes operations from any thread; results go to the futures of an event loop once they are on disk.

    Args:
        path: the ledger file. owner: this process's mark.
    """

    def __init__(self, path: Path, owner: Owner) -> None:
        self._path, self._owner = path, owner
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._failed: StoreError | None = None
        self._db = schema.connect(path)
        self._thread = threading.Thread(target=self._run, name="llmlabel-ledger", daemon=True)
        self._thread.start()

    def put(self, what: Settle) -> None:
        self._queue.put(_Waiting(what))

    async def ask(self, what: Open | Do | None) -> Any:
        """The result of an operation. Raises: StoreError when the file cannot be written."""
        future = asyncio.get_running_loop().create_future()
        self._queue.put(_Waiting(what, future))
        return await future

    def close(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        db, more = self._db, True
        while more:
            waiting, more = self._next()
            try:
                if self._failed:
                    raise self._failed
                results = self._transaction(db, waiting)
            except sqlite3.Error as e:
                if db.in_transaction:
                    db.rollback()
                self._failed = schema.unusable(self._path, e)
                results = [(w.future, self._failed) for w in waiting if w.future]
            except StoreError as e:
                results = [(w.future, e) for w in waiting if w.future]
            _tell(results)
        db.close()

    def _next(self) -> tuple[list[_Waiting], bool]:
        """All that waits, at least one; False beside it when there will be no more."""
        found = [self._queue.get()]
        while len(found) < GROUP and not self._queue.empty():
            found.append(self._queue.get())
        return [w for w in found if w is not None], None not in found

    def _transaction(self, db: sqlite3.Connection, waiting: list[_Waiting]) -> list[tuple[asyncio.Future[Any], Any]]:
        if not any(w.what for w in waiting):
            return [(w.future, None) for w in waiting if w.future]
        db.execute("BEGIN IMMEDIATE")
        group = _Group()
        self._settle_all(db, group, [w.what for w in waiting if isinstance(w.what, Settle)])
        opening = [(w.what, w.future) for w in waiting if isinstance(w.what, Open)]
        for (_, future), result in zip(opening, self._open_all(db, group, [what for what, _ in opening]), strict=True):
            group.told += [(future, result)] if future else []
        self._do_all(db, group, waiting)
        db.executemany(
            "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [(run, *t) for run, t in group.totals.items()]
        )
        db.execute("COMMIT")
        return group.told + [(w.future, None) for w in waiting if w.what is None and w.future]

    def _totals(self, db: sqlite3.Connection, group: _Group, run: str) -> list[int]:
        if run not in group.totals:
            group.totals[run] = list(db.execute(TOTALS, (run,)).fetchone() or [0] * 7)
        return group.totals[run]

    def _settle_all(self, db: sqlite3.Connection, group: _Group, settled: list[Settle]) -> None:
        now = time.time()
        done = [s for s in settled if not s.lost]
        changed = db.total_changes
        db.executemany(SETTLE, [(s.nano, s.prompt_tokens, s.completion_tokens, s.outcome, s.intent) for s in done])
        if db.total_changes - changed != len(done):
            raise sqlite3.IntegrityError("an intent was settled twice")
        db.executemany(LOSE, [(s.outcome, s.intent) for s in settled if s.lost])
        db.executemany(KEEP, [(s.send.key, s.send.model, s.answer, s.request, now) for s in done if s.answer is not None])
        for s in done:
            totals = self._totals(db, group, s.send.run)
            used = (1, s.prompt_tokens, s.completion_tokens, s.nano, -1, -s.send.tokens, -s.send.nano)
            for i, n in enumerate(used):
                totals[i] += n

    def _do_all(self, db: sqlite3.Connection, group: _Group, waiting: list[_Waiting]) -> None:
        tools = Transaction(db, self._owner, partial(self._totals, db, group), partial(self._open_all, db, group))
        for w in waiting:
            if isinstance(w.what, Do):
                result = w.what.work(tools)
                group.told += [(w.future, result)] if w.future else []

    def _open_all(self, db: sqlite3.Connection, group: _Group, opening: list[Open]) -> list[int | bytes | Busy | str]:
        """Of each: the intent's id, or the stored answer, or Busy, or the cap it would break."""
        if not opening:
            return []
        sends = [o.send for o in opening]
        answered, busy = self._answered(db, sends), self._busy(db, sends)
        following = db.execute("SELECT coalesce(max(id), 0) + 1 FROM intents").fetchone()[0]
        rows: list[tuple[Any, ...]] = []
        results: list[int | bytes | Busy | str] = []
        now = time.time()
        for send, refuse in opening:
            result: Any = answered.get(send.key)
            if result is None and send.key in busy:
                result = Busy()
            if result is None and (result := refuse(self._totals(db, group, send.run))) is None:
                result = following + len(rows)
                rows.append((result, send.run, send.step, send.key, send.model, self._owner.name, send.batch,
                             send.nano, send.tokens, now))  # fmt: skip
                totals = self._totals(db, group, send.run)
                for i, n in enumerate((1, send.tokens, send.nano), 4):
                    totals[i] += n
            results.append(result)
        db.executemany(OPEN, rows)
        return results

    def _answered(self, db: sqlite3.Connection, sends: list[Send]) -> dict[bytes, bytes]:
        marks = ",".join("?" * len(sends))
        rows = db.execute(f"SELECT key, answer FROM answers WHERE key IN ({marks})", [s.key for s in sends])
        return {key: answer.encode() for key, answer in rows}

    def _busy(self, db: sqlite3.Connection, sends: list[Send]) -> set[bytes]:
        """Keys that another living process has sent; a lost answer is not waited for."""
        marks = ",".join("?" * len(sends))
        rows = db.execute(
            f"SELECT key, owner FROM intents WHERE state = 'open' AND outcome IS NULL AND owner <> ? AND key IN ({marks})",
            [self._owner.name, *(s.key for s in sends)],
        ).fetchall()
        alive = {owner: self._owner.lives(owner) for owner in {owner for _, owner in rows}}
        return {key for key, owner in rows if alive[owner]}


def _tell(results: list[tuple[asyncio.Future[Any], Any]]) -> None:
    """Wake each event loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = defaultdict(list)
    for future, result in results:
        by_loop[future.get_loop()].append((future, result))
    for loop, some in by_loop.items():
        loop.call_soon_threadsafe(_resolve, some)


def _resolve(results: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in results:
        if future.done():  # its waiter was cancelled
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
