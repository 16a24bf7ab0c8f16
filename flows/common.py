"""What every flow shares: open a run, follow its progress, close it with the right exit code, show it in Prefect's UI."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from llmlabel import embedding
from llmlabel.config import CommonConfig
from llmlabel.data import fingerprint
from llmlabel.errors import LlmlabelError
from llmlabel.events import counter, emit
from llmlabel.llm import Client, Models
from llmlabel.llm.prices import Prices
from llmlabel.records import Example
from llmlabel.report import write_report
from llmlabel.runs import RunFolder

ARTIFACT_EVERY = 5.0  # seconds between two updates of the progress artifact
FIT_ON = 20_000  # texts TF-IDF vectors learn their words from
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


@contextmanager
def open_run(config: CommonConfig, flow: str, extra: dict[str, Any]) -> Iterator[tuple[RunFolder, Models]]:
    """A locked run folder and its models; whatever happens, the models are closed and the folder says how it ended.

    Args:
        extra: what defines the run besides the settings: data fingerprint, prompt hashes.
    """
    definition = config.definition() | extra
    folder = RunFolder(config.out, flow=flow, definition=definition, config=config.model_dump(mode="json"))
    models = Models(config, folder.id)
    try:
        yield folder, models
    except BaseException as e:
        if not folder.finished:
            account(folder, models)
            folder.finish(exit_code(e))
        raise
    finally:
        models.close()
        models.ledger.close()
        folder.close()


def carry_out(
    config: CommonConfig, flow: str, examples: Sequence[Example], extra: dict[str, Any],
    steps: Callable[[RunFolder, Models], int], shown: Callable[[RunFolder], dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """A run from its folder to its report: what every flow does around its own steps.

    Args:
        extra: what defines the run besides the settings and the data; `prompts`: id -> hash. steps: the work, returns the exit
            code. shown: publishes artifacts' tables where the run was not finished before, and sums the run up.
    """
    data = {"fingerprint": fingerprint(examples), "rows": len(examples)}
    with open_run(config, flow, {"data": data, **extra}) as (folder, models):
        emit("start", flow=flow, out=str(folder.path), rows=len(examples), run=folder.id)
        if folder.finished:
            emit("note", text=f"{folder.path} is finished; nothing was asked or written")
            return shown(folder)
        folder.info |= {"prompts": extra["prompts"], "seed": config.seed, "data": described(examples, config) | data}
        code = steps(folder, models)
        account(folder, models)
        folder.finish(code)
        write_report(folder.path)
        show_table("counts", [{"status": s, "texts": n} for s, n in folder.info["counts"].items()], "texts by status")
        show_table("cost", [{k: v for k, v in folder.info["cost"].items() if k != "by_step"}], "what the run cost")
        show_table("traffic", by_model(folder.info), "requests, tokens, cost, latency and retries by model")
        show_markdown("report", f"[report.html]({link(folder.path / 'report.html')}) in `{folder.path.resolve()}`")
        return shown(folder)


def described(examples: Sequence[Example], config: CommonConfig) -> dict[str, int]:
    texts = [e.text for e in examples]
    return {
        "empty": sum(not t.strip() for t in texts),
        "duplicates": len(texts) - len(set(texts)),
        "texts_cut": sum(len(t) > getattr(config, "max_text_chars", len(t)) for t in texts),
    }


def failed_rows(folder: RunFolder, failures: Sequence[dict[str, Any]]) -> None:
    """Tell how to ask rows again that failed after they were asked."""
    if worth := sum(failure["attempts"] > 0 for failure in failures):
        emit("note", text=f"{worth} rows failed, see failures.jsonl; to ask them again: llmlabel retry {folder.path}")


@dataclass
class Desk:
    """What the steps of a run work with: settings, rows, folder, models, and vectors made when first asked for. A plain
    object, so that Prefect does not look inside."""

    config: CommonConfig
    examples: list[Example]
    folder: RunFolder
    models: Models

    @cached_property
    def follow(self) -> Follower:
        return Follower(self.models, self.folder.id)

    @cached_property
    def by_id(self) -> dict[str, Example]:
        return {e.id: e for e in self.examples}

    @cached_property
    def embedder(self) -> embedding.Embedder:
        texts = [e.text for e in self.examples[:FIT_ON]]
        return embedding.connect(self.config.embedder, fit_on=texts, seed=self.config.seed, client=self.models.embeddings)

    @cached_property
    def vectors(self) -> embedding.VectorCache:
        return embedding.VectorCache(self.config.cache)

    def encode(self, texts: Sequence[str]) -> embedding.Vectors:
        """(N, D) unit vectors, from the store where they are there."""
        return self.vectors.encode(self.embedder, list(texts))

    def counter(self, step: str, total: int) -> Callable[[int], None]:
        """An `on_done` that reports a step's progress."""
        return counter(self.follow, step, total)


def exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    return error.exit_code if isinstance(error, LlmlabelError) else 1


def account(folder: RunFolder, models: Models) -> None:
    """Put what the run has used into run.json, so that a copied folder stands alone."""
    totals = models.ledger.totals(folder.id)
    clients = models.opened
    folder.info["cost"] = {
        "money": round(totals.cost, 9), "maybe_billed": round(totals.open_cost, 9),
        "price_known": all(client.price.known for client in clients.values()),
        "price_table": Prices(models.config.prices).version, "calls": totals.calls, "open_calls": totals.open_calls,
        "open_tokens": totals.open_tokens, "from_cache": sum(c.usage.from_cache for c in clients.values()),
        "retries": sum(sum(c.usage.retries.values()) for c in clients.values()), "prompt_tokens": totals.prompt_tokens,
        "completion_tokens": totals.completion_tokens, "by_step": list(models.ledger.by_step(folder.id)),
    }  # fmt: skip
    folder.info["models"] = {
        spec: {"model": c.backend.model, "revision": c.backend.revision, "backend": c.backend.name, **traffic(c)}
        for spec, c in clients.items()
    }


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


def timed(folder: RunFolder, name: str, work: Callable[[], Any]) -> Any:
    """Do a part of a run, and note how long it took."""
    emit("step", step=name)
    start = time.monotonic()
    value = work()
    folder.spent(name, time.monotonic() - start)
    folder.save()
    return value


def show_table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    with suppress(Exception):
        create_table_artifact(rows, key=key, description=description)


def show_markdown(key: str, text: str) -> None:
    with suppress(Exception):
        create_markdown_artifact(text, key=key)


def link(path: Path) -> str:
    return path.resolve().as_uri()


__all__ = [
    "Desk", "Follower", "account", "by_model", "carry_out", "exit_code", "failed_rows", "link", "open_run", "show_markdown",
    "show_table", "timed",
]  # fmt: skip
