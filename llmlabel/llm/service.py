"""A model server to talk to, our own or another process's, that is replaced when it goes away."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future

from llmlabel import events
from llmlabel.errors import BackendError
from llmlabel.llm import running
from llmlabel.llm.process import ServerProcess, free_port
from llmlabel.llm.running import Running, Wanted


class Service:
    """Find a running server or start one; restart one of our own once; stop only what we started.

    Args:
        launch: starts the server on a port. seconds: deadline until it is ready. key: its API key.
    """

    RESTARTS = 1

    def __init__(self, wanted: Wanted, launch: Callable[[int], ServerProcess], seconds: float, key: str) -> None:
        self._wanted, self._launch, self._seconds, self._key = wanted, launch, seconds, key
        self._process: ServerProcess | None = None  # None: somebody else's
        self._restarts, self._closed = 0, False
        self._lock, self._repair = threading.Lock(), Future[None]()
        self._repair.set_result(None)
        self.number = 0  # which server since the beginning
        self.running = Running("", "", 0)

    def open(self) -> None:
        """Blocks until there is a server that is ready. Raises: BackendError with the end of the log if it fails to start."""
        with running.only_one(self._wanted, self._seconds):
            found = running.find(self._wanted, self._key)
            self.running = found or self._start()
            self.number += 1

    def _start(self) -> Running:
        port = free_port()
        with self._lock:
            if self._closed:
                raise BackendError("closed while a server was to be started")
            process = self._process = self._launch(port)
        url = f"http://127.0.0.1:{port}"
        try:
            process.wait_ready(f"{url}/health", self._seconds)
            new = Running(url, str(running.served(url, self._key)[0]["id"]), os.getpid())
            running.write(self._wanted, new)
        except (OSError, ValueError, LookupError, TypeError) as e:
            process.stop(keep_log=True)
            raise process.failure(f"started, and cannot be used ({e})") from e
        except BaseException:
            process.stop(keep_log=True)
            raise
        return new

    async def check(self, number: int) -> None:
        """After a request to server `number` failed: return when there is one that may be asked again.

        Many requests may fail at once; all wait for the same repair, which runs in a thread of its own.
        Raises: BackendError when there will be none.
        """
        await asyncio.shield(asyncio.wrap_future(self._repaired(number)))

    def _repaired(self, number: int) -> Future[None]:
        with self._lock:
            if number == self.number and self._repair.done() and not self._closed:
                self._repair = Future()
                threading.Thread(target=self._run, args=(self._repair,), name="llmlabel-repair", daemon=True).start()
            return self._repair

    def _run(self, repair: Future[None]) -> None:
        try:
            self._replace_if_dead()
        except BaseException as e:  # goes to all who wait
            repair.set_exception(e)
        else:
            repair.set_result(None)

    def _replace_if_dead(self) -> None:
        state = running.health(self.running.url)
        if state == "up" or (state == "silent" and not (self._process and self._process.ended())):
            return
        if self._process:
            running.remove(self._wanted, self.running)
            self._process.stop(keep_log=True)
            if self._restarts >= self.RESTARTS:
                raise self._process.failure("has died again, after a restart")
            self._restarts += 1
            events.emit("note", text=f"{self._process.title} died and is started again; its log is {self._process.log}")
            self._process = None
        self.open()

    def close(self) -> None:
        """Stop a server of our own, also one that is being started."""
        with self._lock:
            self._closed, process = True, self._process
        if process:
            running.remove(self._wanted, self.running)
            process.stop()
