"""Faults, kills and caps: whatever happens, every row ends answered or typed, and the books balance with the server's bill.

Small here; `make soak` sets LLMLABEL_SOAK=1 for the sizes of the promises. The seed is LLMLABEL_SOAK_SEED.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from books import added_up

from llmlabel.llm.ledger import Budget, Ledger, Send
from llmlabel.llm.loop import run_async
from llmlabel.llm.requests import Completion

SOAK = bool(os.environ.get("LLMLABEL_SOAK"))
SEED = int(os.environ.get("LLMLABEL_SOAK_SEED", "0"))
ROWS, KILLS = (20_000, 5) if SOAK else (1_200, 2)
KILL_POINTS = 1_000 if SOAK else 60
RATES = {"429": 0.1, "500": 0.05, "hang": 0.02, "bad_json": 0.02, "disconnect": 0.01}
IN_FLIGHT = 64
HERE = Path(__file__).parent


class Server:
    """The counting server in a process of its own."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, str(HERE.parent / "fake_openai.py"), "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    @property
    def stats(self) -> dict[str, Any]:
        with urlopen(self.url.removesuffix("/v1") + "/stats") as answer:
            return dict(json.load(answer))


@pytest.fixture
def faulty() -> Iterator[Server]:
    server = Server("--latency", "0.01", "--rates", json.dumps(RATES))
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture
def sound() -> Iterator[Server]:
    server = Server("--latency", "0.01")
    yield server
    server.process.kill()
    server.process.wait()


def start(server: Server, cache: Path, rows: int, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "kill_driver.py"), server.url, str(cache), str(rows), *more]
    env = os.environ | {"PYTHONPATH": str(HERE.parent)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate()
    assert process.returncode == 0
    return dict(json.loads(out))


def books(cache: Path) -> dict[str, int]:
    """What the ledger says, added up from its intents, and whether its running totals agree."""
    sums = asdict(added_up(cache))
    with sqlite3.connect(cache / "ledger.sqlite") as db:
        kept = db.execute("SELECT * FROM runs").fetchone()
        twice = db.execute("SELECT count(*) FROM (SELECT key FROM intents WHERE outcome = 'ok' GROUP BY key HAVING count(*) > 1)")
        assert list(sums.values()) == list(kept[1:]), "the running totals are the sums of the intents"
        return sums | {"twice": twice.fetchone()[0]}


def bill(stats: dict[str, Any]) -> int:
    """Billionths of a US dollar, at the driver's prices."""
    return int(stats["billed_prompt_tokens"]) * 1000 + int(stats["billed_completion_tokens"]) * 10_000


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_faults_and_kills_lose_nothing_and_pay_nothing_twice(faulty: Server, tmp_path: Path) -> None:
    draw, retried = random.Random(SEED), 0
    for _ in range(KILLS):
        process = start(faulty, tmp_path, ROWS)
        time.sleep(draw.uniform(1.5, 20 if SOAK else 4))
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = finish(start(faulty, tmp_path, ROWS))
    stats, ledger = faulty.stats, books(tmp_path)
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        retried = db.execute("SELECT count(*) FROM intents WHERE outcome IS NOT 'ok' AND outcome IS NOT NULL").fetchone()[0]
        never = db.execute("SELECT count(*) FROM intents WHERE state = 'open' AND outcome IS NULL").fetchone()[0]
    repeats = stats["requests"] - stats["distinct"]
    print(f"\nseed {SEED}: {ROWS} rows, {KILLS} kills: {done['ends']}; server: {stats}; ledger: {ledger}; retries {retried}")
    print(f"repeats at the server {repeats}; failed attempts {retried}, in flight at the kills {never}")
    assert sum(done["ends"].values()) == ROWS
    assert done["ends"]["Label"] >= 0.995 * ROWS
    assert ledger["twice"] == 0
    assert stats["billed_tokens"] <= ledger["prompt_tokens"] + ledger["completion_tokens"] + ledger["open_tokens"]
    assert bill(stats) <= ledger["nano"] + ledger["open_nano"]
    assert repeats <= retried + never
    assert never <= KILLS * IN_FLIGHT


@pytest.mark.slow
def test_two_processes_on_one_store_ask_everything_once(sound: Server, tmp_path: Path) -> None:
    processes = [start(sound, tmp_path, 600) for _ in range(2)]
    for process in processes:
        assert finish(process)["ends"] == {"Label": 600}
    assert sound.stats["requests"] == 600
    assert books(tmp_path)["calls"] == 600


@pytest.mark.slow
def test_a_cap_of_a_third_of_the_work_holds_in_two_processes_at_once(faulty: Server, tmp_path: Path) -> None:
    cap = (ROWS if SOAK else 600) // 3
    processes = [start(faulty, tmp_path, 3 * cap, str(cap)) for _ in range(2)]
    ends = [finish(process)["ends"] for process in processes]
    assert all(end["budget"] == 1 for end in ends)
    assert 0.9 * cap <= faulty.stats["requests"] <= cap
    ledger = books(tmp_path)
    assert ledger["calls"] + ledger["open_calls"] == faulty.stats["requests"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_random_kill_points_leave_books_that_balance(tmp_path: Path) -> None:
    """A process that asks a `server` (a file it appends to: what is in it is billed) is killed at a random instruction."""
    draw, log = random.Random(SEED), tmp_path / "bill"
    log.touch()
    for point in range(KILL_POINTS):
        child = os.fork()
        if child == 0:
            _ask_until_killed(tmp_path, log, point)
        time.sleep(draw.uniform(0.0, 0.04))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    billed = log.read_text().splitlines()
    ledger = books(tmp_path)
    print(f"\nseed {SEED}: {KILL_POINTS} kills, {len(billed)} requests billed; ledger: {ledger}")
    assert len(billed) > KILL_POINTS
    assert len(billed) <= ledger["calls"] + ledger["open_calls"] <= len(billed) + KILL_POINTS * 8
    assert 10 * len(billed) * 1000 <= ledger["nano"] + ledger["open_nano"]
    assert ledger["twice"] == 0
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        orphans = "SELECT count(*) FROM answers WHERE key NOT IN (SELECT key FROM intents WHERE outcome = 'ok')"
        assert db.execute(orphans).fetchone()[0] == 0
        assert db.execute("SELECT count(*) FROM answers").fetchone()[0] == ledger["calls"]


def _ask_until_killed(folder: Path, log: Path, point: int) -> None:
    """Eight at a time: open, `send`, settle."""
    try:
        run_async.__globals__["_loop"].cache_clear()  # a fork has no threads
        ledger = Ledger(folder)
        file = os.open(log, os.O_WRONLY | os.O_APPEND)

        async def one(key: str) -> None:
            send = Send("r", "s", key.encode(), "m", 20, 20 * 1000)
            intent = await ledger.open(send, Budget(money=1000.0))
            assert isinstance(intent, int)
            os.write(file, f"{key}\n".encode())
            answer = Completion("x" * 50, prompt_tokens=9, completion_tokens=1)
            ledger.settle(intent, send, answer=answer, nano=10 * 1000, outcome="ok", asked=b"?" * 100)

        async def all_of_them() -> None:
            import asyncio

            for n in range(10**6):
                await asyncio.gather(*(one(f"{point}/{n}/{i}") for i in range(8)))

        run_async(all_of_them())
    finally:
        os._exit(1)
