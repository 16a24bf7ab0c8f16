"""What the next round of `llmlabel run daily` will ask and cost, before it asks anything."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

from llmlabel.flows.estimates.annotate import estimate_annotate
from llmlabel.flows.steps.daily.rounds import Rounds, keep, read_rows, seen, taxonomy_file, unseen

from llmlabel.config import AnnotateConfig, DailyConfig


def estimate_daily(config: DailyConfig) -> dict[str, Any]:
    """Calls, tokens and US dollars for the rows that are new, at the most; judges of an audit and labels that are taken up later
    are not in it."""
    rounds = Rounds(config.out)
    start = config.from_run or (rounds.path(rounds.current.run) if rounds.current.run else None)
    run = rounds.path(rounds.current.run) if rounds.current.run else start
    new = unseen(read_rows(config), seen(run))
    if not new:
        return {"rows": 0, "steps": [], "calls": 0, "prompt_tokens": 0, "completion_tokens": 0, "money": 0.0}
    file = taxonomy_file(config, rounds)
    with tempfile.TemporaryDirectory() as scratch:
        keep(Path(scratch) / "new.parquet", new)
        where = {"taxonomy": file} if file.is_file() else {"from_run": run}
        given = {"data": f"{scratch}/new.parquet", "text_column": "text", "id_column": "id", "out": Path(scratch) / "out"}
        return estimate_annotate(cast(AnnotateConfig, config.stage("annotate", **given, **where)))
