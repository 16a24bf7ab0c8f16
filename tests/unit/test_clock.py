"""The machine's clock is set a day back or forward while something is going on: durations, waits and orders do not follow it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fake_openai import FakeOpenAI
from llmlabel.flows.running.common import timed
from llmlabel.flows.steps.daily import rounds

from llmlabel import runs
from llmlabel.config import CommonConfig
from llmlabel.llm import Ledger, connect
from llmlabel.llm.batches import Limits
from llmlabel.llm.http import LONGEST_WAIT, retry_after
from llmlabel.llm.requests import Completion, Request

DAY = 86_400.0
REAL = time.time
SetClock = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Puts the clock so many seconds from where it really is."""

    def put(offset: float) -> None:
        class Shifted(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
                return datetime.fromtimestamp(REAL() + offset, tz)

        monkeypatch.setattr(time, "time", lambda: REAL() + offset)
        for module in (runs, rounds):
            monkeypatch.setattr(module, "datetime", Shifted)

    return put


def test_requests_are_limited_retried_and_paid_as_ever(
    fake_server: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every look at the clock finds it a day away from the last."""
    calls = count()
    monkeypatch.setattr(time, "time", lambda: REAL() + DAY * (next(calls) % 3 - 1))
    fake_server.fail("429", times=5, retry_after=0.05, after=10)
    options = CommonConfig(data="-", out=tmp_path, cache=tmp_path, rpm=12_000, concurrency=8)
    requests = [Request([{"role": "user", "content": f"n {i}"}]) for i in range(100)]
    for _ in range(2):
        ledger = Ledger(tmp_path)
        client = connect(f"fake-1@{fake_server.url}", options=options, run="r", ledger=ledger, probe=False)
        start = time.monotonic()
        assert all(isinstance(answer, Completion) for answer in client.map(requests))
        assert 0 < time.monotonic() - start < 20
        client.close()
        totals = ledger.totals("r")
        ledger.close()
    assert fake_server.stats.requests == 105
    assert (totals.calls, totals.open_calls) == (105, 0)  # five of these were refused
    assert next(calls) > 100


@pytest.mark.parametrize("offset", [-DAY, 0.0, DAY])
def test_a_date_to_wait_for_is_no_wait_of_a_day(offset: float, set_clock: SetClock) -> None:
    set_clock(offset)
    date = datetime.fromtimestamp(REAL() + 20, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    wait = retry_after({"retry-after": date})
    assert wait is None or 0 <= wait <= LONGEST_WAIT


@pytest.mark.parametrize("offset", [-DAY, DAY])
def test_how_long_a_step_took_is_told_by_another_clock(offset: float, set_clock: SetClock, tmp_path: Path) -> None:
    folder = runs.RunFolder(tmp_path, flow="f", definition={}, config={})
    timed(folder, "label", lambda: set_clock(offset))
    folder.finish(runs.DONE)
    folder.close()
    info = runs.load_run(tmp_path).info
    assert 0 <= info["timings"]["label"] < 10
    assert abs(datetime.fromisoformat(info["ended"]) - datetime.fromisoformat(info["started"])) > timedelta(hours=23)
    assert runs.RunFolder(tmp_path, flow="f", definition={}, config={}).finished


def test_rounds_keep_their_order(set_clock: SetClock, tmp_path: Path) -> None:
    found = rounds.Rounds(tmp_path)
    made = []
    for offset in (DAY, 0.0, -DAY):
        set_clock(offset)
        made.append(found.begin())
    assert found.all == made
    assert [path.name[:5] for path in made] == ["0001-", "0002-", "0003-"]
    assert sorted((path.name[5:] for path in made), reverse=True) == [path.name[5:] for path in made]
    assert found.unfinished() == made[-1]


def test_a_batch_job_is_found_again_by_a_clock_that_is_a_day_off() -> None:
    """Jobs are looked for from this long before the time a request was written down, by the service's clock."""
    assert Limits().recent > DAY
