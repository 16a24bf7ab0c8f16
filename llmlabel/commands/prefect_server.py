"""Prefect's server, as commands need it: the one there is, or one of our own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

from llmlabel.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from llmlabel.llm.process import ServerProcess

PORT = 4200
START_SECONDS = 180.0
QUIET = {  # where flows run
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
}
SAFE = {  # slots of limits that outlive the server: with Prefect's default a restart loses them, and they stay taken for ever
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"
}
HELP = (
    "start one in another terminal with `prefect server start`, and say where it is: "
    "export PREFECT_API_URL=http://127.0.0.1:4200/api; or let `llmlabel serve --server` start one"
)


def connected() -> str:
    """The address of the server's API. Raises: ConfigError when none is named, or it does not answer."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from prefect.settings import PREFECT_API_URL

    url = str(PREFECT_API_URL.value() or "")
    if not url:
        raise ConfigError(f"deployments live on a Prefect server, and none is named; {HELP}")
    try:
        urlopen(f"{url}/health", timeout=10).close()
    except HTTPError as e:  # it answers, and wants a key
        if e.code not in (401, 403):
            raise ConfigError(f"the Prefect server at {url} answers {e.code}; is PREFECT_API_URL right? It ends in /api") from e
    except OSError as e:
        raise ConfigError(f"no Prefect server answers at {url}; {HELP}") from e
    return url


@contextmanager
def told_when_gone() -> Iterator[None]:
    """Raises: BackendError when Prefect's server went away under a run."""
    import httpx
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_URL

    try:
        yield
    except (httpx.TransportError, PrefectHTTPStatusError, RuntimeError) as e:
        if isinstance(e, RuntimeError) and "Failed to reach API" not in str(e):
            raise
        where = PREFECT_API_URL.value() or "of this command"
        raise BackendError(
            f"the Prefect server {where} is gone, or its database: {str(e)[:200]}. What was answered is kept: once it is back, "
            "the same command goes on where it stopped"
        ) from e


def ui(url: str) -> str:
    """Where a person looks."""
    from prefect.settings import PREFECT_UI_URL

    return str(PREFECT_UI_URL.value() or url.removesuffix("/api"))


@contextmanager
def own_server(port: int) -> Iterator[None]:
    """A Prefect server for as long as this command runs; its database stays in PREFECT_HOME.

    Raises: ConfigError when the port is taken, BackendError when it does not start.
    """
    root = f"http://127.0.0.1:{port}"
    with suppress(OSError):
        urlopen(root, timeout=2).close()
        raise ConfigError(f"--server: something listens on port {port} already; name another --port, or use it without --server")
    env = {**SAFE, **QUIET, **os.environ, "PREFECT_UI_API_URL": f"{root}/api"}
    env.pop("PREFECT_API_URL", None)
    with _started(["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)], env) as process:
        _wait_for(process, root)
        os.environ["PREFECT_API_URL"] = f"{root}/api"  # before Prefect is imported
        yield


@contextmanager
def flow_server() -> Iterator[Callable[[], None]]:
    """The server a flow of this command runs on: that of PREFECT_API_URL, else one for as long as this command runs.

    That is Prefect's own temporary server, without a UI; but it ends with this process also where that is killed.

    Yields: waits until the server is ready; what takes time can be done before.
    Raises: BackendError when it does not start.
    """
    from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

    from llmlabel.llm.process import free_port

    if PREFECT_API_URL.value():
        yield lambda: None
        return
    port = free_port()
    root = f"http://127.0.0.1:{port}"
    own = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    env = {**os.environ, **own, **get_current_settings().to_environment_variables(exclude_unset=True)}
    where = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    command = ["uvicorn", "--factory", "prefect.server.api.server:create_app", *where]
    with _started(command, env) as process, temporary_settings({PREFECT_API_URL: f"{root}/api"}):
        try:
            yield lambda: _wait_for(process, root)
        finally:
            _told_all()


def _told_all() -> None:
    """What Prefect has still to tell its server, before that is stopped: it would try for more than a minute."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=5)


@contextmanager
def _started(command: Sequence[str], env: Mapping[str, str]) -> Iterator[ServerProcess]:
    """`python -m COMMAND`, stopped at the end."""
    from llmlabel.llm.process import ServerProcess

    process = ServerProcess([sys.executable, "-m", *command], env, title="prefect-server", advice="see its log")
    try:
        yield process
    finally:
        process.stop()


def _wait_for(process: ServerProcess, root: str) -> None:
    try:
        process.wait_ready(f"{root}/api/health", START_SECONDS)
    except BackendError:
        process.stop(keep_log=True)
        raise
