"""Model servers that llmlabel processes of this user run on this machine: one small file each, and a lock beside it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

import platformdirs

from llmlabel.errors import BackendError

SECONDS = 20.0  # for a health check


@dataclass(frozen=True)
class Wanted:
    """What makes two servers interchangeable. `source`: folder or hub id of the model, `program`: what runs it."""

    source: str
    revision: str
    program: str
    flags: tuple[str, ...]

    @property
    def file(self) -> Path:
        digest = hashlib.blake2b(json.dumps(asdict(self), sort_keys=True).encode(), digest_size=12).hexdigest()
        return _folder() / f"{digest}.json"


@dataclass(frozen=True)
class Running:
    """A server that is ready. `model`: the name it serves it under, `pid`: the llmlabel process that stops it."""

    url: str
    model: str
    pid: int


def _folder() -> Path:
    """Of this user and machine: a home may be shared by many machines, where 127.0.0.1 is not the same."""
    folder = platformdirs.user_cache_path("llmlabel") / "servers" / (socket.gethostname() or "localhost")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@contextlib.contextmanager
def only_one(wanted: Wanted, seconds: float) -> Iterator[None]:
    """While it is held, no other process looks for or starts this server. The system frees it when its holder dies.

    Raises: BackendError after that many seconds.
    """
    end = time.monotonic() + seconds
    with wanted.file.with_suffix(".lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    text = f"another process has been starting the same server for {seconds:.0f} s; it holds {file.name}"
                    raise BackendError(text) from None
                time.sleep(0.1)
        yield


def find(wanted: Wanted, key: str) -> Running | None:
    """The server of another live process, if it answers and serves that model; the file of one that does not is removed."""
    try:
        if wanted.file.stat().st_uid != os.getuid():
            return None
        raw = json.loads(wanted.file.read_text(encoding="utf-8"))
        running = Running(str(raw["url"]), str(raw["model"]), int(raw["pid"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        running = None
    if running and _lives(running.pid) and health(running.url) == "up" and _serves(running, wanted, key):
        return running
    wanted.file.unlink(missing_ok=True)
    return None


def write(wanted: Wanted, running: Running) -> None:
    """Tell others, readable by this user only; the file appears whole or not at all. Files of dead processes go."""
    for other in _folder().glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if not _lives(int(json.loads(other.read_text(encoding="utf-8"))["pid"])):
                other.unlink()
    part = wanted.file.with_suffix(f".{os.getpid()}")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump({**asdict(wanted), **asdict(running)}, file, indent=1)
    part.replace(wanted.file)


def remove(wanted: Wanted, running: Running) -> None:
    """Take our own entry away, not one that somebody has written since."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        raw = json.loads(wanted.file.read_text(encoding="utf-8"))
        if (raw.get("url"), raw.get("pid")) == (running.url, running.pid):
            wanted.file.unlink()


def health(url: str) -> Literal["up", "down", "silent"]:
    """`down`: nobody listens, or the server says that it cannot go on; `silent`: no answer in time, perhaps just busy."""
    try:
        _get(f"{url}/health", "")
    except HTTPError as e:
        return "down" if e.code >= 500 else "up"
    except (OSError, ValueError) as e:
        refused = isinstance(e, URLError) and isinstance(e.reason, ConnectionRefusedError)
        return "down" if refused else "silent"
    return "up"


def served(url: str, key: str) -> list[dict[str, Any]]:
    """The models of an OpenAI-compatible server. Raises: OSError, ValueError, KeyError or TypeError."""
    return list(json.loads(_get(f"{url}/v1/models", key))["data"])


def _serves(running: Running, wanted: Wanted, key: str) -> bool:
    try:
        models = served(running.url, key)
        return any(m["id"] == running.model and m.get("root", wanted.source) == wanted.source for m in models)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _get(url: str, key: str) -> bytes:
    request = Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    with build_opener(ProxyHandler({})).open(request, timeout=SECONDS) as answer:
        return bytes(answer.read())


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return pid > 0
