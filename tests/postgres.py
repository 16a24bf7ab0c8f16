"""A real PostgreSQL for tests (Debian's), in a folder of its own, to be killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmlabel.llm.process import free_port


def binaries() -> Path | None:
    """The newest server's folder, None where none is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def needed() -> Path:
    """As `binaries`; without them the test is skipped, but fails in CI, which installs them."""
    found = binaries()
    if found is None and os.environ.get("CI"):
        pytest.fail("no PostgreSQL here; .ci/apt.txt names it")
    if found is None:
        pytest.skip("no PostgreSQL server is installed")
    return found


class Postgres:
    """A server process; it does not run as root, so that root becomes the user Debian made for it."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.folder, self.port = needed(), folder, free_port()
        self.url = f"postgresql+asyncpg://prefect@127.0.0.1:{self.port}/postgres"
        self._user = "postgres" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            shutil.chown(folder, self._user)
        self._do("initdb", "--pgdata", str(folder / "data"), "--username", "prefect", "--auth", "trust", "--no-sync")

    def _do(self, *words: str) -> None:
        command = [str(self.bin / words[0]), *words[1:]]
        subprocess.run(command, check=True, capture_output=True, user=self._user, cwd=self.folder)

    def start(self) -> None:
        command = [str(self.bin / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), "-k", str(self.folder)]
        self._process = subprocess.Popen(
            [*command, "-c", "listen_addresses=127.0.0.1"], user=self._user, cwd=self.folder, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(150):
            ready = [str(self.bin / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
            if subprocess.run(ready, check=False).returncode == 0:
                return
            time.sleep(0.2)
        raise TimeoutError("PostgreSQL did not start")

    def kill(self) -> None:
        """kill -9 of the server and every process it has started."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
        self._process = None


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Its folder is no part of pytest's, which other users may not enter."""
    with tempfile.TemporaryDirectory(prefix="llmlabel-postgres-") as folder:
        server = Postgres(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()
