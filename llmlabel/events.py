"""What a run tells whoever listens: the command line, Prefect's artifacts, a program. Plain dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Listener = Callable[[dict[str, Any]], None]
_listeners: list[Listener] = []


def emit(event: str, **values: Any) -> None:
    """Tell all listeners; `event` is start, step, progress, note, done or error.

    A progress event has step, done, total (or None), rate (of `done`, per second), left_s, cost (US dollars so far), and,
    from a flow, budget (the cap or None), calls, requests_per_s, in_flight and retries.
    """
    for listener in list(_listeners):
        listener({"event": event, **values})


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


Progress = Callable[[str, int, int], None]  # step, done so far, of how many


def counter(progress: Progress, step: str, total: int) -> Callable[[int], None]:
    """An `on_done` that reports a step's progress."""
    done = 0

    def count(n: int) -> None:
        nonlocal done
        done += n
        progress(step, done, total)

    return count
