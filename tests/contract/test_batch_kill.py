"""A run that asks through batch jobs is killed anywhere; the next one goes on, and nothing is computed or paid twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import batch_driver
import pytest
from fake_openai import FakeOpenAI

from llmlabel.llm.ledger import Ledger

pytestmark = pytest.mark.slow
MANY = batch_driver.MANY
# How often a stage comes in a run of three jobs: die the first time, and somewhere in the middle.
TIMES = {
    "intents written": (1, 2, 3), "file uploaded": (1, 3), "job made": (1, 3), "job's id written": (1, 3), "looked at": (1, 5),
    "results coming": (1, 40), "result settled": (1, 12, 30, 60), "all settled": (1, 2, 3),
}  # fmt: skip


class Driver:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, batch_driver.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def run(self, cache: Path, url: str, stage: str = "", at: int = 1, kill_after: float | None = None) -> int:
        """The exit code of one child; -9: it was killed."""
        assert self.process.stdin and self.process.stdout
        print(json.dumps({"cache": str(cache), "url": url, "stage": stage, "at": at}), file=self.process.stdin, flush=True)
        pid = int(self.process.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    made = Driver()
    yield made
    assert made.process.stdin
    made.process.stdin.close()
    made.process.wait(30)


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    """One line fails the first time, and the first job expires before it is done."""
    with FakeOpenAI() as server:
        batches = server.batches
        batches.price, batches.expire_after, batches.looks = (2000, 4000), 20, 2
        batches.fail = lambda body, times: (500, {"message": "oh"}) if times == 1 and "text 9" in str(body) else None
        yield server


@pytest.fixture
def finishes(driver: Driver, server: FakeOpenAI, tmp_path: Path) -> Callable[[], None]:
    """A second run gets everything, and the books are right."""

    def check() -> None:
        assert driver.run(tmp_path, server.url) == 0
        over = {job["shown"]["status"] for job in server.batches.jobs.values()}
        assert over <= {"completed", "expired"}, "no job was forgotten, which the provider would compute in its own time"
        assert len(server.batches.computed) == MANY
        assert set(server.batches.computed.values()) == {1}
        ledger = Ledger(tmp_path)
        totals = ledger.totals("r")
        ledger.close()
        assert (totals.open_calls, totals.open_tokens, totals.open_nano) == (0, 0, 0)
        assert totals.nano == server.batches.bill
        assert totals.tokens == server.stats.billed_tokens
        with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
            assert db.execute("SELECT count(*) FROM batches WHERE state = 'open'").fetchone() == (0,)
            sums = db.execute("SELECT sum(nano), count(*) FROM intents").fetchone()
        assert sums == (server.batches.bill, totals.calls)

    return check


@pytest.mark.parametrize(("stage", "at"), [(stage, at) for stage, times in TIMES.items() for at in times])
def test_killed_when(
    stage: str, at: int, driver: Driver, server: FakeOpenAI, tmp_path: Path, finishes: Callable[[], None]
) -> None:
    assert set(TIMES) == set(batch_driver.STAGES)
    assert driver.run(tmp_path, server.url, stage, at) == -signal.SIGKILL, "it came that far"
    finishes()


@pytest.mark.parametrize("number", range(20))
def test_killed_at_some_time(
    number: int, driver: Driver, server: FakeOpenAI, tmp_path: Path, finishes: Callable[[], None]
) -> None:
    moment = random.Random(number).uniform(0.0, 1.2)
    assert driver.run(tmp_path, server.url, kill_after=moment) in (-signal.SIGKILL, 0)
    finishes()


def test_killed_again_and_again(driver: Driver, server: FakeOpenAI, tmp_path: Path, finishes: Callable[[], None]) -> None:
    moments = random.Random(7)
    for _ in range(10):
        driver.run(tmp_path, server.url, kill_after=moments.uniform(0.05, 0.5))
    finishes()
