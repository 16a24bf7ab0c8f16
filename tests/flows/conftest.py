"""A Prefect server of the tests' own, and real command-line runs against the fake model server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import smart_model
from fake_openai import FakeOpenAI

ROWS = 240


@pytest.fixture(scope="session", autouse=True)
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the tests gets into the user's own Prefect database."""
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "180"
    os.environ["DO_NOT_TRACK"] = "1"
    yield


@pytest.fixture(scope="session")
def prefect_server(prefect_home: None) -> Iterator[str]:
    """A real Prefect server; yields its API's URL."""
    from llmlabel.llm.process import free_port

    port = free_port()
    env = dict(os.environ, PREFECT_SERVER_ANALYTICS_ENABLED="false", PREFECT_UI_API_URL=f"http://127.0.0.1:{port}/api")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    url = f"http://127.0.0.1:{port}/api"
    _wait_until_up(url, server)
    yield url
    server.terminate()
    server.wait(30)


def _wait_until_up(url: str, server: subprocess.Popen[bytes]) -> None:
    import time
    import urllib.request

    for _ in range(300):
        assert server.poll() is None, "the Prefect server ended"
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2)
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the Prefect server did not start")


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    rows = smart_model.letters(ROWS)
    path = tmp_path / "letters.parquet"
    pq.write_table(pa.table({"text": [t for t, _ in rows], "topic": [g for _, g in rows]}), path)
    return path


@pytest.fixture
def smart_server() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(smart_model.answer) as server:
        yield server


class CommandLine:
    """Runs `llmlabel` as a user would, on the fake model server."""

    def __init__(self, folder: Path, server: FakeOpenAI, prefect: str) -> None:
        self.folder, self.server = folder, server
        self.env = dict(os.environ, PREFECT_API_URL=prefect, LLMLABEL_API_KEY="sk-canary-1234567890")

    def command(self, *more: str) -> list[str]:
        script = Path(sys.executable).with_name("llmlabel")
        return [
            str(script), "run", "taxonomy", "--use-case", "why passengers write", "--cache", str(self.folder / "cache"),
            "--llm", f"fake-1@{self.server.url}", "--set", "embedder=tfidf", "--set", "student=logistic_regression",
            "--batch-size", "60", "--label-with-llm", "80", "--json", *more,
        ]  # fmt: skip

    def run(self, *more: str, timeout: float = 240) -> tuple[int, list[dict[str, Any]], str]:
        """Exit code, events, and what stood on stderr."""
        return self._done(self.command(*more), timeout)

    def other(self, *words: str, timeout: float = 240) -> tuple[int, list[dict[str, Any]], str]:
        """As `run`, of another command on the same cache."""
        script = str(Path(sys.executable).with_name("llmlabel"))
        return self._done([script, *words, "--cache", str(self.folder / "cache"), "--json"], timeout)

    def plain(self, *words: str, timeout: float = 240) -> tuple[int, list[dict[str, Any]], str]:
        """A command that takes --json only."""
        return self._done([str(Path(sys.executable).with_name("llmlabel")), *words, "--json"], timeout)

    def _done(self, command: list[str], timeout: float) -> tuple[int, list[dict[str, Any]], str]:
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=timeout, check=False)
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*more),
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


@pytest.fixture
def cli(tmp_path: Path, smart_server: FakeOpenAI, prefect_server: str) -> CommandLine:
    return CommandLine(tmp_path, smart_server, prefect_server)
