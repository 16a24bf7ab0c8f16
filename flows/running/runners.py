"""What the parts of a run are carried out on: processes of this machine, or a Ray or Dask cluster, by Prefect's task runners."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any, Protocol

from prefect import Task
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from llmlabel.config import RunnerConfig
from llmlabel.errors import BackendError, ConfigError, LlmlabelError
from llmlabel.events import emit

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "1", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "DASK_LOGGING__DISTRIBUTED": "critical",
}  # fmt: skip
LOST = ("concurrent.futures.", "ray.", "distributed.")  # whose errors say that a worker is gone


class Sized(Protocol):
    """Calls that are made up one by one, when there is room for the next."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Mapping[str, Any]]: ...


class Calls:
    """`count` calls at the most."""

    def __init__(self, count: int, calls: Iterable[Mapping[str, Any]]) -> None:
        self._count, self._calls = count, calls

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self._calls)


def at_once(config: RunnerConfig, parts: int) -> int:
    """How many parts run side by side, where nothing else keeps workers busy."""
    return max(1, min(config.workers or _cores(), parts))


def carried_out(config: RunnerConfig, task: Task[..., Any], calls: Sized, most: int | None = None) -> Iterator[tuple[int, Any]]:
    """Carry out a task once for each of `calls`, its parameters, side by side.

    Args:
        most: calls that are out at once; default: all of them, on a running cluster as many as `workers` says.
    Yields: number of the call and what it returned, in the order of the calls.
    Raises: the first error of a call, once all others are done: what they wrote is kept. BackendError for a worker that is gone.
    """
    failed: list[BaseException] = []
    with runner(config, len(calls)) as running:
        waiting: deque[tuple[int, Any]] = deque()
        most = most or (config.workers if config.workers and config.address else len(calls))
        for n, parameters in enumerate(calls):
            waiting.append((n, running.submit(task, dict(parameters))))
            if len(waiting) >= most:
                yield from _ended(waiting, failed)
        while waiting:
            yield from _ended(waiting, failed)
    if failed:
        emit("note", text=f"{len(failed)} of {len(calls)} parts failed; the same command goes on with them")
        raise failed[0]


def _ended(waiting: deque[tuple[int, Any]], failed: list[BaseException]) -> Iterator[tuple[int, Any]]:
    n, future = waiting.popleft()
    try:
        found = future.result()
    except Exception as e:
        told = _told(e)
        if str(told) not in map(str, failed):
            emit("note", text=f"part {n + 1}: {told}")
        failed.append(told)
    else:
        yield n, found


def _told(error: Exception) -> Exception:
    if isinstance(error, LlmlabelError) or not type(error).__module__.startswith(LOST):
        return error
    lost = BackendError(
        f"a worker was lost ({type(error).__name__}): killed, or out of memory? The same command goes on with its parts; "
        "--workers says how many run at once, --part-rows how large they are"
    )
    lost.__cause__ = error
    return lost


@contextmanager
def runner(config: RunnerConfig, parts: int) -> Iterator[TaskRunner[Any]]:
    """A started task runner. Where it has a cluster of its own, every worker computes on one thread.

    Raises: ConfigError when its package is not installed, or the cluster does not answer.
    """
    for package in (config.runner, f"prefect_{config.runner}"):
        if config.runner != "processes" and find_spec(package) is None:
            raise ConfigError(
                f"runner {config.runner!r} needs {package}: pip install 'llmlabel[{config.runner}]', or use processes"
            )
    workers = at_once(config, parts)
    os.environ.update(QUIET)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(max(1, _cores() // workers))
    try:
        with nullcontext() if config.address else _one_server(), RUNNERS[config.runner](config.address, workers) as running:
            try:
                yield running
            except BaseException:
                _end_processes()
                raise
    except (ConnectionError, TimeoutError) as e:
        raise ConfigError(f"no {config.runner} cluster answers at {config.address}: {e}") from e
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


@contextmanager
def _one_server() -> Iterator[None]:
    """Workers of this machine tell the Prefect server of this run, also where that is a temporary one."""
    here = FlowRunContext.get()
    if here is None or PREFECT_API_URL.value():
        yield
        return
    with temporary_settings({PREFECT_API_URL: str(here.client.api_url)}):
        yield


def _end_processes() -> None:
    """A run that is stopped waits for no part; what its workers have bought is in the answer store."""
    for process in multiprocessing.active_children():
        process.terminate()


def _end_with_parent() -> None:
    """No worker outlives a run that was killed: it would go on buying, and keep its part locked."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _processes(address: str | None, workers: int) -> TaskRunner[Any]:
    if address:
        raise ConfigError("address: processes are of this machine; name runner ray or dask")
    return ProcessPoolTaskRunner(max_workers=workers, initializer=_end_with_parent)


def _ray(address: str | None, workers: int) -> TaskRunner[Any]:
    import ray  # sets up its log when it is imported
    from prefect_ray import RayTaskRunner

    logging.getLogger(ray.__name__).setLevel(logging.ERROR)

    own = {"num_cpus": workers, "include_dashboard": False} if not address else {}
    return RayTaskRunner(address=address, init_kwargs={"log_to_driver": False, "configure_logging": False, **own})


def _dask(address: str | None, workers: int) -> TaskRunner[Any]:
    from prefect_dask import DaskTaskRunner

    own = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    return DaskTaskRunner(address=address) if address else DaskTaskRunner(cluster_kwargs=own)


RUNNERS: dict[str, Callable[[str | None, int], TaskRunner[Any]]] = {"processes": _processes, "ray": _ray, "dask": _dask}
