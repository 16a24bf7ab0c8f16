"""How many requests an endpoint takes at once, which endpoint takes the next one, and when it may go.

The window grows and shrinks as TCP's does: double at first, then one more per round while that brings answers faster;
less in proportion to the share of a round that was pushed back (429, 503, time-outs), as DCTCP does, or when latency
has doubled without more answers per second.
Sources: Jacobson 1988, Congestion Avoidance and Control; Alizadeh et al. 2010, Data Center TCP (DCTCP).
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from llmlabel.errors import TransientError
from llmlabel.llm.requests import Backend, LostAnswer

START = 4
ROUND = 8  # fewest outcomes of a round
SLOWER = 2.0  # times the lowest latency seen
NOTICEABLE = 0.05  # seconds; below that, latency is noise
FASTER = 1.1  # times the answers per second of the round before
FORGET = 0.98  # of the best rate per round: a server may get slower for good
REST, LONGEST_REST = 1.0, 60.0  # seconds a dead endpoint is left alone, doubled every time
DEAD_AFTER = 3  # failures in a row
PUSHED_BACK = ("429", "503", "timed out")


@dataclass
class Window:
    """Requests in flight at one endpoint: `limit`, at most `most`."""

    most: int
    limit: float = 0.0
    doubling: bool = True
    was_full: bool = False
    pushed: int = 0
    latencies: list[float] = field(default_factory=list)
    began: float = 0.0
    quickest: float = float("inf")
    best_rate: float = 0.0

    def __post_init__(self) -> None:
        self.limit = self.limit or float(min(START, self.most))

    def outcome(self, seconds: float, *, pushed_back: bool) -> None:
        """What became of one request after `seconds`."""
        self.began = self.began or time.monotonic() - seconds
        if pushed_back:
            self.pushed += 1
        else:
            self.latencies.append(seconds)
        if len(self.latencies) + self.pushed >= max(ROUND, int(self.limit)):
            self._round(time.monotonic())

    @property
    def overrun(self) -> bool:
        """Is most of this round pushed back?"""
        return self.pushed >= max(ROUND / 2, len(self.latencies))

    def _round(self, now: float) -> None:
        rate, latency = len(self.latencies) / max(now - self.began, 1e-6), statistics.median(self.latencies or [self.quickest])
        self.quickest = min(self.quickest, latency)
        grew, slow = rate >= FASTER * self.best_rate, latency > max(SLOWER * self.quickest, NOTICEABLE)
        share = self.pushed / (self.pushed + len(self.latencies))
        if self.pushed:
            self.limit *= 1 - share / 2
            self.doubling = False
        elif slow and not grew:
            self.limit *= 0.5 if self.doubling else 0.9
            self.doubling = False
        if self.was_full and share < 0.5 and (grew or not slow):
            self.limit += self.limit if self.doubling else 1
        self.limit = min(max(self.limit, 1.0), float(self.most))
        self.best_rate = max(self.best_rate * FORGET, rate)
        self.latencies, self.pushed, self.began, self.was_full = [], 0, now, False


@dataclass
class Pace:
    """A fixed number of units per minute, evenly spread; None: as fast as it goes."""

    per_minute: float | None
    next: float = 0.0  # on the monotonic clock

    def spend(self, units: float) -> None:
        if self.per_minute:
            self.next = max(self.next, time.monotonic()) + units * 60 / self.per_minute

    def give_back(self, units: float) -> None:
        if self.per_minute:
            self.next -= units * 60 / self.per_minute


@dataclass
class Place:
    """One endpoint of a model, with its traffic.

    Args:
        most: requests in flight. rpm, tpm: requests and tokens per minute it may be sent.
    """

    backend: Backend
    most: int
    rpm: Pace = field(default_factory=lambda: Pace(None))
    tpm: Pace = field(default_factory=lambda: Pace(None))
    in_flight: int = 0
    most_in_flight: int = 0
    not_before: float = 0.0  # on the monotonic clock: it asked to wait, or it is left alone
    failures: int = 0
    rest: float = 0.0  # seconds it was left alone the last time

    def __post_init__(self) -> None:
        self.window = Window(self.most)

    def opens(self) -> float:
        """When it takes the next request, on the monotonic clock; infinity: when one of those in flight is done."""
        if self.in_flight >= int(self.window.limit) or (self.dead and self.in_flight):
            self.window.was_full = True
            return float("inf")
        asked = float(getattr(self.backend, "resume_at", 0.0))
        return max(self.not_before, asked, self.rpm.next, self.tpm.next)

    @property
    def dead(self) -> bool:
        return self.failures >= DEAD_AFTER

    @property
    def load(self) -> float:
        return self.in_flight / self.window.limit

    def failed(self, *, others: bool) -> None:
        """It could not be reached or broke off: after some of these in a row it is left alone, if there are others."""
        self.failures += 1
        now = time.monotonic()
        if others and self.dead and now >= self.not_before:  # else: those that were in flight when it died
            self.rest = min(2 * self.rest or REST, LONGEST_REST)
            self.not_before = now + self.rest


class Pool:
    """The endpoints of one model: the least loaded takes the next request; dead ones are left alone and tried again."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = list(places)
        self._waiting: deque[tuple[asyncio.Future[Place], int]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self, tokens: int) -> Place:
        """A place to send a request of about so many tokens to; give it back with `release`."""
        if not self._waiting and (place := self._free()):
            return self._take(place, tokens)
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, tokens))
        self.wake()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release(future.result())
            raise

    def answered(self, place: Place, seconds: float) -> None:
        place.failures, place.rest = 0, 0.0
        place.window.outcome(seconds, pushed_back=False)

    def failed(self, place: Place, error: TransientError, seconds: float) -> None:
        """What a failed attempt says of its endpoint; where another one lives, the next attempt need not wait."""
        if error.cause in PUSHED_BACK:
            place.window.outcome(seconds, pushed_back=True)
            if error.retry_after and place.window.overrun:
                place.not_before = time.monotonic() + error.retry_after
        if isinstance(error, LostAnswer) or error.cause == "unreachable":
            others = any(p is not place and not p.dead for p in self.places)
            place.failed(others=others)
            if others:
                error.retry_after = 0.0

    def release(self, place: Place, *, unused_tokens: int = 0) -> None:
        place.in_flight -= 1
        place.tpm.give_back(unused_tokens)
        self.wake()

    def wake(self) -> None:
        """Hand free places to those who wait, and come back when the next one opens."""
        while self._waiting:
            if self._waiting[0][0].done():
                self._waiting.popleft()
            elif place := self._free():
                future, tokens = self._waiting.popleft()
                future.set_result(self._take(place, tokens))
            else:
                return self._later()

    def _free(self) -> Place | None:
        now = time.monotonic()
        free = [p for p in self.places if p.opens() <= now]
        return min(free, key=lambda p: p.load, default=None)

    def _take(self, place: Place, tokens: int) -> Place:
        place.in_flight += 1
        place.most_in_flight = max(place.most_in_flight, place.in_flight)
        place.rpm.spend(1)
        place.tpm.spend(tokens)
        return place

    def _later(self) -> None:
        opens = min(p.opens() for p in self.places)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if opens < float("inf"):
            self._timer = asyncio.get_running_loop().call_later(max(opens - time.monotonic(), 0.001), self.wake)
