"""Batch jobs in the ledger: a row for each, and the intents that belong to it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from llmlabel.errors import BudgetReached
from llmlabel.llm.ledger import Budget, Ledger, Totals
from llmlabel.llm.requests import Completion
from llmlabel.llm.writer import Busy, Open, Send, Transaction

SLICE = 512  # requests opened in one statement
OURS = "SELECT id, remote, owner, created FROM batches WHERE run = ? AND place = ? AND state = 'open' ORDER BY created"
ELSEWHERE = "SELECT DISTINCT place FROM batches WHERE run = ? AND place <> ? AND state = 'open' ORDER BY 1"
INTENTS = (
    "SELECT key, id, run, step, model, max_tokens, max_nano FROM intents WHERE batch = ? AND state = 'open' AND outcome IS NULL"
)


@dataclass
class Chunk:
    """One batch job. `remote`: the id its place gave it; None: not known."""

    id: str
    run: str
    remote: str | None
    created: float
    size: int = 0


@dataclass
class Opened:
    """What became of the requests of a chunk. `chunk`: None where none was opened; `refused`: the cap that cut it."""

    chunk: Chunk | None = None
    keys: set[bytes] = field(default_factory=set)
    stored: dict[bytes, Completion] = field(default_factory=dict)
    busy: set[bytes] = field(default_factory=set)
    refused: BudgetReached | None = None


class Book:
    """The batch jobs of one run at one place."""

    def __init__(self, ledger: Ledger, run: str, place: str) -> None:
        self._ledger, self._run, self._place = ledger, run, place

    async def open(self, sends: Sequence[Send], budget: Budget, least: int = 1) -> Opened:
        """Write a chunk and the intents of its requests; of those only the first ones, where a cap allows no more.

        Args:
            least: where a cap leaves fewer than these, none is opened.
        """

        def work(tools: Transaction) -> Opened:
            fit, cap = _fitting(tools.totals(self._run), sends, budget)
            opened = self._open(tools, sends[:fit] if fit >= least or not cap else [])
            if cap:
                opened.refused = BudgetReached(cap)
            return opened

        opened = await self._ledger.change(work)
        if opened.chunk:
            self._ledger.followed.add(opened.chunk.id)
        return opened

    def _open(self, tools: Transaction, sends: Sequence[Send]) -> Opened:
        opened, name = Opened(), self._name(tools, sends)
        for start in range(0, len(sends), SLICE):
            part = [send._replace(batch=name) for send in sends[start : start + SLICE]]
            for send, result in zip(part, tools.open([Open(send, lambda totals: None) for send in part]), strict=True):
                if isinstance(result, Busy):
                    opened.busy.add(send.key)
                elif isinstance(result, bytes):
                    opened.stored[send.key] = Completion.from_json(result)
                else:
                    opened.keys.add(send.key)
        if opened.keys:
            opened.chunk = Chunk(name, self._run, None, time.time(), len(opened.keys))
            row = (name, self._run, self._place, tools.owner.name, opened.chunk.created)
            tools.db.execute("INSERT INTO batches VALUES (?, ?, ?, ?, NULL, 'open', ?)", row)
        return opened

    def _name(self, tools: Transaction, sends: Sequence[Send]) -> str:
        """The same requests of the same run make the same chunk, so that a job made for it can be found; a new one for
        another attempt after that job ended."""
        digest = hashlib.blake2b(self._run.encode(), digest_size=16)
        for key in sorted(send.key for send in sends):
            digest.update(key)
        earlier = tools.db.execute("SELECT count(*) FROM batches WHERE id LIKE ?", (f"{digest.hexdigest()}%",)).fetchone()[0]
        return f"{digest.hexdigest()}-{earlier + 1}"

    async def sent(self, chunk: Chunk, remote: str) -> None:
        def work(tools: Transaction) -> None:
            tools.db.execute("UPDATE batches SET remote = ? WHERE id = ?", (remote, chunk.id))

        await self._ledger.change(work)
        chunk.remote = remote

    async def end(self, chunk: Chunk) -> None:
        """All its intents are settled."""

        def work(tools: Transaction) -> None:
            tools.db.execute("UPDATE batches SET state = 'done' WHERE id = ?", (chunk.id,))

        await self._ledger.change(work)
        self._ledger.followed.discard(chunk.id)

    async def release(self, chunk: Chunk, *, keep: bool) -> None:
        """Its requests were never computed: as if they had never been opened. `keep` its row, since it has a job."""

        def work(tools: Transaction) -> None:
            gone = tools.db.execute(INTENTS, (chunk.id,)).fetchall()
            tools.db.executemany("DELETE FROM intents WHERE id = ?", [(row[1],) for row in gone])
            totals = tools.totals(self._run)
            for *_, tokens, nano in gone:
                for i, n in enumerate((1, tokens, nano), 4):
                    totals[i] -= n
            row = "UPDATE batches SET state = 'failed' WHERE id = ?" if keep else "DELETE FROM batches WHERE id = ?"
            tools.db.execute(row, (chunk.id,))

        await self._ledger.change(work)
        self._ledger.followed.discard(chunk.id)

    async def intents(self, chunk: Chunk) -> dict[bytes, tuple[int, Send]]:
        """Those not settled yet, by key."""

        def work(tools: Transaction) -> list[tuple[bytes, int, str, str, str, int, int]]:
            return tools.db.execute(INTENTS, (chunk.id,)).fetchall()

        rows = await self._ledger.change(work)
        return {
            key: (number, Send(run, step, key, model, tokens, nano, chunk.id))
            for key, number, run, step, model, tokens, nano in rows
        }

    async def adopt(self) -> list[Chunk]:
        """The unfinished chunks of this run that no living process is busy with; they are ours from now on."""

        def work(tools: Transaction) -> list[Chunk]:
            found = []
            for name, remote, owner, created in tools.db.execute(OURS, (self._run, self._place)).fetchall():
                if name in self._ledger.followed or (owner != tools.owner.name and tools.owner.lives(owner)):
                    continue
                size = _own(tools, name, tools.owner.name)
                found.append(Chunk(name, self._run, remote, created, size))
            return found

        found = await self._ledger.change(work)
        self._ledger.followed |= {chunk.id for chunk in found}
        return found

    async def leave(self, chunk: Chunk) -> None:
        """Stop being busy with it: whoever comes next may adopt it."""

        def work(tools: Transaction) -> None:
            _own(tools, chunk.id, "nobody")

        self._ledger.followed.discard(chunk.id)
        await self._ledger.change(work)

    async def elsewhere(self) -> list[str]:
        """Other places with unfinished chunks of this run."""

        def work(tools: Transaction) -> list[str]:
            return [place for (place,) in tools.db.execute(ELSEWHERE, (self._run, self._place))]

        return await self._ledger.change(work)


def _own(tools: Transaction, chunk: str, owner: str) -> int:
    """Write down who is busy with a chunk. Returns: how many open intents it has."""
    tools.db.execute("UPDATE batches SET owner = ? WHERE id = ?", (owner, chunk))
    return tools.db.execute("UPDATE intents SET owner = ? WHERE batch = ? AND state = 'open'", (owner, chunk)).rowcount


def _fitting(totals: Sequence[int], sends: Sequence[Send], budget: Budget) -> tuple[int, str]:
    """How many of the requests, in their order, the caps allow, and the cap that allows no more (empty: none)."""
    used = Totals(*totals)
    for fit, send in enumerate(sends):
        if cap := used.would_break(budget, send.tokens, send.nano):
            return fit, cap
        used.open_calls, used.open_tokens, used.open_nano = (
            used.open_calls + 1, used.open_tokens + send.tokens, used.open_nano + send.nano,
        )  # fmt: skip
    return len(sends), ""
