"""Where a client gets its batch jobs from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmlabel import events
from llmlabel.llm.batches import BatchPlace, Limits
from llmlabel.llm.batches.book import Book
from llmlabel.llm.batches.call import Call
from llmlabel.llm.batches.waiting import Out, Waiting

if TYPE_CHECKING:
    from llmlabel.llm.client import Client
    from llmlabel.llm.feed import Feed


class Batches:
    """The batch jobs of one client. Backends that have a place for them say so with a method `batch_place(folder)`."""

    def __init__(self, client: Client) -> None:
        self._client, self.limits = client, Limits()
        self.place = _place(client, client.ledger.path.parent / "batches")
        self._told: set[str] = set()

    async def through(self, feed: Feed, step: str, out: Out) -> None:
        """Ask what the feed has, and leave in it what is to be asked directly; without `client.batch`, cancel what there
        is and fetch what is done.

        Raises: what stops everything, as `Client.map` does; BudgetReached once all that could be sent is in the store.
        """
        client, place = self._client, self.place
        if place is None:
            self._tell(f"{client.backend.model} ({client.backend.name}) has no batch jobs; it is asked directly")
            return
        book = Book(client.ledger, client.run, place.name)
        for elsewhere in await book.elsewhere():
            if elsewhere.startswith(f"{client.backend.model} at "):
                self._tell(f"this run has unfinished batch jobs of {elsewhere}; {place.name} is asked now, and they are left")
        waiting = Waiting(client, place.backend, self.limits, feed, step, out)
        await Call(client, place, book, self.limits, waiting).run()

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            events.emit("note", text=text)

    async def close(self) -> None:
        if self.place:
            await self.place.close()


def _place(client: Client, folder: Path) -> BatchPlace | None:
    make = getattr(client.backend, "batch_place", None)
    return make(folder) if make else None
