"""What every flow does around its own steps: open a run, account for it, close it with the right exit code, write its report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from llmlabel.flows.running.artifacts import publish, show_cost
from llmlabel.flows.running.progress import Follower, traffic

from llmlabel import embedding
from llmlabel.config import CommonConfig
from llmlabel.data import fingerprint
from llmlabel.errors import LlmlabelError
from llmlabel.events import counter, emit
from llmlabel.llm import Models
from llmlabel.llm.prices import Prices
from llmlabel.records import Example
from llmlabel.report import write_report
from llmlabel.runs import RunFolder, read_json

FIT_ON = 20_000  # texts TF-IDF vectors learn their words from


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
            show_cost(folder)
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
            publish(folder)
            return shown(folder)
        folder.info |= {"prompts": extra["prompts"], "seed": config.seed, "data": described(examples, config) | data}
        code = steps(folder, models)
        account(folder, models)
        folder.finish(code)
        write_report(folder.path)
        publish(folder)
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


class Desk:
    """What the steps of a run work with: settings, rows, folder, models, and vectors made when first asked for.

    A plain class, and what steps hand on is kept in it: Prefect looks through every dataclass, list and dictionary that a
    task is given, which takes longer than the work where there are 100,000 rows.
    """

    def __init__(self, config: Any, examples: Sequence[Example], folder: RunFolder, models: Models) -> None:
        self.config, self.examples, self.folder, self.models = config, examples, folder, models

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
    for name, part in folder.info.get("parts", {}).items():
        _add_part(folder.info, name, Path(part) / "run.json")


def _add_part(info: dict[str, Any], name: str, file: Path) -> None:
    """Count what a flow that was run as a part of this one has used, under its name."""
    if not file.is_file():
        return
    part = read_json(file)
    mine, theirs = info["cost"], part.get("cost", {})
    for key, value in theirs.items():
        if key == "price_known":
            mine[key] = mine[key] and value
        elif isinstance(value, int | float):
            mine[key] += value
    mine["by_step"] += [{**line, "step": f"{name}: {line['step']}"} for line in theirs.get("by_step", [])]
    info["models"] = part.get("models", {}) | info["models"]


def timed(folder: RunFolder, name: str, work: Callable[[], Any]) -> Any:
    """Do a part of a run, and note how long it took."""
    emit("step", step=name)
    start = time.monotonic()
    value = work()
    folder.spent(name, time.monotonic() - start)
    folder.save()
    return value
