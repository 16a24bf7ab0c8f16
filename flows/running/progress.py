"""What people see of a run while it goes on: events for the command line, artifacts for Prefect's UI."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from llmlabel.flows.running.artifacts import key_of, plain
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from llmlabel.events import emit
from llmlabel.llm import Client, Models
from llmlabel.report.words import duration, money

ARTIFACT_EVERY = 5.0  # seconds between two updates of the progress artifact
READ_EVERY = 0.25  # seconds between two looks into the ledger
RATE_OVER = 2.0  # seconds that requests per second are counted over
PERCENTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))


class Follower:
    """Progress of all steps, from any thread: events for the command line, one artifact for Prefect's UI."""

    def __init__(self, models: Models, run: str) -> None:
        self._models, self._run = models, run
        self._began: dict[str, tuple[float, int]] = {}
        self._artifact: Any = None
        self._shown = float("-inf")
        self._context = copy_context()  # which run the artifact belongs to; callers come from any thread
        self._showing: Future[None] | None = None
        self._beside = ThreadPoolExecutor(1, "progress")  # a server of Prefect's that does not answer holds nothing up
        self._figures: dict[str, Any] = {}
        self._read = float("-inf")
        self._sent: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def __call__(self, step: str, done: int, total: int) -> None:
        now = time.monotonic()
        start, at = self._began.setdefault(step, (now, done))
        rate = (done - at) / (now - start) if now > start and done > at else None
        left = (total - done) / rate if rate else None
        with self._lock:
            if now - self._read >= READ_EVERY or done == total:
                self._figures, self._read = self._look(now), now
            figures = self._figures
        emit("progress", step=step, done=done, total=total, rate=rate, left_s=left, **figures)
        if now - self._shown > ARTIFACT_EVERY or done == total:
            self._shown = now
            self._show(step, done, total, left, figures)

    def _look(self, now: float) -> dict[str, Any]:
        """Money and calls of the run; requests per second, in flight and retries of this process."""
        totals, clients = self._models.ledger.totals(self._run), list(self._models.opened.values())
        self._sent.append((now, sum(client.usage.sent for client in clients)))
        while len(self._sent) > 2 and now - self._sent[1][0] >= RATE_OVER:
            self._sent.popleft()
        (then, before), (_, sent) = self._sent[0], self._sent[-1]
        return {
            "cost": totals.cost, "budget": self._models.config.budget, "calls": totals.calls,
            "requests_per_s": round((sent - before) / (now - then), 2) if now > then else None,
            "in_flight": sum(place.in_flight for client in clients for place in client.pool.places),
            "retries": sum(client.usage.retries.total() for client in clients),
        }  # fmt: skip

    def _show(self, step: str, done: int, total: int, left: float | None, figures: dict[str, Any]) -> None:
        """Have the artifact say so, unless it is still being told something else."""
        if self._showing is None or self._showing.done() or done == total:
            said = f"{step}: {done:,} of {total:,}{_spent(figures)}" + (f"; {duration(left)} left" if left else "")
            share = 100.0 * done / max(total, 1)
            self._showing = self._beside.submit(self._context.copy().run, self._publish, share, plain(said))

    def _publish(self, share: float, said: str) -> None:
        with suppress(Exception):  # the UI is a view; a run never fails for it
            if self._artifact is None:
                self._artifact = create_progress_artifact(share, key=key_of("progress"), description=said)
            else:
                update_progress_artifact(self._artifact, share, description=said)


def _spent(figures: dict[str, Any]) -> str:
    """`; $0.12 of $5.00 spent`; "" where nothing was spent and there is no cap."""
    cost, budget = figures["cost"], figures["budget"]
    return f"; {money(cost)} of {money(budget)} spent" if budget else f"; {money(cost)} spent" if cost else ""


def traffic(client: Client) -> dict[str, Any]:
    """Of this process: requests, latency percentiles in seconds, retries by cause, concurrency by endpoint."""
    usage = client.usage
    return {
        "asked": usage.asked, "from_cache": usage.from_cache, "answered": usage.sent, "retries": dict(usage.retries),
        "latency_s": {name: usage.latency(share) for name, share in PERCENTILES},
        "most_in_flight": [place.most_in_flight for place in client.pool.places],
        "window": [int(place.window.limit) for place in client.pool.places],
    }  # fmt: skip
