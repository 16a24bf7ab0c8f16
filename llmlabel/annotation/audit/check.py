"""How good an audit's queue is: a random draw of flagged and other rows for a person to look at, and what their verdicts say."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmlabel.errors import DataError
from llmlabel.records import fold
from llmlabel.stats import wilson

DRAWS = 20_000  # of the two error rates, for the interval of recall
RIGHT, WRONG, UNCLEAR = {"right", "correct", "ok"}, {"wrong", "incorrect"}, {"unclear"}


def draw_check(queued: Sequence[Mapping[str, Any]], size: int, seed: int) -> dict[str, Any]:
    """A random half from the flagged and a random half from the other rows that could be judged.

    Returns: `flagged`: row id -> whether it is, in random order; `sizes`: how many flagged and other rows there are.
    """
    draw = random.Random(f"{seed}/check")
    parts = [[r["id"] for r in queued if r["score"] is not None and r["flagged"] is flagged] for flagged in (True, False)]
    chosen = [
        (i, flagged)
        for flagged, ids in zip((True, False), parts, strict=True)
        for i in draw.sample(ids, min(size // 2, len(ids)))
    ]
    draw.shuffle(chosen)
    return {"flagged": dict(chosen), "sizes": [len(ids) for ids in parts]}


def read_verdicts(rows: Sequence[Mapping[str, Any]], where: str) -> dict[str, bool | None]:
    """Row id -> whether a person finds the given label wrong; None: unclear. Rows without a verdict are left out.

    A verdict is right, wrong or unclear, or a label's name: the given one, or the one that should stand there.
    Raises: DataError that names the line.
    """
    found: dict[str, bool | None] = {}
    for n, row in enumerate(rows, 2):
        if not {"id", "given", "verdict"} <= row.keys():
            raise DataError(f"{where} needs the columns id, given and verdict; fill in the check.csv of the run")
        said = fold(str(row["verdict"] or ""))
        if not said:
            continue
        if said in UNCLEAR:
            found[str(row["id"])] = None
        elif said in RIGHT | WRONG:
            found[str(row["id"])] = said in WRONG
        elif said in {fold(str(row["given"])), fold(str(row.get("other") or ""))}:
            found[str(row["id"])] = said != fold(str(row["given"]))
        else:
            raise DataError(
                f"{where}, line {n}: verdict {row['verdict']!r}; write right, wrong, unclear, or one of the two labels"
            )
    if not found:
        raise DataError(f"{where}: no row has a verdict yet; write right, wrong or unclear into the column `verdict`")
    return found


def checked(verdicts: Mapping[str, bool | None], drawn: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Precision of the queue with Wilson's 95% interval, and which share of the wrong labels is in it.

    The interval of recall comes from draws of both error rates (Jeffreys' posteriors). Rows found unclear are left out.

    Args:
        drawn: as `draw_check` returns it.
    Returns: counts; precision and recall, each with low and high, where something of the kind was checked.
    Raises: DataError when a verdict is on a row that was not drawn: only random draws tell rates.
    """
    flagged, (size, rest) = drawn["flagged"], drawn["sizes"]
    if strange := [row for row in verdicts if row not in flagged]:
        raise DataError(f"{len(strange)} checked rows are not in this run's check.csv, such as {strange[0]!r}")
    tally = {f: [v for row, v in verdicts.items() if flagged[row] is f and v is not None] for f in (True, False)}
    (wrong, tried), (missed, looked) = ((sum(tally[f]), len(tally[f])) for f in (True, False))
    found: dict[str, Any] = {"flagged_checked": tried, "flagged_wrong": wrong, "others_checked": looked, "others_wrong": missed}
    found["unclear"] = sum(v is None for v in verdicts.values())
    if tried:
        low, high = wilson(wrong, tried)
        found |= {"precision": wrong / tried, "precision_low": low, "precision_high": high}
    if tried and looked:
        rng = np.random.default_rng(seed)
        hit, miss = (rng.beta(w + 0.5, t - w + 0.5, DRAWS) for w, t in ((wrong, tried), (missed, looked)))
        low, high = np.quantile(size * hit / (size * hit + rest * miss), [0.025, 0.975])
        total = size * wrong / tried + rest * missed / looked
        found |= {"errors": total, "recall": size * wrong / tried / total if total else None}
        found |= {"recall_low": float(low), "recall_high": float(high)}
    return found
