"""Does the order in which labels are shown decide the answer? Measured on a sample, and taken out of the distributions.

Source: option-order bias and its prior, Zheng et al. 2024, PriDe (arXiv 2309.03882).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from llmlabel.records import Annotation
from llmlabel.stats import wilson

FEWEST_ROWS = 100  # below, a code's prior is mostly noise


def flip_rate(first: Sequence[Annotation], again: Sequence[Annotation]) -> dict[str, float | int]:
    """How often the same texts got another label when labels were shown in another order.

    Returns: rows (usable both times), flipped, rate with its 95% interval low, high; only `rows` when none was usable.
    """
    pairs = [(a.label, b.label) for a, b in zip(first, again, strict=True) if not a.status.failed and not b.status.failed]
    if not pairs:
        return {"rows": 0}
    flipped = sum(a != b for a, b in pairs)
    low, high = wilson(flipped, len(pairs))
    return {
        "rows": len(pairs),
        "flipped": flipped,
        "rate": round(flipped / len(pairs), 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }


def code_prior(rows: Sequence[Annotation], codes: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """What a model thinks of a code whatever stands under it: mean log-probability by code, less the mean over codes.

    Labels are shown under codes drawn anew for every text, so over many texts each code stands for every label alike.

    Args:
        rows: raw answers of kind `code`. codes: by row, label id -> code.
    Returns: code -> nats; empty with fewer than FEWEST_ROWS usable rows.
    """
    found: dict[str, list[float]] = {}
    told = [(row, code) for row, code in zip(rows, codes, strict=True) if row.probs_kind == "code" and row.probs]
    if len(told) < FEWEST_ROWS:
        return {}
    for row, code_of in told:
        floor = min(row.probs.values()) - 1.0
        for label, code in code_of.items():
            found.setdefault(code, []).append(row.probs.get(label, floor))
    means = {code: float(np.mean(values)) for code, values in found.items()}
    centre = float(np.mean(list(means.values())))
    return {code: mean - centre for code, mean in sorted(means.items())}


def without_prior(rows: Sequence[Annotation], codes: Sequence[Mapping[str, str]], prior: Mapping[str, float]) -> None:
    """Take a code's prior out of raw answers' log-probabilities, in place."""
    for row, code_of in zip(rows, codes, strict=True):
        if row.probs_kind == "code":
            row.probs = {label: p - prior.get(code_of[label], 0.0) for label, p in row.probs.items()}
