"""Windows that find a server's ceiling, paces, and the choice among several endpoints."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_openai import FakeOpenAI, prompt_of

from llmlabel.config import CommonConfig
from llmlabel.errors import BackendError, ConfigError
from llmlabel.llm import Client, Ledger, connect
from llmlabel.llm.limits import START, Pace, Place, Pool, Window
from llmlabel.llm.loop import run_async
from llmlabel.llm.process import free_port
from llmlabel.llm.requests import Completion, Request


def say(text: str) -> Request:
    return Request([{"role": "user", "content": text}])


class Clock:
    """A clock of the test's own instead of time.monotonic."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        patch.setattr("llmlabel.llm.limits.time.monotonic", lambda: self.now)


def served(
    window: Window, clock: Clock, requests: int, latency: Callable[[int], float], pushed: Callable[[int], bool] = lambda n: False
) -> list[int]:
    """Serve requests with the window full all the time; `latency` and `pushed` of the number in flight. The limits seen."""
    limits, free_at = [], sorted([clock.now] * int(window.limit))
    for _ in range(requests):
        n = int(window.limit)
        free_at = free_at[-n:] + [clock.now] * max(0, n - len(free_at))
        seconds = latency(n)
        free_at.sort()
        clock.now = max(clock.now, free_at.pop(0) + seconds)
        free_at.append(clock.now)
        window.was_full = True
        window.outcome(seconds, pushed_back=pushed(n))
        limits.append(int(window.limit))
    return limits


