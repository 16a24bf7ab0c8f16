"""Prefect's server, as commands need it: the one there is, or one of our own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from llmlabel.errors import BackendError, ConfigError

PORT = 4200
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
    process = _start(port, root)
    os.environ["PREFECT_API_URL"] = f"{root}/api"  # before Prefect is imported
    try:
        yield
    finally:
        process.stop()


def _start(port: int, root: str) -> Any:
    import sys

    from llmlabel.llm.process import ServerProcess

    env = {**SAFE, **QUIET, **os.environ, "PREFECT_UI_API_URL": f"{root}/api"}
    env.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = ServerProcess(command, env, title="prefect-server", advice="see its log")
    try:
        process.wait_ready(f"{root}/api/health", 120)
    except BackendError:
        process.stop(keep_log=True)
        raise
    return process
