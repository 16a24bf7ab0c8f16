"""Run a command that is killed at random a few times, and then to its end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence


def killed(command: Sequence[str], kills: int, draw: random.Random, longest: float) -> int:
    """Kill it up to `kills` times, each 5 to `longest` seconds after its start, unless it ends before; then let it end well.

    Returns: how often it was killed.
    """
    done = 0
    while done < kills:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(draw.uniform(5, longest))
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        done += 1
    subprocess.run(command, check=True, capture_output=True)
    return done
