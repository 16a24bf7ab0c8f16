"""The running totals of a ledger, added up anew from its intents."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from llmlabel.llm.ledger import Totals


def added_up(folder: Path) -> Totals:
    """Of all intents in the cache directory `folder`."""
    with sqlite3.connect(folder / "ledger.sqlite") as db:
        row = db.execute(
            "SELECT count(*) FILTER (WHERE state = 'settled'), total(prompt_tokens), total(completion_tokens), total(nano),"
            " count(*) FILTER (WHERE state = 'open'), total(max_tokens) FILTER (WHERE state = 'open'),"
            " total(max_nano) FILTER (WHERE state = 'open') FROM intents"
        ).fetchone()
    return Totals(*map(int, row))
