"""Run a command that is killed at random a few times, and then to its end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence


def killed(
    command: Sequence[str], kills: int, draw: random.Random, longest: float, shortest: float = 5.0,
    on_kill: Callable[[float], None] = lambda seconds: None,
) -> int:  # fmt: skip
    """Kill it up to `kills` times, each `shortest` to `longest` seconds after its start, unless it ends before; then let it end
    well.

    Args:
        on_kill: told after each kill how many seconds after the start it came.
    Returns: how often it was killed.
    """
    done = 0
    while done < kills:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        seconds = draw.uniform(shortest, longest)
        time.sleep(seconds)
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        on_kill(seconds)
        done += 1
    last = subprocess.run(command, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr[-3000:]
    return done
