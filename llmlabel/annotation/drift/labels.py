"""Which labels have grown or shrunk, and whether more texts than before fit none, or are labelled with less confidence.

Both sides are labelled in the same way, so what a labeller gets wrong bends both alike; what is compared is the difference.
Where a classifier labelled some rows, the predictions of one and the same classifier are compared (black-box shift detection:
Lipton et al. 2018, arXiv 1802.03916; the best of the detectors in Rabanser et al. 2019, arXiv 1810.11953).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmlabel import stats
from llmlabel.annotation.drift.sample import NONE, FloatArray, IntArray


def changes(classes: Sequence[str], before: IntArray, now: IntArray) -> list[dict[str, Any]]:
    """The share of every label then and now, with intervals; `p` is Holm's over the labels.

    Args:
        classes: ids, that of class 0 (none fits) among them. before, now: class indices; -1 is left out.
    Returns: a row per label that occurs, the largest difference first; class 0 has `p` None, since `rate` tests it.
    """
    n, m = int((before >= 0).sum()), int((now >= 0).sum())
    then, since = (np.bincount(x[x >= 0], minlength=len(classes)) for x in (before, now))
    seen = [k for k in range(len(classes)) if then[k] + since[k]]
    tested = [k for k in seen if k != NONE]
    raw = [stats.shares_differ((int(then[k]), n), (int(since[k]), m)) for k in tested]
    adjusted = dict(zip(tested, stats.holm(raw).tolist() if raw else [], strict=True))
    rows = [{"label": classes[k], **compared((int(then[k]), n), (int(since[k]), m)), "p": adjusted.get(k)} for k in seen]
    return sorted(rows, key=lambda row: (-abs(row["difference"]), row["label"]))


def compared(before: tuple[int, int], now: tuple[int, int]) -> dict[str, float]:
    """Two shares, each (rows, of how many), with 95% intervals of both and of their difference."""
    then, since, apart = stats.wilson(*before), stats.wilson(*now), stats.share_difference(before, now)
    a, b = before[0] / before[1], now[0] / now[1]
    return {
        "before": a, "before_low": then[0], "before_high": then[1], "now": b, "now_low": since[0], "now_high": since[1],
        "difference": b - a, "low": apart[0], "high": apart[1], "rows_before": before[1], "rows_now": now[1],
    }  # fmt: skip


def grown(before: np.ndarray[Any, np.dtype[np.bool_]], now: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    """A rate then and now, and the p-value that it is no larger; empty where one side has no rows."""
    if not len(before) or not len(now):
        return {}
    pair = (int(before.sum()), len(before)), (int(now.sum()), len(now))
    return {**compared(*pair), "p": stats.shares_differ(*pair, grown=True)}


def less_sure(before: FloatArray, now: FloatArray, share: float = 0.1) -> dict[str, Any]:
    """How many rows are labelled with a confidence that a tenth of the reference's rows are below; `p`: that confidences are no
    lower than they were. Empty without confidences, or where all are alike."""
    before, now = before[~np.isnan(before)], now[~np.isnan(now)]
    if not len(before) or not len(now) or stats.alike(np.concatenate([before, now])):
        return {}
    edge = float(np.quantile(before, share))
    pair = (int((before <= edge).sum()), len(before)), (int((now <= edge).sum()), len(now))
    return {**compared(*pair), "edge": edge, "p": stats.mostly_larger(-now, -before)}
