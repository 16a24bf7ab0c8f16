"""Batch jobs: what goes into one, what comes back, and that nothing is paid twice."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_openai import FakeOpenAI, count_bytes, prompt_of

from llmlabel import events
from llmlabel.config import CommonConfig
from llmlabel.errors import AuthError, BackendError, BudgetReached, RequestRejected
from llmlabel.llm import Client, Ledger, connect
from llmlabel.llm.backends.scripted import ScriptedBackend
from llmlabel.llm.batches import CHUNK, RUN, Limits
from llmlabel.llm.batches.hosted import HostedBatches
from llmlabel.llm.prices import Prices
from llmlabel.llm.requests import Completion, EmbedRequest, Request

PRICES = {"fake-1": {"input": 2.0, "output": 4.0}}
QUICK = Limits(first_wait=0.01, longest_wait=0.02)
Make = Callable[..., Client]


def say(text: str, **more: object) -> Request:
    return Request([{"role": "user", "content": text}], **more)  # type: ignore[arg-type]


def texts(many: int) -> list[Request]:
    return [say(f"text {i}") for i in range(many)]


def good(answers: list[Any]) -> int:
    return sum(isinstance(answer, Completion) for answer in answers)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waits between attempts."""

    async def at_once(delay: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr("stamina._core._smart_sleep", at_once)


@pytest.fixture
def server(fake_server: FakeOpenAI) -> FakeOpenAI:
    fake_server.batches.price = (2000, 4000)
    return fake_server


@pytest.fixture
def make(server: FakeOpenAI, tmp_path: Path) -> Iterator[Make]:
    """Clients as processes would have them: each with a ledger of its own on the same file."""
    made: list[Client] = []

    def new(run: str = "r", limits: Limits = QUICK, **settings: Any) -> Client:
        values = {"batch": True, "prices": PRICES} | settings
        options = CommonConfig(data="x.csv", out=tmp_path / "run", cache=tmp_path / "cache", **values)
        client = connect(f"fake-1@{server.url}", options=options, run=run, ledger=Ledger(options.cache), probe=False)
        client.batches.limits = limits
        made.append(client)
        return client

    yield new
    for client in made:
        client.close()
        client.ledger.close()


@pytest.fixture
def notes() -> Iterator[list[str]]:
    heard: list[str] = []
    with events.listening(lambda event: heard.append(str(event.get("text", event)))):
        yield heard


def interrupted(client: Client, requests: list[Request], monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is made, and nobody waits for it."""

    async def stop(self: HostedBatches, remote: str) -> None:
        raise BackendError("pulled the plug")

    with monkeypatch.context() as patch:
        patch.setattr(HostedBatches, "state", stop)
        with pytest.raises(BackendError, match="pulled the plug"):
            client.map(requests)


class TestAnswers:
    def test_come_in_order_at_half_the_price(self, server: FakeOpenAI, make: Make, notes: list[str]) -> None:
        server.answer = prompt_of
        client = make()
        answers = client.map(texts(40), "label")
        assert [a.text for a in answers if isinstance(a, Completion)] == [f"text {i}" for i in range(40)]
        totals, stats = client.ledger.totals("r"), server.stats
        assert stats.requests == 0
        assert (totals.calls, totals.open_calls, totals.nano) == (40, 0, server.batches.bill)
        assert totals.nano == (stats.billed_prompt_tokens * 2000 + stats.billed_completion_tokens * 4000) // 2
        assert [note for note in notes if "sent" in note] == ["batch job batch_1: 40 requests sent"]
        assert any("in progress" in note for note in notes) and any("completed" in note for note in notes)

    def test_of_the_same_request_are_one_line(self, server: FakeOpenAI, make: Make) -> None:
        client = make()
        assert good(client.map([say(f"text {i % 25}") for i in range(60)])) == 60
        assert sum(server.batches.sent.values()) == 25
        assert (client.usage.asked, client.usage.from_cache, client.usage.sent) == (60, 35, 25)

    def test_a_second_run_sends_nothing(self, server: FakeOpenAI, make: Make) -> None:
        first = make().map(texts(30))
        assert make(run="another").map(texts(30)) == first
        assert len(server.batches.jobs) == 1

    def test_may_hold_what_python_takes_for_the_end_of_a_line(self, server: FakeOpenAI, make: Make) -> None:
        server.answer = lambda body: "one\u2028two\x85three\nfour"
        assert {a.text for a in make().map(texts(20)) if isinstance(a, Completion)} == {"one\u2028two\x85three\nfour"}

    def test_have_their_personal_data_back(self, server: FakeOpenAI, make: Make) -> None:
        server.answer = prompt_of
        requests = [say(f"mail {i} to jo{i}@example.com") for i in range(20)]
        answers = make(mask_pii="regex").map(requests)
        assert [a.text for a in answers if isinstance(a, Completion)] == [r.messages[0]["content"] for r in requests]
        assert b"example.com" not in b"".join(file["content"] for file in server.batches.files.values())

    def test_are_asked_for_with_the_schema(self, server: FakeOpenAI, make: Make) -> None:
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
        answers = make().map([say(str(i), schema=schema, top_logprobs=3) for i in range(20)])
        assert all(isinstance(a, Completion) and a.text.startswith('{"a": ') and len(a.logprobs) == 3 for a in answers)


class TestWhatIsOneJob:
    @pytest.mark.parametrize("limits", [Limits(lines=30, first_wait=0.01), Limits(size=30 * 220, first_wait=0.01)])
    def test_no_job_is_over_the_limits(self, limits: Limits, server: FakeOpenAI, make: Make) -> None:
        server.batches.most_lines, server.batches.most_bytes = limits.lines, limits.size
        assert good(make(limits=limits).map(texts(100))) == 100
        assert 4 <= len(server.batches.jobs) <= 8
        for job in server.batches.jobs.values():
            assert job["shown"]["metadata"][RUN] == "r"
        assert len({job["shown"]["metadata"][CHUNK] for job in server.batches.jobs.values()}) == len(server.batches.jobs)

    def test_so_many_at_a_time(self, server: FakeOpenAI, make: Make) -> None:
        assert good(make(limits=Limits(lines=10, jobs=2, first_wait=0.01)).map(texts(60))) == 60
        assert len(server.batches.jobs) == 6

    def test_a_few_requests_go_directly(self, server: FakeOpenAI, make: Make) -> None:
        client = make()
        assert good(client.map(texts(19))) == 19
        assert client.ask(say("one")).text
        assert (server.stats.requests, len(server.batches.jobs)) == (20, 0)

    def test_probes_go_directly(self, server: FakeOpenAI, make: Make) -> None:
        assert good(make().map(texts(30), "probe")) == 30
        assert not server.batches.jobs

    def test_embeddings_go_directly(self, server: FakeOpenAI, make: Make) -> None:
        assert good(make().map([EmbedRequest([f"text {i}"]) for i in range(700)])) == 700
        assert server.stats.by_path == {"/v1/embeddings": 700}

    def test_a_backend_without_batch_jobs_says_so(self, tmp_path: Path, notes: list[str]) -> None:
        backend = ScriptedBackend(lambda request: "yes")
        client = Client(backend, Ledger(tmp_path), Prices().of(backend), "r", batch=True)
        assert good(client.map(texts(30))) == 30
        assert len([note for note in notes if "no batch jobs" in note]) == 1


class TestFailures:
    def test_a_failing_line_is_sent_three_times(self, server: FakeOpenAI, make: Make) -> None:
        server.batches.fail = lambda body, times: (500, {"message": "oh"}) if prompt_of(body) in ("text 3", "text 5") else None
        client = make()
        answers = client.map(texts(30))
        assert good(answers) == 28
        assert isinstance(answers[3], RequestRejected) and "3 attempts" in str(answers[3])
        assert sorted(server.batches.sent.values()) == [1] * 28 + [3, 3]
        assert len(server.batches.jobs) == 3
        assert client.ledger.totals("r").nano == server.batches.bill

    def test_a_line_that_fails_once_is_answered(self, server: FakeOpenAI, make: Make) -> None:
        server.batches.fail = lambda body, times: (429, {"message": "slow"}) if times == 1 and "7" in prompt_of(body) else None
        assert good(make().map(texts(30))) == 30

    def test_a_line_too_long_fails_alone_and_once(self, server: FakeOpenAI, make: Make) -> None:
        server.context = 600
        answers = make().map([*texts(30), say("word " * 1000)])
        assert good(answers) == 30
        assert "context length" in str(answers[30])
        assert max(server.batches.sent.values()) == 1

    def test_parameters_the_model_does_not_take_are_left_out_the_next_time(self, server: FakeOpenAI, make: Make) -> None:
        server.unsupported = {"max_tokens", "seed", "temperature", "top_p"}
        assert good(make().map(texts(30))) == 30
        assert len(server.batches.jobs) == 5

    def test_when_all_lines_are_refused_the_run_stops(self, server: FakeOpenAI, make: Make) -> None:
        server.batches.fail = lambda body, times: (400, {"message": "no such thing"})
        with pytest.raises(BackendError, match=r"the first 30 requests were all refused.*no such thing"):
            make().map(texts(30))

    def test_an_unknown_model_stops_the_run(self, server: FakeOpenAI, make: Make) -> None:
        server.models = ("another",)
        with pytest.raises(BackendError, match="Check the model's name"):
            make().map(texts(30))

    def test_of_an_expired_job_what_is_done_is_kept(self, server: FakeOpenAI, make: Make) -> None:
        server.batches.expire_after = 12
        client = make()
        assert good(client.map(texts(30))) == 30
        assert [job["shown"]["status"] for job in server.batches.jobs.values()] == ["expired", "completed"]
        assert set(server.batches.computed.values()) == {1}
        assert len(server.batches.jobs["batch_2"]["lines"]) == 18
        assert client.ledger.totals("r").nano == server.batches.bill

    def test_an_answer_that_is_missing_counts_as_billed_and_is_asked_again(self, server: FakeOpenAI, make: Make) -> None:
        server.batches.drop = 1
        client = make()
        assert good(client.map(texts(30))) == 30
        totals = client.ledger.totals("r")
        assert (totals.calls, totals.open_calls) == (30, 1)
        assert totals.nano <= server.batches.bill <= totals.nano + totals.open_nano

    def test_a_download_that_breaks_off_is_taken_up_again(self, server: FakeOpenAI, make: Make) -> None:
        server.batches.break_downloads = 2
        client = make()
        assert good(client.map(texts(300))) == 300
        assert client.ledger.totals("r").nano == server.batches.bill

    def test_a_job_whose_making_got_no_answer_is_found(self, server: FakeOpenAI, make: Make) -> None:
        server.batches.lost_creations = 1
        assert good(make().map(texts(30))) == 30
        assert server.batches.calls["create"] == 1

    def test_faults_of_the_server_are_tried_again(self, server: FakeOpenAI, make: Make) -> None:
        for _ in range(4):
            server.fail("500", after=1)
        assert good(make().map(texts(30))) == 30
        assert len(server.batches.jobs) == 1

    def test_a_job_that_is_refused_says_why_and_loses_nothing(self, server: FakeOpenAI, make: Make) -> None:
        server.batches.problem = [("invalid_json_line", "line 7 is no good")]
        client = make()
        with pytest.raises(BackendError, match=r"batch_1 was refused: line 7 is no good"):
            client.map(texts(30))
        assert vars(client.ledger.totals("r")) == dict.fromkeys(vars(client.ledger.totals("r")), 0)
        assert good(client.map(texts(30))) == 30

    def test_a_full_queue_is_waited_for_with_smaller_jobs(self, server: FakeOpenAI, make: Make) -> None:
        server.batches.problem = [("token_limit_exceeded", "Enqueued token limit reached")] * 2
        assert good(make(limits=Limits(lines=40, first_wait=0.01, longest_wait=0.02)).map(texts(40))) == 40
        assert [len(job["lines"]) for job in server.batches.jobs.values()] == [40, 20, 20, 20]

    def test_a_queue_that_stays_full_stops_the_run(self, server: FakeOpenAI, make: Make) -> None:
        server.batches.problem = [("token_limit_exceeded", "Enqueued token limit reached")] * 99
        with pytest.raises(BackendError, match="no room for batch jobs: Enqueued token limit reached"):
            make().map(texts(40))

    def test_a_server_without_batch_jobs_is_said_before_anything_is_opened(self, server: FakeOpenAI, make: Make) -> None:
        server.batches.enabled = False
        client = make()
        with pytest.raises(BackendError, match="takes no batch jobs"):
            client.map(texts(30))
        assert client.ledger.totals("r").open_calls == 0
        assert good(make(batch=False).map(texts(30))) == 30


class TestBudget:
    @pytest.mark.parametrize("caps", [{"budget_calls": 25}, {"budget_tokens": 7000}, {"budget": 0.012}])
    def test_a_cap_is_never_passed(self, caps: dict[str, float], server: FakeOpenAI, make: Make) -> None:
        """With the worst of tokenizers; what was bought is in the store."""
        server.count, server.answer = count_bytes, lambda body: "x " * 400
        client = make(**caps)
        with pytest.raises(BudgetReached):
            client.map([say(f"text {i:03}", max_tokens=100) for i in range(300)])
        bought = sum(server.batches.computed.values())
        assert 0 < bought < 300
        totals = client.ledger.totals("r")
        assert (totals.calls, totals.open_calls, totals.nano) == (bought, 0, server.batches.bill)
        assert bought == 25 if "budget_calls" in caps else bought >= 20
        assert server.batches.bill <= 0.012 * 1e9 if "budget" in caps else True
        assert server.stats.billed_tokens <= 7000 if "budget_tokens" in caps else True

    def test_room_that_comes_back_is_used(self, server: FakeOpenAI, make: Make) -> None:
        """A request may cost twenty times as much as it does."""
        client = make(budget_tokens=30_000)
        assert good(client.map(texts(100))) == 100
        assert 2 <= len(server.batches.jobs) <= 10

    def test_no_money_no_job(self, server: FakeOpenAI, make: Make) -> None:
        with pytest.raises(BudgetReached):
            make(budget=0.0).map(texts(30))
        assert not server.batches.files

    def test_is_half_the_price_before_too(self, server: FakeOpenAI, make: Make) -> None:
        """The most that 30 requests may cost directly is 0.073 dollars."""
        assert good(make(budget=0.04).map(texts(30))) == 30
        assert len(server.batches.jobs) == 1


class TestResume:
    def test_fetches_what_was_left(self, server: FakeOpenAI, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        interrupted(make(), texts(30), monkeypatch)
        client = make()
        assert good(client.map(texts(50))) == 50
        assert set(server.batches.computed.values()) == {1}
        assert (client.ledger.totals("r").nano, client.ledger.totals("r").open_calls) == (server.batches.bill, 0)

    def test_fetches_answers_nobody_asks_for(self, server: FakeOpenAI, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        interrupted(make(), texts(30), monkeypatch)
        assert make().ask(say("something else")).text
        assert good(make(batch=False, run="another").map(texts(30))) == 30
        assert server.stats.requests == 1

    def test_without_batch_cancels_and_keeps_what_is_done(
        self, server: FakeOpenAI, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        interrupted(make(), texts(30), monkeypatch)
        server.batches.looks = 10**6
        client = make(batch=False)
        assert good(client.map(texts(30))) == 30
        assert server.stats.requests == 15
        assert client.ledger.totals("r").open_calls == 0

    def test_with_another_key_says_which_job_it_cannot_read(
        self, server: FakeOpenAI, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LLMLABEL_API_KEY", "sk-the-first-0123456789")
        interrupted(make(), texts(30), monkeypatch)
        monkeypatch.setenv("LLMLABEL_API_KEY", "sk-the-second-0123456789")
        for _ in range(2):
            with pytest.raises(AuthError, match=r"batch_1 .*cannot be read with this key.*Use the key it was made with") as error:
                make().map(texts(30))
            assert "0123456789" not in str(error.value)
        monkeypatch.setenv("LLMLABEL_API_KEY", "sk-the-first-0123456789")
        assert good(make().map(texts(30))) == 30
        assert set(server.batches.computed.values()) == {1}
        assert server.stats.requests == 0

    def test_results_of_another_key_are_said_too(self, server: FakeOpenAI, make: Make) -> None:
        """The job can be seen, its files cannot."""
        upload = server.batches.keep
        server.batches.keep = lambda content, name, key: upload(content, name, key if "file_id" not in name else "another")  # type: ignore[method-assign]
        client = make()
        with pytest.raises(AuthError, match=r"batch_1 .*file with its results"):
            client.map(texts(30))
        assert client.ledger.totals("r").open_calls == 30

    def test_at_another_url_tells_of_the_jobs_it_leaves(
        self, server: FakeOpenAI, make: Make, monkeypatch: pytest.MonkeyPatch, notes: list[str]
    ) -> None:
        interrupted(make(), texts(30), monkeypatch)
        left = server.url
        with FakeOpenAI() as other:
            server.url = other.url
            assert good(make().map(texts(30))) == 30
        assert any(f"unfinished batch jobs of fake-1 at {left}" in note for note in notes)

    def test_a_job_is_found_among_many_pages(self, server: FakeOpenAI, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        server.batches.page = 2
        made, sent = make(), HostedBatches.submit

        async def forgets(self: HostedBatches, *args: Any) -> str:
            await sent(self, *args)
            raise asyncio.CancelledError

        with monkeypatch.context() as patch:
            patch.setattr(HostedBatches, "submit", forgets)
            with pytest.raises(concurrent.futures.CancelledError):
                made.map(texts(30))
        for i in range(7):
            make(run=f"other {i}").map([say(f"{i} {j}") for j in range(20)])
        assert good(make().map(texts(60)[10:])) == 50, "not the same requests as before"
        assert [job["shown"]["status"] for job in server.batches.jobs.values()] == ["completed"] * 9, "none was forgotten"


class TestTogether:
    def test_two_threads_ask_once(self, server: FakeOpenAI, make: Make) -> None:
        client, results = make(), []
        threads = [threading.Thread(target=lambda: results.append(good(client.map(texts(40))))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert results == [40, 40, 40]
        assert set(server.batches.computed.values()) == {1}

    def test_two_processes_ask_once(self, server: FakeOpenAI, make: Make) -> None:
        server.batches.looks = 30
        first, second, results = make("a"), make("b"), []
        threads = [threading.Thread(target=lambda c=c: results.append(good(c.map(texts(40))))) for c in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert results == [40, 40]
        assert set(server.batches.computed.values()) == {1}
        assert server.stats.requests == 0

    def test_a_direct_request_waits_for_the_job_that_has_it(self, server: FakeOpenAI, make: Make) -> None:
        server.batches.looks = 20
        client, results = make(), []
        thread = threading.Thread(target=lambda: results.append(good(client.map(texts(40)))))
        thread.start()
        while not server.batches.jobs:
            threading.Event().wait(0.01)
        assert client.ask(say("text 7")).text
        thread.join(60)
        assert results == [40]
        assert server.stats.requests == 0

    def test_a_stream_that_is_left_early_loses_nothing(self, server: FakeOpenAI, make: Make) -> None:
        client = make(limits=Limits(lines=20, first_wait=0.01))
        for _ in client.stream(texts(100)):
            break
        assert good(client.map(texts(100))) == 100
        assert set(server.batches.computed.values()) == {1}
        assert client.ledger.totals("r").nano == server.batches.bill