class TestWindow:
    def test_grows_to_its_most_while_that_brings_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        limits = served(Window(256), Clock(monkeypatch), 2000, lambda n: 0.1)
        assert limits[0] == START
        assert limits[-1] == 256

    def test_stays_where_nobody_waits(self) -> None:
        window = Window(256)
        for _ in range(500):
            window.outcome(0.1, pushed_back=False)
        assert window.limit == START

    @pytest.mark.parametrize("ceiling", [4, 20, 60])
    def test_settles_near_the_ceiling_of_a_server_that_rejects(self, ceiling: int, monkeypatch: pytest.MonkeyPatch) -> None:
        draw = random.Random(0)
        limits = served(Window(256), Clock(monkeypatch), 8000, lambda n: 0.1, lambda n: draw.random() < max(0, 1 - ceiling / n))
        late = limits[-2000:]
        assert 0.7 * ceiling <= sum(late) / len(late) <= 1.4 * ceiling

    @pytest.mark.parametrize("ceiling", [8, 32, 64])
    def test_settles_near_the_ceiling_of_a_server_that_queues(self, ceiling: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Latency of the queue: the work of 0.1 s, and waiting for a free place. At twice the ceiling it has doubled."""
        limits = served(Window(256), Clock(monkeypatch), 8000, lambda n: 0.1 * max(1.0, n / ceiling))
        late = limits[-2000:]
        assert 0.9 * ceiling <= sum(late) / len(late) <= 2.6 * ceiling

    def test_a_few_random_failures_do_not_close_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        draw = random.Random(0)
        limits = served(Window(256), Clock(monkeypatch), 6000, lambda n: 0.1, lambda n: draw.random() < 0.05)
        assert min(limits[1000:]) >= 16

    def test_never_closes_and_comes_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        window, clock = Window(64), Clock(monkeypatch)
        assert served(window, clock, 300, lambda n: 0.1, lambda n: True)[-1] == 1
        assert served(window, clock, 4000, lambda n: 0.1)[-1] == 64


class TestPace:
    def test_spreads_evenly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock, pace = Clock(monkeypatch), Pace(120)
        for _ in range(4):
            pace.spend(1)
        assert pace.next == clock.now + 2.0
        pace.give_back(2)
        assert pace.next == clock.now + 1.0

    def test_none_is_no_limit(self) -> None:
        pace = Pace(None)
        pace.spend(10**9)
        assert pace.next == 0.0


class TestPool:
    def test_the_least_loaded_takes_the_next(self) -> None:
        async def work() -> list[int]:
            pool = Pool([Place(None, 64), Place(None, 64), Place(None, 64)])  # type: ignore[arg-type]
            for _ in range(12):
                await pool.acquire(1)
            return [place.in_flight for place in pool.places]

        assert run_async(work()) == [4, 4, 4]

    def test_a_waiter_that_is_cancelled_takes_no_place(self) -> None:
        async def work() -> int:
            pool = Pool([Place(None, 1)])  # type: ignore[arg-type]
            held = await pool.acquire(1)
            waiter = asyncio.ensure_future(pool.acquire(1))
            await asyncio.sleep(0)
            pool.release(held)  # handed to the waiter, who is cancelled before it can look
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
            return pool.places[0].in_flight

        assert run_async(work()) == 0


@pytest.fixture
def two_servers() -> Iterator[tuple[FakeOpenAI, FakeOpenAI]]:
    with FakeOpenAI(prompt_of) as one, FakeOpenAI(prompt_of) as other:
        yield one, other


def client_of(tmp_path: Path, *urls: str, **settings: object) -> Client:
    options = CommonConfig(data="x", out=tmp_path / "out", cache=tmp_path / "cache", **settings)  # type: ignore[arg-type]
    return connect(f"fake-1@{'|'.join(urls)}", options=options, run="r", probe=False)


class TestSeveralUrls:
    def test_share_the_work(self, two_servers: tuple[FakeOpenAI, FakeOpenAI], tmp_path: Path) -> None:
        one, other = two_servers
        one.latency = other.latency = 0.01
        client = client_of(tmp_path, one.url, other.url)
        assert [a.text for a in client.map([say(f"n {i}") for i in range(200)]) if isinstance(a, Completion)] == [
            f"n {i}" for i in range(200)
        ]
        assert one.stats.requests + other.stats.requests == 200
        assert min(one.stats.requests, other.stats.requests) >= 60

    def test_a_dead_one_is_left_alone_and_nothing_fails(self, two_servers: tuple[FakeOpenAI, FakeOpenAI], tmp_path: Path) -> None:
        one, _ = two_servers
        one.latency = 0.005
        client = client_of(tmp_path, f"http://127.0.0.1:{free_port()}/v1", one.url)
        start = time.monotonic()
        answers = client.map([say(str(i)) for i in range(300)])
        assert all(isinstance(a, Completion) for a in answers)
        assert one.stats.requests == 300
        assert client.usage.retries["unreachable"] <= START + 5
        assert time.monotonic() - start < 10

    @pytest.mark.slow
    def test_one_that_comes_back_is_used_again(self, two_servers: tuple[FakeOpenAI, FakeOpenAI], tmp_path: Path) -> None:
        one, other = two_servers
        one.latency = other.latency = 0.02
        other.fail("disconnect", times=4)
        client = client_of(tmp_path, one.url, other.url, concurrency=8)
        assert all(isinstance(a, Completion) for a in client.map([say(str(i)) for i in range(1000)]))
        assert other.stats.answered > 100

    def test_a_model_that_only_some_serve_is_told(self, two_servers: tuple[FakeOpenAI, FakeOpenAI], tmp_path: Path) -> None:
        one, other = two_servers
        other.models = ("another",)
        with pytest.raises(ConfigError, match="different models"):
            connect(f"@{one.url}|{other.url}", ledger=Ledger(tmp_path))

    def test_all_dead_is_said(self, tmp_path: Path) -> None:
        ports = [f"http://127.0.0.1:{free_port()}/v1" for _ in range(2)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("stamina._core._smart_sleep", lambda seconds: asyncio.sleep(0))
            with pytest.raises(BackendError, match="cannot be reached"):
                client_of(tmp_path, *ports).map([say(str(i)) for i in range(50)])


class TestAgainstAServer:
    def test_requests_per_minute(self, fake_server: FakeOpenAI, tmp_path: Path) -> None:
        start = time.monotonic()
        client_of(tmp_path, fake_server.url, rpm=600).map([say(str(i)) for i in range(11)])
        assert 0.95 <= time.monotonic() - start < 3

    def test_tokens_per_minute_are_those_used_not_those_reckoned_with(self, fake_server: FakeOpenAI, tmp_path: Path) -> None:
        """Each request may use 700 tokens and uses about 5; at 60,000 a minute the first are spread by what they may use."""
        start = time.monotonic()
        client_of(tmp_path, fake_server.url, tpm=60_000, concurrency=1).map([say(str(i)) for i in range(40)])
        assert time.monotonic() - start < 10, "40 x 700 tokens would take 28 s"

    @pytest.mark.slow
    def test_a_ceiling_is_found_and_all_is_answered(self, fake_server: FakeOpenAI, tmp_path: Path) -> None:
        """Over 10 in flight the server answers 429."""
        fake_server.latency, fake_server.ceiling = 0.02, 10
        client = client_of(tmp_path, fake_server.url)
        answers = client.map([say(str(i)) for i in range(600)])
        assert all(isinstance(a, Completion) for a in answers)
        assert 5 <= client.pool.places[0].window.limit <= 16
        assert client.usage.retries["429"] < 200

    def test_nothing_left_this_minute_is_waited_for(self, fake_server: FakeOpenAI, tmp_path: Path) -> None:
        fake_server.headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "300ms"}
        client = client_of(tmp_path, fake_server.url, concurrency=1)
        start = time.monotonic()
        client.map([say(str(i)) for i in range(4)])
        assert 0.85 <= time.monotonic() - start < 3
