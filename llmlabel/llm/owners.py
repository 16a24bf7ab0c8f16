"""Which process wrote an open intent, and is it still alive?

Every process that uses a ledger holds a lock on a file of its own, which the system lets go when the process ends,
however it ends.
"""

from __future__ import annotations

import fcntl
import uuid
from pathlib import Path


class Owner:
    """This process's mark in a cache directory. Args: directory: where the files are."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.name = uuid.uuid4().hex
        self._directory = directory
        self._file = (directory / self.name).open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def lives(self, name: str) -> bool:
        """Is the process that wrote this name still there? The file of a dead one is removed."""
        file = self._directory / name
        try:
            with file.open() as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        file.unlink(missing_ok=True)
        return False

    def close(self) -> None:
        if not self._file.closed:
            (self._directory / self.name).unlink(missing_ok=True)
            self._file.close()
