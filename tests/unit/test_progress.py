"""What a run says of its progress: few looks into the ledger, money against the cap, requests and retries."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from llmlabel.flows.running import progress

from llmlabel.events import listening
from llmlabel.llm.ledger import NANO, Totals
from llmlabel.terminal import _more


class FakeModels:
    """One client that has sent `sent` requests, and a ledger that counts who looks."""

    def __init__(self) -> None:
        self.looks, self.sent = 0, 0
        self.config = SimpleNamespace(budget=5.0)
        self.ledger = self
        self.opened = {"m": self}
        self.pool = SimpleNamespace(places=[SimpleNamespace(in_flight=3), SimpleNamespace(in_flight=4)])

    @property
    def usage(self) -> Any:
        return SimpleNamespace(sent=self.sent, retries=Counter({"429": 2, "timed out": 1}))

    def totals(self, run: str) -> Totals:
        self.looks += 1
        return Totals(calls=self.sent, nano=self.sent * NANO // 1000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    monkeypatch.setattr(progress.Follower, "_show", lambda *_: None)
    return now


def test_the_ledger_is_read_at_most_five_times_a_second(clock: Any) -> None:
    models, events = FakeModels(), list[dict[str, Any]]()
    follow = progress.Follower(models, "r")  # type: ignore[arg-type]
    with listening(events.append):
        for n in range(1, 2001):
            clock.seconds += 0.005
            models.sent = n
            follow("label", n, 2001)
    assert len(events) == 2000
    assert 30 <= models.looks <= 50, "in ten seconds"
    last = events[-1]
    assert last["requests_per_s"] == pytest.approx(200, rel=0.02)
    assert (last["in_flight"], last["retries"], last["budget"]) == (7, 3, 5.0)
    assert last["cost"] == pytest.approx(last["calls"] / 1000)
    assert last["left_s"] == pytest.approx(0.005, abs=0.001)


def test_the_last_event_of_a_step_is_up_to_date(clock: Any) -> None:
    models, events = FakeModels(), list[dict[str, Any]]()
    follow = progress.Follower(models, "r")  # type: ignore[arg-type]
    with listening(events.append):
        follow("label", 1, 2)
        models.sent = 9
        follow("label", 2, 2)
    assert [e["calls"] for e in events] == [0, 9]


def test_the_line_a_person_reads() -> None:
    event = {"rate": 12.34, "left_s": 40.2, "cost": 0.123, "budget": 5.0, "requests_per_s": 85.0, "in_flight": 64, "retries": 3}
    assert _more(event) == "12.3/s  40 s left  $0.12 of $5.00  85.0 requests/s, 64 in flight  3 retries"
    assert _more({"rate": None, "left_s": None, "cost": 0.0, "budget": None, "in_flight": 0, "retries": 0}) == ""
    assert _more({"cost": 0.0012, "budget": None}) == "$0.0012"
