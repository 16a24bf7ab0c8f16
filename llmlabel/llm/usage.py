"""What one client has done since it was made: counts, retries by cause, latency."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

FINE = 20  # buckets per factor e of latency: percentiles are right within 3 %


@dataclass
class Usage:
    """`asked` requests, of which `from_cache` were in the store."""

    asked: int = 0
    from_cache: int = 0
    sent: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    _latencies: Counter[int] = field(default_factory=Counter)

    def answered(self, seconds: float) -> None:
        self.sent += 1
        self._latencies[round(math.log(max(seconds, 1e-6)) * FINE)] += 1

    def latency(self, share: float) -> float | None:
        """Seconds within which this share of the answers came; None without answers."""
        below, total = 0, sum(self._latencies.values())
        for bucket in sorted(self._latencies):
            below += self._latencies[bucket]
            if below >= share * total:
                return round(math.exp(bucket / FINE), 4)
        return None
