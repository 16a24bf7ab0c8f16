"""What people see of a run while it goes on: events for the command line, artifacts for Prefect's UI."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from llmlabel.events import emit
from llmlabel.llm import Client, Models

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
        self._shown = 0.0
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
        if now - self._shown > ARTIFACT_EVERY:
            self._shown = now
            self._show(step, done, total)

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

    def _show(self, step: str, done: int, total: int) -> None:
        share = 100.0 * done / max(total, 1)
        with suppress(Exception):  # the UI is a view; a run never fails for it
            if self._artifact is None:
                self._artifact = create_progress_artifact(share, description=f"{step}: {done} of {total}")
            else:
                update_progress_artifact(self._artifact, share, description=f"{step}: {done} of {total}")


def traffic(client: Client) -> dict[str, Any]:
    """Of this process: requests, latency percentiles in seconds, retries by cause, concurrency by endpoint."""
    usage = client.usage
    return {
        "asked": usage.asked, "from_cache": usage.from_cache, "answered": usage.sent, "retries": dict(usage.retries),
        "latency_s": {name: usage.latency(share) for name, share in PERCENTILES},
        "most_in_flight": [place.most_in_flight for place in client.pool.places],
        "window": [int(place.window.limit) for place in client.pool.places],
    }  # fmt: skip


def by_model(info: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the traffic table in Prefect's UI, from what `account` has put into run.json; money in US dollars."""
    rows = []
    for spec, model in info["models"].items():
        bought = [line for line in info["cost"]["by_step"] if line["model"] == model["model"]]
        latency = {f"{name} s": model["latency_s"][name] for name, _ in PERCENTILES}
        retries = ", ".join(f"{n} {cause}" for cause, n in model["retries"].items()) or "none"
        rows.append({
            "model": spec, "requests": model["answered"], "from the store": model["from_cache"],
            "tokens": sum(line["prompt_tokens"] + line["completion_tokens"] for line in bought),
            "cost": round(sum(line["cost"] for line in bought), 9), **latency,
            "most in flight": sum(model["most_in_flight"]), "retries": retries,
        })  # fmt: skip
    return rows


def show_table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    with suppress(Exception):
        create_table_artifact(rows, key=key, description=description)


def show_markdown(key: str, text: str) -> None:
    with suppress(Exception):
        create_markdown_artifact(text, key=key)


def link(path: Path) -> str:
    return path.resolve().as_uri()
