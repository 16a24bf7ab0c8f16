"""The client: retries, budgets, one answer per request, and what stops a run."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_openai import FakeOpenAI, count_bytes, plain_answer, prompt_of

from llmlabel.config import CommonConfig
from llmlabel.errors import AuthError, BackendError, BudgetReached, ConfigError, LlmlabelError, RequestRejected
from llmlabel.llm import Client, Ledger, Models, connect
from llmlabel.llm.backends.scripted import ScriptedBackend
from llmlabel.llm.prices import Prices
from llmlabel.llm.requests import AnyRequest, Completion, Request

CANARY = "sk-canary-0123456789abcdef"
ODD_CANARY = "hunter2 is no standard key".replace(" ", "_")
Sleeps = list[float]


def say(text: str, **more: object) -> Request:
    return Request([{"role": "user", "content": text}], **more)  # type: ignore[arg-type]


def config(tmp_path: Path, **more: object) -> CommonConfig:
    return CommonConfig(data="x.csv", out=tmp_path / "run", cache=tmp_path / "cache", **more)  # type: ignore[arg-type]


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> Sleeps:
    """The waits between attempts, in seconds, asked for and not slept."""
    asked: Sleeps = []
    real = asyncio.sleep

    async def note(delay: float) -> None:
        asked.append(delay)
        await real(0)

    monkeypatch.setattr("stamina._core._smart_sleep", note)
    return asked


@pytest.fixture
def client_of(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Make clients of a server; closed at the end."""
    made: list[Client] = []

    def make(server: FakeOpenAI, *, probe: bool = False, run: str = "r", **settings: object) -> Client:
        options = config(tmp_path, **settings)
        ledger = Ledger(options.cache)
        made.append(connect(f"fake-1@{server.url}", options=options, run=run, ledger=ledger, probe=probe))
        return made[-1]

    yield make
    for client in made:
        client.close()


def scripted(function: Callable[[AnyRequest], object], tmp_path: Path, concurrency: int = 16) -> Client:
    backend = ScriptedBackend(function)  # type: ignore[arg-type]
    return Client(backend, Ledger(tmp_path), Prices().of(backend), "r", concurrency=concurrency)


