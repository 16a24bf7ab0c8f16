"""How a run ends, and what it says on its way, in Prefect's UI: a state with a message, and a log of a few lines."""

from __future__ import annotations

import asyncio
import errno
import logging
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from llmlabel.errors import BudgetReached, DataError, LlmlabelError, TimedOut
from llmlabel.events import listening
from llmlabel.records import Status
from llmlabel.report.words import clean, count, duration, listed, money, without_credentials
from llmlabel.runs import PARTIAL

LOG_EVERY = 300.0  # seconds between two lines about the progress of one step
NAMED = (BudgetReached, TimedOut)  # errors whose state has their name
LONGEST = 600  # characters of a line
GOES_ON = "stopped; what was answered is kept: run it again with the same settings and the same `out`, and it goes on from there"


def watched(function: Callable[[Any], dict[str, Any]]) -> Callable[[Any], Any]:
    """The function of a flow, so that in Prefect's UI its state says how it ended and its log how it went.

    A deliberate error, and the end of its time, becomes the message of a Failed state (BudgetReached and TimedOut of states of
    those names); a run that ends with failed rows is Completed by the name of Partial. Whoever calls the flow gets the result,
    or the error, as without this. Where Prefect is to try again, it has to see the error itself.
    """

    @wraps(function)
    def run(config: Any) -> Any:
        here = FlowRunContext.get()
        if here is None:
            return function(config)
        with run_log():
            try:
                found = function(config)
            except (LlmlabelError, OSError, asyncio.CancelledError) as e:
                told = _deliberate(e)
                if told is None or (here.flow and here.flow.retries):
                    raise
                name = next((kind.__name__ for kind in NAMED if isinstance(told, kind)), None)
                return Failed(name=name, message=str(told), data=told)
        return Completed(name="Partial" if found["exit"] == PARTIAL else None, message=_outcome(found), data=found)

    return run


def _deliberate(error: LlmlabelError | OSError | asyncio.CancelledError) -> LlmlabelError | None:
    """The error in words that say what to do; None where it is a fault of the program."""
    if isinstance(error, LlmlabelError):
        return error
    if isinstance(error, asyncio.CancelledError):  # how Prefect's time limit gets into a running flow, and into its subflow
        return TimedOut(f"its time limit was reached, so it {GOES_ON}; or give it a larger `time_limit`")
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    told = DataError(f"the disk is full ({error}). Free some space, then run again: what was answered is kept")
    told.__cause__ = error
    return told


def _outcome(found: dict[str, Any]) -> str:
    """What came out, in a sentence or two."""
    counts = {name: n for name, n in (found.get("counts") or {}).items() if isinstance(n, int)}
    said = [listed([f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items()])] if counts else []
    said += [money(found["cost"])] if isinstance(found.get("cost"), int | float) else []
    out = found["out"] if "://" in found["out"] else Path(found["out"]).resolve()
    if found["exit"] != PARTIAL or "note" in found:
        return f"{'; '.join([*said, str(out)])}. {found.get('note', '')}".rstrip()
    failed = sum(n for name, n in counts.items() if name in set(Status) and Status(name).failed)
    some = f"{failed:,} of {count(sum(counts.values()), 'row')}" if failed else "Some rows"
    again = f"run this once more with the same settings, or: {shlex.join(['llmlabel', 'retry', str(out)])}"
    return f"{some} failed. To ask them again, {again}. All: {'; '.join(said)}."


_logs: list[RunLog] = []  # of the flow and the subflows in it that are running; events are about the last


@contextmanager
def run_log() -> Iterator[None]:
    """Write this run's events to its log in Prefect, and keep noise out of that."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_QUIET)
    log = RunLog(get_run_logger())
    _logs.append(log)
    try:
        with listening(log):
            yield
    except (LlmlabelError, OSError, asyncio.CancelledError):
        raise
    except Exception:
        log.warn(f"{GOES_ON}, once the cause is mended")
        raise
    except BaseException:
        log.warn(GOES_ON)
        raise
    finally:
        log.end_step()
        _logs.remove(log)


class RunLog:
    """A listener for run events: a line for the start, for each step that has ended with its figures, and for notes.

    Args:
        logger: the run's logger in Prefect; it takes lines from any thread.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._step, self._began, self._told = "", 0.0, 0.0
        self._last: dict[str, dict[str, Any]] = {}  # progress event by what it counts, of this step

    def __call__(self, event: dict[str, Any]) -> None:
        if self is _logs[-1] and (tell := getattr(self, f"_on_{event['event']}", None)):
            tell(event)

    def warn(self, text: str) -> None:
        self._logger.warning(text)

    def end_step(self) -> None:
        """A line with what the step did and how long it took."""
        if self._step:
            self._say(f"{self._step}: {duration(time.monotonic() - self._began)}{self._figures()}")
        self._step, self._last = "", {}

    def _say(self, text: str) -> None:
        self._logger.info("%s", clean(without_credentials(text), LONGEST))

    def _on_start(self, event: dict[str, Any]) -> None:
        self._say(f"{event['flow']} of {count(event['rows'], 'row')}; run folder {Path(event['out']).resolve()}")

    def _on_note(self, event: dict[str, Any]) -> None:
        self._say(event["text"])

    def _on_step(self, event: dict[str, Any]) -> None:
        self.end_step()
        self._step, self._began = event["step"], time.monotonic()
        self._told = self._began

    def _on_progress(self, event: dict[str, Any]) -> None:
        self._last[event["step"]] = event
        if time.monotonic() - self._told >= LOG_EVERY:
            self._told = time.monotonic()
            self._say(f"{self._step or event['step']} goes on{self._figures()}")

    def _figures(self) -> str:
        """`; 120 of 120; $0.01 of $5.00; 3 retries` from the progress events so far."""
        if not self._last:
            return ""
        event = list(self._last.values())[-1]
        done = [f"{'' if name == self._step else f'{name} '}{_reached(e)}" for name, e in self._last.items()]
        spent, retries = _money(event), event.get("retries") or 0
        return "; ".join(["", ", ".join(done), *[spent] * bool(spent), *[count(retries, "retry", "retries")] * bool(retries)])


def _reached(event: dict[str, Any]) -> str:
    return f"{event['done']:,}" + (f" of {event['total']:,}" if event["total"] is not None else "")


def _money(event: dict[str, Any]) -> str:
    """`$0.12 of $5.00`; "" where nothing was spent and there is no cap."""
    cost, budget = event.get("cost") or 0.0, event.get("budget")
    return f"{money(cost)} of {money(budget)}" if budget else money(cost) if cost else ""


class _Quiet(logging.Filter):
    """Keeps out of the log that every task has ended (the UI shows each task's state), and a deliberate error's traceback: its
    message is the state's."""

    def filter(self, record: logging.LogRecord) -> bool:
        of_task = record.name == "prefect.task_runs"
        if record.exc_info and isinstance(record.exc_info[1], LlmlabelError):
            record.exc_info = None
            return not of_task
        return not (of_task and str(record.msg).startswith("Finished in state"))


_QUIET = _Quiet()
