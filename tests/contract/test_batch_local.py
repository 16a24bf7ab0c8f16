"""vLLM's run-batch, with a stand-in for vLLM: no server beside it, nothing lost when it dies, nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_vllm
import pytest

from llmlabel.config import CommonConfig
from llmlabel.errors import BackendError
from llmlabel.llm import Client, Ledger, connect
from llmlabel.llm.batches import Limits
from llmlabel.llm.batches.vllm import VLLMBatches
from llmlabel.llm.requests import Completion, Request

Make = Callable[..., Client]
QUICK = Limits(first_wait=0.05, longest_wait=0.05)


def texts(many: int) -> list[Request]:
    return [Request([{"role": "user", "content": f"text {i}"}]) for i in range(many)]


def good(answers: list[Any]) -> int:
    return sum(isinstance(answer, Completion) for answer in answers)


def servers(folder: Path) -> int:
    return sum(port > 0 for _, port in fake_vllm.starts(folder))


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    made: list[Client] = []

    def new(limits: Limits = QUICK, **settings: Any) -> Client:
        values = {"batch": True} | settings
        options = CommonConfig(data="x.csv", out=folder / "run", cache=folder / "ledger", **values)
        client = connect(f"vllm:{folder / 'model'}", options=options, run="r", ledger=Ledger(options.cache))
        client.batches.limits = limits
        made.append(client)
        return client

    yield new
    for client in made:
        client.close()
        client.ledger.close()


def test_a_job_needs_no_server_and_costs_nothing(folder: Path, make: Make) -> None:
    client = make()
    answers = client.map(texts(30))
    assert [a.text for a in answers if isinstance(a, Completion)] == [f"echo text {i}" for i in range(30)]
    assert (len(fake_vllm.starts(folder)), servers(folder)) == (1, 0)
    totals = client.ledger.totals("r")
    assert (totals.calls, totals.nano, totals.open_calls) == (30, 0, 0)
    assert not list((folder / "ledger" / "batches").iterdir()), "its files are gone"
    assert not list(folder.glob("llmlabel-vLLM-*.log")), "and its log"


def test_its_answers_are_those_of_the_server(folder: Path, make: Make) -> None:
    """Same keys: what one has answered, the other is not asked for."""
    make().map(texts(30))
    assert good(make(batch=False).map(texts(30))) == 30
    assert len(fake_vllm.answers(folder)) == 30


def test_jobs_run_one_after_the_other(folder: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "slow_answer").write_text("0.02")
    assert good(make(Limits(lines=10, least=5, first_wait=0.05)).map(texts(30))) == 30
    assert fake_vllm.answers(folder) == [f"text {i}" for i in range(30)]
    assert len(fake_vllm.starts(folder)) == 3


def test_a_direct_request_starts_a_server_and_the_next_job_ends_it(folder: Path, make: Make) -> None:
    client = make()
    client.map(texts(30))
    assert client.ask(Request([{"role": "user", "content": "alone"}])).text == "echo alone"
    pid = next(pid for pid, port in fake_vllm.starts(folder) if port)
    assert Path(f"/proc/{pid}").exists()
    assert good(client.map(texts(60))) == 60
    assert not Path(f"/proc/{pid}").exists()
    assert client.ask(Request([{"role": "user", "content": "alone again"}])).text == "echo alone again"
    assert servers(folder) == 2


def test_a_refused_line_fails_alone(folder: Path, make: Make) -> None:
    answers = make().map([*texts(30), Request([{"role": "user", "content": "refuse me"}])])
    assert good(answers) == 30
    assert "too long" in str(answers[30])


def test_a_job_that_dies_shows_its_log_and_the_next_run_asks_again(folder: Path, make: Make) -> None:
    (folder / "batch_dies").write_text("10")
    client = make()
    with pytest.raises(BackendError, match=r"(?s)ended before batch job .* was done.*fake vLLM: no memory left"):
        client.map(texts(30))
    assert client.ledger.totals("r").open_calls == 30, "nobody knows of their answers yet"
    assert good(client.map(texts(30))) == 30
    totals = client.ledger.totals("r")
    assert (totals.calls, totals.open_calls) == (30, 0)


def test_one_that_was_stopped_with_its_process_is_made_again(folder: Path, make: Make) -> None:
    (folder / "slow_answer").write_text("0.2")
    first, failed = make(), []

    def ask() -> None:
        try:
            first.map(texts(30))
        except BaseException as e:
            failed.append(e)

    thread = threading.Thread(target=ask)
    thread.start()
    while len(fake_vllm.answers(folder)) < 3:
        time.sleep(0.02)
    pid = fake_vllm.starts(folder)[0][0]
    first.close()
    thread.join(30)
    assert failed and not Path(f"/proc/{pid}").exists()
    (folder / "slow_answer").write_text("0")
    client = make()
    assert good(client.map(texts(30))) == 30
    assert client.ledger.totals("r").open_calls == 0
    assert not list((folder / "ledger" / "batches").iterdir())


def test_results_that_were_not_read_are_read_by_the_next_run(folder: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stop(self: VLLMBatches, remote: str) -> Any:
        raise BackendError("pulled the plug")
        yield b""

    with monkeypatch.context() as patch:
        patch.setattr(VLLMBatches, "results", stop)
        with pytest.raises(BackendError, match="pulled the plug"):
            make().map(texts(30))
    assert good(make(batch=False).map(texts(30))) == 30
    assert len(fake_vllm.answers(folder)) == 30
