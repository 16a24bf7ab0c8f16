"""A server of our own on this machine: started with a log, watched, and never left behind."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from llmlabel.errors import BackendError
from llmlabel.llm import supervise

LOG_LINES = 15


class ServerProcess:
    """One command with its process group and log file; ended by `stop`, at exit, and when this process is killed.

    Args:
        title, advice: how error messages name it, and what they tell to do.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], *, title: str, advice: str) -> None:
        self.title, self._advice = title, advice
        with tempfile.NamedTemporaryFile("w", prefix=f"llmlabel-{title}-", suffix=".log", delete=False) as log:
            self.log = Path(log.name)
            self._process = subprocess.Popen(
                [sys.executable, "-I", supervise.__file__, *command],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=env, start_new_session=True,
            )  # fmt: skip
        atexit.register(self.stop)

    def wait_ready(self, url: str, seconds: float) -> None:
        """Return when `url` answers with 200. Raises: BackendError when the process ends first or takes longer."""
        end, opener = time.monotonic() + seconds, build_opener(ProxyHandler({}))
        while time.monotonic() < end:
            self.check()
            try:
                with opener.open(url, timeout=5):
                    return
            except OSError:  # URLError is one
                time.sleep(0.2)
        raise self.failure(f"was not ready after {seconds:.0f} s")

    def check(self) -> None:
        """Raises: BackendError with the end of the log when the process has ended."""
        if self.ended():
            raise self.failure("has ended by itself")

    def ended(self) -> bool:
        return self._process.poll() is not None

    def failure(self, what: str) -> BackendError:
        """An error that shows the end of the log."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        except FileNotFoundError:
            lines = ["(removed when it was stopped)"]
        end_of_log = "\n".join(f"  {line[:300]}" for line in lines)
        return BackendError(f"{self.title} {what}; {self._advice}. The end of its log {self.log}:\n{end_of_log}")

    def stop(self, *, keep_log: bool = False) -> None:
        """End the whole process group and wait for it; a second call does nothing."""
        atexit.unregister(self.stop)
        keep_log = keep_log or self._process.poll() not in (None, -signal.SIGKILL)
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(supervise.GRACE + 5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if not keep_log:
            self.log.unlink(missing_ok=True)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