class TestAnswers:
    def test_come_in_the_order_of_the_requests(self, fake_server: FakeOpenAI, client_of: Callable[..., Client]) -> None:
        fake_server.answer = prompt_of
        answers = client_of(fake_server).map([say(f"n {i}") for i in range(40)])
        assert [a.text for a in answers if isinstance(a, Completion)] == [f"n {i}" for i in range(40)]

    def test_an_empty_list_sends_nothing(self, fake_server: FakeOpenAI, client_of: Callable[..., Client]) -> None:
        assert client_of(fake_server).map([]) == []
        assert fake_server.stats.requests == 0

    def test_a_second_run_sends_nothing(self, fake_server: FakeOpenAI, client_of: Callable[..., Client]) -> None:
        requests = [say(f"n {i}", top_logprobs=3) for i in range(20)]
        first = client_of(fake_server, probe=True).map(requests)
        sent = fake_server.stats.requests
        assert sent == 22  # 20 and the two of the probe
        assert client_of(fake_server, probe=True, run="another").map(requests) == first
        assert fake_server.stats.requests == sent

    def test_a_second_run_sends_nothing_when_the_server_named_the_model(
        self, fake_server: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", fake_server.url)
        for _ in range(2):
            client = connect(None, options=config(tmp_path))
            assert client.backend.model == "fake-1"
            client.ask(say("hello"))
            client.close()
        assert fake_server.stats.requests == 3

    def test_the_same_request_in_flight_is_sent_once(self, fake_server: FakeOpenAI, client_of: Callable[..., Client]) -> None:
        numbers = iter(range(1000))
        fake_server.answer, fake_server.latency = lambda body: f"draw {next(numbers)}", 0.05
        client = client_of(fake_server)
        assert {a.text for a in client.map([say("same")] * 30) if isinstance(a, Completion)} == {"draw 0"}
        assert fake_server.stats.requests == 1
        assert (client.usage.asked, client.usage.from_cache) == (30, 29)

    def test_draws_are_told_apart(self, fake_server: FakeOpenAI, client_of: Callable[..., Client]) -> None:
        answers = client_of(fake_server).map([say("same", sample=i, temperature=1.0) for i in range(5)])
        assert len({a.text for a in answers if isinstance(a, Completion)}) == 5

    def test_concurrency_is_bounded_and_used(self, fake_server: FakeOpenAI, client_of: Callable[..., Client]) -> None:
        fake_server.latency = 0.05
        client_of(fake_server, concurrency=8).map([say(str(i)) for i in range(40)])
        assert fake_server.stats.most_in_flight == 8

    @pytest.mark.parametrize("text", ["\ud800 alone", "مرحبا \u202e", "\x00\x07", "👩‍👩‍👧‍👦" * 50, "<|im_end|>"])
    def test_hostile_unicode_is_asked_answered_and_kept(
        self, text: str, fake_server: FakeOpenAI, client_of: Callable[..., Client]
    ) -> None:
        fake_server.answer = lambda body: "echo \udfff " + prompt_of(body)
        first = client_of(fake_server).ask(say(text))
        assert first.text.startswith("echo ")
        assert client_of(fake_server).ask(say(text)) == first
        assert fake_server.stats.requests == 1
        first.text.encode()  # can be written to any file

    def test_progress_is_told_per_request(self, tmp_path: Path) -> None:
        done: list[int] = []
        scripted(lambda r: "x", tmp_path).map([say(str(i)) for i in range(7)], on_done=done.append)
        assert sum(done) == 7

    def test_parameters_an_endpoint_refuses_are_left_out_even_when_many_are_in_flight(
        self, fake_server: FakeOpenAI, client_of: Callable[..., Client]
    ) -> None:
        fake_server.unsupported, fake_server.latency = {"max_tokens", "temperature"}, 0.02
        answers = client_of(fake_server).map([say(str(i)) for i in range(20)])
        assert all(isinstance(a, Completion) for a in answers)
        assert "max_completion_tokens" in fake_server.bodies[-1]
        assert not {"max_tokens", "temperature"} & set(fake_server.bodies[-1])


class TestRetries:
    @pytest.mark.parametrize("kind", ["429", "500", "disconnect", "damaged", "html"])
    def test_what_passes_is_tried_again(
        self, kind: str, fake_server: FakeOpenAI, client_of: Callable[..., Client], sleeps: Sleeps
    ) -> None:
        fake_server.fail(kind, times=2)
        client = client_of(fake_server)
        assert client.ask(say("hi")).text == plain_answer(fake_server.bodies[-1])
        assert fake_server.stats.requests == 3
        assert client.usage.retries.total() == 2
        assert len(sleeps) == 2
        assert all(0.5 <= s <= 30 for s in sleeps)

    @pytest.mark.parametrize(("header", "wait"), [("7", 7.0), ("0", 0.0), ("2.5", 2.5), ("99999", 300.0)])
    def test_retry_after_is_kept(
        self, header: str, wait: float, fake_server: FakeOpenAI, client_of: Callable[..., Client], sleeps: Sleeps
    ) -> None:
        fake_server.fail("429", retry_after=header)
        client_of(fake_server).ask(say("hi"))
        assert sleeps == [wait]

    @pytest.mark.parametrize("header", ["Wed, 21 Oct 2015 07:28:00 GMT", "nan", "soon", "-5", "inf"])
    def test_a_strange_retry_after_is_survived(
        self, header: str, fake_server: FakeOpenAI, client_of: Callable[..., Client], sleeps: Sleeps
    ) -> None:
        fake_server.fail("429", retry_after=header)
        client_of(fake_server).ask(say("hi"))
        assert len(sleeps) == 1
        assert 0 <= sleeps[0] <= 300

    def test_a_hanging_server_is_left_after_the_time_out(
        self, fake_server: FakeOpenAI, client_of: Callable[..., Client], sleeps: Sleeps
    ) -> None:
        fake_server.fail("hang")
        start = time.monotonic()
        assert client_of(fake_server, timeout=0.3).ask(say("hi")).text
        assert time.monotonic() - start < 5

    def test_one_request_that_never_works_fails_alone(
        self, fake_server: FakeOpenAI, client_of: Callable[..., Client], sleeps: Sleeps
    ) -> None:
        fake_server.fail("500", times=6)
        answers = client_of(fake_server, concurrency=1).map([say("a"), say("b")])
        assert isinstance(answers[0], RequestRejected)
        assert "6 attempts" in str(answers[0])
        assert isinstance(answers[1], Completion)

    def test_a_dead_server_stops_the_run(self, fake_server: FakeOpenAI, client_of: Callable[..., Client], sleeps: Sleeps) -> None:
        fake_server.fail("500", times=10**6)
        with pytest.raises(BackendError, match="run the same command to go on") as error:
            client_of(fake_server, concurrency=1).map([say(str(i)) for i in range(50)])
        assert not isinstance(error.value, RequestRejected)
        assert fake_server.stats.requests == 18  # three requests with six attempts each

    def test_no_server_at_all_is_said_when_connecting(self, tmp_path: Path, sleeps: Sleeps) -> None:
        with pytest.raises(BackendError, match="cannot be reached"):
            connect("m@http://127.0.0.1:9/v1", options=config(tmp_path))

    def test_a_wrong_key_stops_at_once(self, fake_server: FakeOpenAI, client_of: Callable[..., Client], sleeps: Sleeps) -> None:
        fake_server.key = "right"
        with pytest.raises(AuthError, match=r"LLMLABEL_API_KEY|api_key_env"):
            client_of(fake_server, concurrency=1).map([say(str(i)) for i in range(50)])
        assert fake_server.stats.requests == 1
        assert sleeps == []

    def test_too_long_fails_alone(self, fake_server: FakeOpenAI, client_of: Callable[..., Client]) -> None:
        fake_server.context = 600
        answers = client_of(fake_server).map([say("word " * 1000), say("short")])
        assert isinstance(answers[0], RequestRejected)
        assert "context length" in str(answers[0])
        assert isinstance(answers[1], Completion)

    def test_an_unknown_model_stops_and_says_what_to_check(self, fake_server: FakeOpenAI, tmp_path: Path) -> None:
        with pytest.raises(BackendError, match="Check the model's name"):
            connect(f"nope@{fake_server.url}", options=config(tmp_path))


class TestBudget:
    def test_a_cap_of_calls_is_never_passed(self, fake_server: FakeOpenAI, client_of: Callable[..., Client]) -> None:
        fake_server.latency = 0.01
        with pytest.raises(BudgetReached, match="cap of 37 calls"):
            client_of(fake_server, budget_calls=37, concurrency=64).map([say(str(i)) for i in range(200)])
        assert fake_server.stats.requests == 37

    @pytest.mark.parametrize("fault", [None, "500", "disconnect", "damaged"])
    def test_a_cap_of_tokens_is_never_passed_at_the_server(
        self, fault: str | None, fake_server: FakeOpenAI, client_of: Callable[..., Client], sleeps: Sleeps
    ) -> None:
        """Even with a tokenizer as bad as can be, answers as long as allowed, and answers that get lost."""
        fake_server.count, fake_server.answer, fake_server.latency = count_bytes, lambda body: "x " * 400, 0.01
        if fault:
            fake_server.fail(fault, times=10, after=3)
        requests = [say(f"text {i}", max_tokens=100) for i in range(300)]
        with pytest.raises(BudgetReached):
            client_of(fake_server, budget_tokens=6000, concurrency=64).map(requests)
        assert 1000 < fake_server.stats.billed_tokens <= 6000

    def test_a_time_out_counts_as_billed(self, fake_server: FakeOpenAI, client_of: Callable[..., Client], sleeps: Sleeps) -> None:
        fake_server.count, fake_server.answer = count_bytes, lambda body: "x " * 400
        fake_server.fail("hang", times=10**6)
        with pytest.raises(BudgetReached):
            client_of(fake_server, budget_tokens=1000, timeout=0.1).ask(say("hi", max_tokens=100))
        assert 200 <= fake_server.stats.billed_tokens <= 1000

    def test_a_cap_of_money_is_never_passed(self, fake_server: FakeOpenAI, client_of: Callable[..., Client]) -> None:
        prices = {"fake-1": {"input": 1.0, "output": 10.0}}
        fake_server.count = count_bytes
        requests = [say(str(i)) for i in range(99)]
        with pytest.raises(BudgetReached, match="USD"):
            client_of(fake_server, budget=0.01, prices=prices, concurrency=64).map(requests)
        stats = fake_server.stats
        assert 0 < stats.billed_prompt_tokens * 1e-6 + stats.billed_completion_tokens * 10e-6 <= 0.01

    def test_a_refused_connection_costs_nothing(self, tmp_path: Path, sleeps: Sleeps) -> None:
        options = config(tmp_path, budget_tokens=2000)
        client = connect("m@http://127.0.0.1:9/v1", options=options, run="r", probe=False)
        with pytest.raises(RequestRejected):
            client.ask(say("hi"))
        assert client.ledger.totals("r").open_tokens == 0

    def test_a_budget_without_a_price_is_refused(self, fake_server: FakeOpenAI, client_of: Callable[..., Client]) -> None:
        with pytest.raises(ConfigError, match=r"(?m)^  fake-1: \{input"):
            client_of(fake_server, budget=1.0)

    def test_what_was_in_flight_is_kept(self, fake_server: FakeOpenAI, client_of: Callable[..., Client]) -> None:
        fake_server.latency = 0.05
        requests = [say(str(i)) for i in range(100)]
        with pytest.raises(BudgetReached):
            client_of(fake_server, budget_calls=20, concurrency=16).map(requests)
        client = client_of(fake_server, budget_calls=100)
        assert all(isinstance(a, Completion) for a in client.map(requests))
        assert client.usage.from_cache == 20
        assert fake_server.stats.requests == 100

    def test_the_cap_belongs_to_the_run_over_all_its_resumes(
        self, fake_server: FakeOpenAI, client_of: Callable[..., Client]
    ) -> None:
        for _ in range(3):
            with pytest.raises(BudgetReached):
                client_of(fake_server, budget_calls=5).map([say(str(i)) for i in range(10)])
        assert fake_server.stats.requests == 5
        client_of(fake_server, budget_calls=5, run="other").map([say(f"other {i}") for i in range(5)])

    def test_money_and_tokens_are_counted_as_billed(self, fake_server: FakeOpenAI, client_of: Callable[..., Client]) -> None:
        client = client_of(fake_server, prices={"fake-1": {"input": 2.0, "output": 4.0}})
        client.map([say(f"text number {i}") for i in range(10)])
        totals, stats = client.ledger.totals("r"), fake_server.stats
        billed = (stats.billed_prompt_tokens, stats.billed_completion_tokens)
        assert (totals.prompt_tokens, totals.completion_tokens) == billed
        assert totals.cost == pytest.approx(billed[0] * 2e-6 + billed[1] * 4e-6)


class TestSecrets:
    @pytest.mark.parametrize("secret", [CANARY, ODD_CANARY])
    def test_the_key_is_in_no_error_and_no_file(
        self, secret: str, fake_server: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleeps: Sleeps
    ) -> None:
        """The server repeats the key in its messages."""
        monkeypatch.setenv("LLMLABEL_API_KEY", secret)
        texts = []
        for kind in ("400", "401", "500"):
            fake_server.fail(kind, times=6, message=f"bad key {secret}")
            texts.append(_failure(fake_server.url, tmp_path))
            fake_server.reset()
        fake_server.key = "another"
        texts.append(_failure(fake_server.url, tmp_path))
        assert len(texts) == 4
        assert all(secret not in text for text in texts)
        for file in (f for f in (tmp_path / "cache").rglob("*") if f.is_file()):
            assert secret.encode() not in file.read_bytes()

    def test_a_password_in_a_url_is_not_repeated(self, tmp_path: Path, sleeps: Sleeps) -> None:
        text = _failure("http://user:hunter2@127.0.0.1:9/v1", tmp_path)
        assert "127.0.0.1:9" in text
        assert "hunter2" not in text

    @pytest.mark.parametrize("secret", ["key\n", " key "])
    def test_white_space_around_a_key_does_no_harm(
        self, secret: str, fake_server: FakeOpenAI, client_of: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LLMLABEL_API_KEY", secret)
        fake_server.key = "key"
        assert client_of(fake_server).ask(say("hi")).text

    def test_the_hosted_key_goes_to_no_other_url(
        self, fake_server: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "hosted")
        fake_server.key = "hosted"
        with pytest.raises(AuthError):
            connect(f"fake-1@{fake_server.url}", options=config(tmp_path))


class TestModels:
    def test_roles_with_one_spec_share_a_client(self, fake_server: FakeOpenAI, tmp_path: Path) -> None:
        roles = {"default": f"fake-1@{fake_server.url}", "label": f"fake-1@{fake_server.url}"}
        with Models(config(tmp_path, llm=roles), "r") as models:
            assert models["label"] is models["update"]
            assert models["label"].backend.features.schema is True


@pytest.mark.parametrize(("schema", "logprobs"), [(True, True), (False, True), (None, False)])
def test_features_are_found_by_asking(
    schema: bool | None, logprobs: bool, fake_server: FakeOpenAI, client_of: Callable[..., Client]
) -> None:
    fake_server.schema, fake_server.logprobs = schema, logprobs
    features = client_of(fake_server, probe=True).backend.features
    assert (features.schema, features.logprobs) == (bool(schema), logprobs)


def test_a_function_that_fails_stops_with_its_name(tmp_path: Path) -> None:
    def broken(request: AnyRequest) -> str:
        raise ZeroDivisionError("oh")

    with pytest.raises(BackendError, match=r"broken raised ZeroDivisionError: oh"):
        scripted(broken, tmp_path).ask(say("x"))


def _failure(url: str, tmp_path: Path) -> str:
    """All a user or a log could see of a failed request: message and traceback."""
    client = connect(f"fake-1@{url}", options=config(tmp_path), probe=False)
    try:
        client.ask(say("hi"))
    except LlmlabelError as e:
        return str(e) + "".join(traceback.format_exception(e))
    finally:
        client.close()
    pytest.fail("the request should have failed")


class TestStream:
    def test_any_number_of_requests_in_bounded_memory(self, tmp_path: Path) -> None:
        """Never more than some thousands are drawn before their answers are read."""
        client, drawn, most = scripted(lambda r: "x", tmp_path), 0, 0

        def requests() -> Iterator[Request]:
            nonlocal drawn
            for i in range(30_000):
                drawn += 1
                yield say(str(i % 50))

        seen = set()
        for read, (i, answer) in enumerate(client.stream(requests())):
            most = max(most, drawn - read)
            assert isinstance(answer, Completion)
            seen.add(i)
        assert seen == set(range(30_000))
        assert most < 12_000

    def test_leaving_early_stops_asking(self, fake_server: FakeOpenAI, client_of: Callable[..., Client]) -> None:
        fake_server.latency = 0.01
        for n, _ in enumerate(client_of(fake_server, concurrency=4).stream(say(str(i)) for i in range(10_000))):
            if n == 20:
                break
        time.sleep(0.1)
        sent = fake_server.stats.requests
        time.sleep(0.2)
        assert fake_server.stats.requests == sent < 400

    def test_a_fault_in_whoever_makes_the_requests_is_raised(self, tmp_path: Path) -> None:
        def requests() -> Iterator[Request]:
            yield say("a")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            list(scripted(lambda r: "x", tmp_path).stream(requests()))


class TestStrangeEndpoints:
    def test_one_that_refuses_everything_is_left_after_the_first_ten(
        self, fake_server: FakeOpenAI, client_of: Callable[..., Client]
    ) -> None:
        fake_server.fail("400", times=10**6, message="no such parameter")
        with pytest.raises(BackendError, match="first 10 requests were all refused.*no such parameter"):
            client_of(fake_server, concurrency=2).map([say(str(i)) for i in range(500)])
        assert fake_server.stats.requests <= 12

    def test_one_that_does_not_say_what_it_used_is_taken_at_the_most(self, tmp_path: Path) -> None:
        backend = ScriptedBackend(lambda r: "x")
        backend.local = False
        client = Client(backend, Ledger(tmp_path), Prices({backend.model: {"input": 1.0}}).of(backend), "r")
        answer = client.ask(say("hello", max_tokens=7))
        assert answer.completion_tokens == 7
        assert client.ledger.totals("r").prompt_tokens == answer.prompt_tokens > 5

    def test_half_a_megabyte_is_sent_and_paid_once(self, fake_server: FakeOpenAI, client_of: Callable[..., Client]) -> None:
        client = client_of(fake_server)
        fake_server.context = 10**9
        for _ in range(2):
            assert client.ask(say("word " * 100_000)).text
        assert fake_server.stats.requests == 1

    def test_a_clock_that_goes_back_changes_nothing(
        self, fake_server: FakeOpenAI, client_of: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = iter(range(10**9, 0, -3600))
        monkeypatch.setattr("llmlabel.llm.writer.time.time", lambda: next(now))
        client = client_of(fake_server, budget_calls=30)
        assert len({a.text for a in client.map([say(str(i)) for i in range(30)]) if isinstance(a, Completion)}) == 30
        with pytest.raises(BudgetReached):
            client.ask(say("one more"))

    @pytest.mark.slow
    def test_a_cap_is_used_up_before_it_stops(self, fake_server: FakeOpenAI, client_of: Callable[..., Client]) -> None:
        """What is in flight is reckoned at its most; only when it has come back and there is still no room, it stops."""
        fake_server.latency = 0.01
        client = client_of(fake_server, budget_tokens=3000, concurrency=64)
        with pytest.raises(BudgetReached):
            client.map([say(f"text {i}", max_tokens=100) for i in range(2000)])
        assert 2600 < fake_server.stats.billed_tokens <= 3000
