"""A real Prefect server for tests: on a port and in a home of its own, to be killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmlabel.llm.process import free_port

FILESYSTEM_LEASES = "prefect.server.concurrency.lease_storage.filesystem"


class PrefectServer:
    """A server process.

    Args:
        home: its PREFECT_HOME, where the SQLite database and the log (server.log) are. database: a connection URL
            (postgresql+asyncpg://...) instead of SQLite. settings: more environment variables.
    """

    def __init__(self, home: Path, database: str | None = None, **settings: str) -> None:
        self.home, self.port = home, free_port()
        self.root = f"http://127.0.0.1:{self.port}"
        self.api = f"{self.root}/api"
        self._env = {
            **os.environ, "PREFECT_HOME": str(home), "PREFECT_UI_API_URL": self.api, "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": FILESYSTEM_LEASES,
            **({"PREFECT_API_DATABASE_CONNECTION_URL": database} if database else {}), **settings,
        }  # fmt: skip
        self._env.pop("PREFECT_API_URL", None)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        """The environment of a client, worker or command that uses this server."""
        return {**os.environ, "PREFECT_API_URL": self.api, "PREFECT_HOME": str(self.home), "DO_NOT_TRACK": "1"}

    @property
    def database(self) -> Path:
        return self.home / "prefect.db"

    def start(self, seconds: float = 120) -> None:
        """Start it, again on the same port and home, and wait until it is healthy."""
        self.home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=self._env, stdout=log, stderr=log, start_new_session=True)
        self.wait(lambda: self.healthy, seconds, "the server to be healthy")

    @property
    def healthy(self) -> bool:
        if self._process and self._process.poll() is not None:
            raise RuntimeError(f"the server stopped:\n{(self.home / 'server.log').read_text()[-2000:]}")
        try:
            urllib.request.urlopen(f"{self.api}/health", timeout=2).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """kill -9, with all it has started."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            os.killpg(process.pid, how)
            process.wait(30)
        except ProcessLookupError:
            pass
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """The API's answer as JSON, after some tries where it is busy; `urllib.error.HTTPError` where it refuses."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.api}/{path}", data, {"Content-Type": "application/json"}, method=method)
        for left in reversed(range(6)):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    said = answer.read()
                return json.loads(said) if said else None
            except urllib.error.HTTPError as e:
                if e.code != 503 or not left:  # what Prefect's own client tries again
                    raise
                time.sleep(1)

    def found(self, kind: str, **filters: Any) -> list[dict[str, Any]]:
        """All flow_runs, deployments, artifacts, logs, ... that the filters let through."""
        return list(self.request("POST", f"{kind}/filter", filters))

    def deployment(self, name: str) -> dict[str, Any]:
        """By FLOW/NAME."""
        return dict(self.request("GET", f"deployments/name/{name}"))

    def launch(self, name: str, config: dict[str, Any]) -> str:
        """A run of a deployment, as the form's button makes it. Returns: its id."""
        body = {"parameters": {"config": config}, "state": {"type": "SCHEDULED"}}
        return str(self.request("POST", f"deployments/{self.deployment(name)['id']}/create_flow_run", body)["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        return dict(self.request("GET", f"flow_runs/{run_id}"))

    def ended(self, run_id: str, seconds: float = 240) -> dict[str, Any]:
        """The final state of a flow run, once it has one."""
        final = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
        self.wait(lambda: self.run(run_id)["state_type"] in final, seconds, f"run {run_id} to end")
        return dict(self.run(run_id)["state"])

    @staticmethod
    def wait(until: Callable[[], Any], seconds: float, what: str) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := until():
                return value
            time.sleep(0.2)
        raise TimeoutError(f"waited {seconds:.0f} s for {what}")


@contextmanager
def prefect_server(home: Path, database: str | None = None, **settings: str) -> Iterator[PrefectServer]:
    """A healthy server that is stopped at the end."""
    server = PrefectServer(home, database, **settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()
