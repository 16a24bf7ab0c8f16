"""Run a command that must not outlive the process that wanted it; standard library only.

`python -I supervise.py COMMAND ...` with a pipe as standard input, in a session of its own. The owner holds the other
end of the pipe; when that closes, by intent or because the owner was killed, the whole process group gets SIGTERM and
after GRACE seconds SIGKILL. (PR_SET_PDEATHSIG would fire when the owner's *thread* ends, and spares grandchildren.)
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

GRACE = 8.0  # seconds


def main(command: list[str]) -> None:
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_until_closed, args=(over,), daemon=True).start()
    while child.poll() is None and not over.wait(0.1):
        pass
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE)
    os.killpg(0, signal.SIGKILL)  # whatever is left of the group, this process included


def _until_closed(over: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    over.set()


if __name__ == "__main__":
    main(sys.argv[1:])
