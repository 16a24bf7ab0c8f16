"""Servers of our own: started, watched, and never left behind. And how model folders are told apart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llmlabel.errors import BackendError
from llmlabel.llm import weights
from llmlabel.llm.process import ServerProcess, free_port

# a server with a child of its own, which ignores the polite signal
STUBBORN = """
import http.server, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(99)"])
print("pids", child.pid, flush=True)
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""


def start(code: str, *args: str) -> ServerProcess:
    return ServerProcess([sys.executable, "-c", code, *args], os.environ, title="toy", advice="do this")


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z"


def soon(true: Callable[[], bool], seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


def grandchild(log: Path) -> int:
    assert soon(lambda: "pids" in log.read_text())
    return int(log.read_text().split("pids ")[1].split()[0])


def test_ready_then_stopped_with_all_its_children() -> None:
    port = free_port()
    server = start(STUBBORN, str(port))
    server.wait_ready(f"http://127.0.0.1:{port}/", 20)
    server.check()
    pid = grandchild(server.log)
    assert not gone(pid)
    server.stop()
    server.stop()
    assert soon(lambda: gone(pid))
    assert not server.log.exists()


def test_one_that_ends_by_itself_shows_the_end_of_its_log() -> None:
    server = start("print('\\n'.join(f'line {i}' for i in range(99))); raise SystemExit('no memory')")
    with pytest.raises(BackendError) as error:
        server.wait_ready("http://127.0.0.1:9/", 20)
    text = str(error.value)
    assert "do this" in text
    assert "no memory" in text
    assert "line 98" in text
    assert "line 3\n" not in text
    server.stop(keep_log=True)
    assert server.log.exists()
    server.log.unlink()


def test_one_that_is_never_ready() -> None:
    server = start("import time; time.sleep(99)")
    with pytest.raises(BackendError, match="not ready after 1 s"):
        server.wait_ready("http://127.0.0.1:9/", 1)
    server.stop()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None])
def test_nothing_is_left_when_the_owner_ends(how: signal.Signals | None, tmp_path: Path) -> None:
    """Killed, told to end, interrupted with Ctrl-C, or at its own end without having called stop."""
    port = free_port()
    code = (
        "import os, sys, time\nfrom llmlabel.llm.process import ServerProcess\n"
        f"s = ServerProcess([sys.executable, '-c', {STUBBORN!r}, '{port}'], os.environ, title='toy', advice='')\n"
        f"s.wait_ready('http://127.0.0.1:{port}/', 20)\nprint(s.log, flush=True)\n" + ("time.sleep(99)" if how else "")
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=_with_path()) as owner:
        assert owner.stdout is not None
        log = Path(owner.stdout.readline().decode().strip())
        pid = grandchild(log) if how else None
        if how:
            owner.send_signal(how)
        owner.wait(30)
    if pid is None:
        assert not log.exists()
        return
    assert soon(lambda: gone(pid))
    assert log.exists() == (how != signal.SIGINT), "Ctrl-C ends in an orderly way"
    log.unlink(missing_ok=True)


def _with_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


class TestRevision:
    def test_same_size_other_weights(self, tmp_path: Path) -> None:
        """A fine-tuned model has files of the same names and sizes as its base."""
        seen = set()
        for i in range(3):
            raw = bytearray(b"\0" * 3_000_000)
            raw[1_000_000 * i : 1_000_000 * (i + 1)] = b"\1" * 1_000_000
            (tmp_path / "model.safetensors").write_bytes(raw)
            seen.add(weights.revision(weights.folder_weights(tmp_path)))
        assert len(seen) == 3

    def test_the_same_files_elsewhere(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "model.safetensors").write_bytes(b"x" * 10)
        one, other = (weights.revision(weights.folder_weights(tmp_path / n)) for n in ("a", "b"))
        assert one == other != ""

    def test_no_folder(self, tmp_path: Path) -> None:
        assert weights.revision(weights.folder_weights(tmp_path / "org" / "model")) == ""
