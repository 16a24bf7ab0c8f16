"""What a person, or a program that reads JSON lines, sees of a run."""

from __future__ import annotations

import json
import sys
import threading
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

JSON_EVERY = 1.0  # seconds between two progress events of one step
PLAIN_EVERY = 10.0  # and between two lines where the terminal is a file


class Terminal:
    """A listener for run events: progress bars on stderr, or JSON lines on stdout."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._console = Console(stderr=True)
        self._live = Progress(
            SpinnerColumn(), TextColumn("{task.description:>10}"), BarColumn(),
            MofNCompleteColumn(), TextColumn("{task.fields[more]}"),
            console=self._console, transient=False,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Terminal:
        if not self._json and self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "progress" and not self._due(event):
            return
        if self._json:
            with self._lock:  # events come from several threads; a line stays whole
                print(json.dumps(event, ensure_ascii=False), flush=True)
        elif event["event"] == "progress":
            self._progress(event)
        elif event["event"] == "done":
            self._live.stop()
            show({k: v for k, v in event.items() if k != "event"})
        elif event["event"] in ("note", "start"):
            text = event.get("text") or f"{event['rows']} rows; run folder {event['out']}"
            self._console.print(Text(text))

    def _due(self, event: dict[str, Any]) -> bool:
        """The last event of a step is always due, others now and then."""
        if self._console.is_terminal and not self._json:
            return True
        now, every = time.monotonic(), JSON_EVERY if self._json else PLAIN_EVERY
        if event["done"] != event["total"] and now - self._told.get(event["step"], 0.0) < every:
            return False
        self._told[event["step"]] = now
        return True

    def _progress(self, event: dict[str, Any]) -> None:
        more = _more(event)
        if not self._console.is_terminal:
            total = event["total"] if event["total"] is not None else "?"
            self._console.print(Text(f"{event['step']}: {event['done']}/{total} {more}"))
            return
        if event["step"] not in self._tasks:
            self._tasks[event["step"]] = self._live.add_task(event["step"], total=event["total"], more="")
        self._live.update(self._tasks[event["step"]], completed=event["done"], more=more)


def _more(event: dict[str, Any]) -> str:
    parts = []
    if event.get("rate"):
        parts.append(f"{event['rate']:.1f}/s")
    if event.get("left_s"):
        parts.append(f"{event['left_s']:.0f} s left")
    if event.get("cost") or event.get("budget"):
        parts.append(dollars(event["cost"]) + (f" of {dollars(event['budget'])}" if event.get("budget") else ""))
    if event.get("in_flight"):
        speed = f"{event['requests_per_s']:.1f} requests/s, " if event.get("requests_per_s") else ""
        parts.append(f"{speed}{event['in_flight']} in flight")
    if event.get("retries"):
        parts.append(f"{event['retries']} retries")
    return "  ".join(parts)


def dollars(amount: float) -> str:
    """US dollars, with as many digits as a small amount needs."""
    return f"${amount:,.2f}" if amount == 0 or amount >= 0.1 else f"${amount:.4f}" if amount >= 0.0001 else "<$0.0001"


def show_rows(rows: list[dict[str, Any]], numbers: tuple[str, ...] = ()) -> None:
    """Rows with the same keys as a table on stdout; the columns in `numbers` are aligned to the right."""
    table = Table(box=None, pad_edge=False)
    for key in rows[0] if rows else ():
        table.add_column(key.replace("_", " "), justify="right" if key in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(f"{v:,}" if isinstance(v, int) else str(v)) for v in row.values()))
    Console(file=sys.stdout).print(table)


def show(values: dict[str, Any]) -> None:
    """Nested values as a plain two-column table on stdout."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in _flat(values):
        table.add_row(Text(key), Text(value))
    Console(file=sys.stdout).print(table)


def _flat(values: dict[str, Any], indent: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            rows += [(f"{indent}{key}", ""), *_flat(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            rows.append((f"{indent}{key}", ""))
            rows += [(f"{indent}  {n}", ", ".join(f"{k} {v}" for k, v in item.items())) for n, item in enumerate(value, 1)]
        else:
            rows.append((f"{indent}{key}", "-" if value is None else str(value)))
    return rows
