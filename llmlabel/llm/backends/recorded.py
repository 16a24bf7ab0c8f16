"""Answers played back from a file: the same bytes every time, no model, no network.

The file is JSONL. Line 1: `{"llmlabel": "recorded answers", "version": 1, "model", "revision", "features"}`;
every other line `{"key": request_key, "answer": {...}}`, sorted by key.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from llmlabel.errors import ConfigError, RequestRejected
from llmlabel.llm.options import Options
from llmlabel.llm.requests import (
    AnyRequest,
    Backend,
    Completion,
    EmbedRequest,
    Features,
    Request,
    ScoreRequest,
    request_key,
)

MAGIC = {"llmlabel": "recorded answers", "version": 1}
HOW = "to record: record(client.ledger.path, FILE, client.backend) from llmlabel.llm.backends.recorded, after a run"


class RecordedBackend:
    """Says it is the model it was recorded from, so that its requests have the recorded keys.

    Raises: ConfigError when the file is missing, damaged, or not one of answers.
    """

    def __init__(self, file: Path) -> None:
        head, self._answers = _read(file)
        self.name, self.local = "recorded", True
        self.model, self.revision = str(head["model"]), str(head["revision"])
        self.features = Features(**head["features"])
        self._file = file

    async def complete(self, request: Request) -> Completion:
        return self._find(request)

    async def score(self, request: ScoreRequest) -> Completion:
        return self._find(request)

    async def embed(self, request: EmbedRequest) -> Completion:
        return self._find(request)

    async def close(self) -> None:
        """Nothing is open."""

    def _find(self, request: AnyRequest) -> Completion:
        key = request_key(self, request).hex()
        if key not in self._answers:
            self._missing(request)
        return self._answers[key]

    def _missing(self, request: AnyRequest) -> NoReturn:
        if isinstance(request, Request):
            asked = request.messages[-1]["content"]
        else:
            asked = str(request.prompt) if isinstance(request, ScoreRequest) else " | ".join(request.texts)
        raise RequestRejected(f"{self._file} has no answer of {self.model} to {asked[:80]!r}; {HOW}")


def record(ledger: Path, out: Path, backend: Backend) -> int:
    """Write the stored answers of one model to a file that `recorded:FILE` plays back.

    Args:
        ledger: the answer store (`client.ledger.path`). backend: whose answers; it names model, revision and features.
    Returns: how many answers there are.
    Raises: ConfigError when the store cannot be read.
    """
    try:
        with closing(sqlite3.connect(f"{ledger.resolve().as_uri()}?mode=ro", uri=True)) as db:
            query = "SELECT key, answer FROM answers WHERE model = ? ORDER BY key"
            rows = [(key.hex(), answer) for key, answer in db.execute(query, (backend.model,))]
    except sqlite3.Error as e:
        raise ConfigError(f"cannot read the answer store {ledger}: {e}") from e
    head = {**MAGIC, "model": backend.model, "revision": backend.revision, "features": asdict(backend.features)}
    lines = [head, *({"key": key, "answer": json.loads(answer)} for key, answer in rows)]
    out.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="ascii")
    return len(rows)


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Completion]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"recorded:{file}: cannot be read: {e}. {HOW}") from e
    answers, head, number = {}, {}, 1
    try:
        head = json.loads(lines[0])
        if {k: head.get(k) for k in MAGIC} != MAGIC:
            raise ValueError(f"the first line must say {json.dumps(MAGIC)}")
        for line in lines[1:]:
            number += 1
            row = json.loads(line)
            answers[str(row["key"])] = Completion(**row["answer"])
    except (ValueError, LookupError, TypeError, AttributeError) as e:
        raise ConfigError(f"recorded:{file}, line {number}: not recorded answers ({e!r}). {HOW}") from e
    if missing := {"model", "revision", "features"} - set(head):
        raise ConfigError(f"recorded:{file}, line 1: {sorted(missing)} missing. {HOW}")
    return head, answers


def connect(options: Options) -> RecordedBackend:
    """`recorded:FILE`. Raises: ConfigError, see the class."""
    return RecordedBackend(Path(options.model))
