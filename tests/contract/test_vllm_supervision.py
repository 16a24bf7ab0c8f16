"""Servers that are shared, started once, and replaced when they die; with a stand-in for vLLM's process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_vllm
import pytest

from llmlabel import events, llm
from llmlabel.errors import BackendError, ConfigError, TransientError
from llmlabel.llm import Ledger, running
from llmlabel.llm.backends.vllm import VLLMBackend, connect
from llmlabel.llm.loop import run_async
from llmlabel.llm.options import Options
from llmlabel.llm.requests import Completion, LostAnswer, Request

Connect = Callable[[], VLLMBackend]


@pytest.fixture
def open_backend(folder: Path) -> Iterator[Connect]:
    made: list[VLLMBackend] = []

    def new() -> VLLMBackend:
        made.append(connect(Options(str(folder / "model"), timeout=20)))
        return made[-1]

    yield new
    for backend in made:
        run_async(backend.close())


def say(text: str) -> Request:
    return Request([{"role": "user", "content": text}])


async def ask(backend: VLLMBackend, text: str) -> str:
    """As the client does: again after a passing failure."""
    for _ in range(6):
        with contextlib.suppress(TransientError):
            return (await backend.complete(say(text))).text
        await asyncio.sleep(0.05)
    raise AssertionError(f"{text}: six attempts failed")


def record(folder: Path) -> Path:
    return next((folder / "cache" / "llmlabel" / "servers").glob("*/*.json"))


def soon(true: Callable[[], object], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return bool(true())


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def kill_server(folder: Path) -> None:
    os.kill(fake_vllm.starts(folder)[-1][0], signal.SIGKILL)


CODE = """
import sys, time
from llmlabel.llm.backends.vllm import connect
from llmlabel.llm.options import Options
backend = connect(Options(sys.argv[1]))
print(backend.url, flush=True)
sys.stdin.read()
"""


def other_process(folder: Path, code: str = CODE) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code, str(folder / "model")]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def url_of(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


class TestReuse:
    def test_a_second_client_takes_the_same_server_and_does_not_stop_it(self, folder: Path, open_backend: Connect) -> None:
        one, other = open_backend(), open_backend()
        assert one.url == other.url
        assert len(fake_vllm.starts(folder)) == 1
        run_async(other.close())
        assert running.health(one._service.running.url) == "up"
        assert run_async(ask(one, "a")) == "echo a"
        run_async(one.close())
        assert running.health(one._service.running.url) == "down"

    def test_what_is_written_down(self, folder: Path, open_backend: Connect) -> None:
        backend = open_backend()
        raw = json.loads(record(folder).read_text())
        assert record(folder).stat().st_mode & 0o777 == 0o600
        assert record(folder).parent.stat().st_mode & 0o077 == 0
        assert raw["url"] == backend._service.running.url
        assert raw["pid"] == os.getpid()
        assert (raw["model"], raw["source"]) == ("model", str(folder / "model"))
        assert raw["revision"] == backend.revision != ""
        assert "--logprobs-mode" in raw["flags"]
        run_async(backend.close())
        assert not list(record_files(folder))

    def test_what_killed_processes_left_is_swept_away(self, folder: Path, open_backend: Connect) -> None:
        one = open_backend()
        left = record(folder).with_name("0123.json")
        left.write_text(json.dumps({**json.loads(record(folder).read_text()), "pid": 2**22 + 1}))
        live = record(folder)
        (folder / "model" / "model.safetensors").write_bytes(b"y")
        other = open_backend()
        assert sorted(record_files(folder)) == sorted({live, other._service._wanted.file})
        assert running.health(one._service.running.url) == "up"

    def test_processes_that_start_together_start_one_server(self, folder: Path) -> None:
        (folder / "slow_start").write_text("1")
        processes = [other_process(folder) for _ in range(4)]
        try:
            assert len({url_of(p) for p in processes}) == 1
            assert len(fake_vllm.starts(folder)) == 1
        finally:
            for p in processes:
                p.communicate()

    def test_a_lender_that_is_killed_is_replaced_by_a_server_of_our_own(self, folder: Path, open_backend: Connect) -> None:
        lender = other_process(folder)
        url = url_of(lender)
        backend = open_backend()
        assert backend.url == url
        lender.kill()
        lender.communicate()
        assert soon(lambda: gone(fake_vllm.starts(folder)[0][0]))
        assert run_async(ask(backend, "a")) == "echo a"
        assert backend.url != url
        assert json.loads(record(folder).read_text())["pid"] == os.getpid()
        kill_server(folder)  # the loss of a borrowed one was no death of ours
        assert run_async(ask(backend, "b")) == "echo b"
        assert len(fake_vllm.starts(folder)) == 3

    @pytest.mark.parametrize("change", ["flags", "weights"])
    def test_another_model_or_flag_is_another_server(
        self, change: str, folder: Path, open_backend: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = open_backend()
        if change == "flags":
            monkeypatch.setenv("LLMLABEL_VLLM_ARGS", "--enforce-eager")
        else:
            (folder / "model" / "model.safetensors").write_bytes(b"y")
        other = open_backend()
        assert one.url != other.url
        assert run_async(ask(one, "a")) == run_async(ask(other, "a")) == "echo a"

    @pytest.mark.parametrize(
        "change", [{"pid": 0}, {"pid": 2**22 + 1}, {"url": "http://127.0.0.1:9"}, {"model": "other"}, {"url": 3}, None]
    )
    def test_a_file_that_is_not_right_is_replaced(
        self, change: dict[str, object] | None, folder: Path, open_backend: Connect
    ) -> None:
        first = open_backend()
        raw = json.loads(record(folder).read_text())
        record(folder).write_text("no JSON" if change is None else json.dumps({**raw, **change}))
        second = open_backend()
        assert second.url != first.url
        assert json.loads(record(folder).read_text())["url"] == second._service.running.url
        run_async(first.close())
        assert record(folder).exists(), "it is not the first one's any more"

    def test_a_server_of_another_model_on_that_port_is_not_taken(self, folder: Path, open_backend: Connect) -> None:
        """The same name, and other weights behind it."""
        first = open_backend()
        raw = json.loads(record(folder).read_text())
        (folder / "else").mkdir()
        (folder / "model").rename(folder / "else" / "model")
        other = connect(Options(str(folder / "else" / "model")))
        (folder / "else" / "model").rename(folder / "model")
        wanted = first._service._wanted
        wanted.file.write_text(json.dumps({**raw, "url": other._service.running.url}))
        assert running.find(wanted, "EMPTY") is None
        run_async(other.close())


def record_files(folder: Path) -> Iterator[Path]:
    return (folder / "cache" / "llmlabel" / "servers").glob("*/*.json")


class TestRestart:
    def test_no_row_is_lost_when_the_server_is_killed(self, folder: Path, open_backend: Connect) -> None:
        """60 rows, 8 at a time; 8 are in flight when the server gets SIGKILL."""
        (folder / "slow_answer").write_text("0.05")
        backend, seen = open_backend(), []

        async def run() -> list[str]:
            limit = asyncio.Semaphore(8)

            async def one(i: int) -> str:
                async with limit:
                    if i == 30:
                        kill_server(folder)
                    return await ask(backend, f"row {i}")

            return await asyncio.gather(*(one(i) for i in range(60)))

        with events.listening(seen.append):
            assert run_async(run()) == [f"echo row {i}" for i in range(60)]
        assert len(fake_vllm.starts(folder)) == 2, "eight requests failed, one restart"
        assert [e["event"] for e in seen] == ["note"]
        asked = fake_vllm.answers(folder)
        assert {asked.count(f"row {i}") for i in range(20)} == {1}, "what had been answered is not asked again"
        assert len(asked) <= 68, "only what was in flight is asked twice"

    def test_the_client_neither_loses_nor_repeats_a_row(self, folder: Path) -> None:
        """The whole way, with its retries and its ledger."""
        (folder / "slow_answer").write_text("0.05")
        client = llm.connect(f"vllm:{folder / 'model'}", ledger=Ledger(folder / "ledger"), run="r")

        killed: list[int] = []

        def kill_once(done: int) -> None:
            if not killed and len(fake_vllm.answers(folder)) > 100:
                kill_server(folder)
                killed.append(done)

        try:
            found = client.map([say(f"row {i}") for i in range(400)], on_done=kill_once)
        finally:
            client.close()
        assert [getattr(answer, "text", answer) for answer in found] == [f"echo row {i}" for i in range(400)]
        assert killed
        assert len(fake_vllm.starts(folder)) == 2
        with sqlite3.connect(client.ledger.path) as db:
            assert db.execute("SELECT count(*) FROM answers").fetchone() == (400,)

    def test_a_second_death_is_the_end_and_shows_the_log(self, folder: Path, open_backend: Connect) -> None:
        backend = open_backend()
        for text in "ab":
            assert run_async(ask(backend, text))
            kill_server(folder)
        for _ in range(2):
            with pytest.raises(BackendError, match=r"(?s)died again.*end of its log.*fake vLLM: ready") as error:
                run_async(ask(backend, "c"))
            assert not isinstance(error.value, TransientError)
        assert len(fake_vllm.starts(folder)) == 2
        assert not list(record_files(folder))

    def test_a_restart_that_fails_shows_the_log(self, folder: Path, open_backend: Connect) -> None:
        backend = open_backend()
        (folder / "fail_after").write_text("1")
        kill_server(folder)
        with pytest.raises(BackendError, match=r"(?s)ended by itself.*no memory left"):
            run_async(ask(backend, "a"))

    def test_the_event_loop_goes_on_meanwhile(self, folder: Path, open_backend: Connect) -> None:
        backend, gaps = open_backend(), []
        (folder / "slow_start").write_text("2")
        kill_server(folder)

        async def ticks() -> None:
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.01)
                gaps.append(time.monotonic() - before)

        async def run() -> None:
            ticking = asyncio.create_task(ticks())
            assert await ask(backend, "a") == "echo a"
            ticking.cancel()

        run_async(run())
        assert sum(gaps) > 2, "it took that long"
        assert max(gaps) < 1

    def test_a_server_that_is_slow_to_answer_is_left_alone(
        self, folder: Path, open_backend: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(running, "SECONDS", 0.5)
        backend = open_backend()
        pid = fake_vllm.starts(folder)[0][0]
        os.kill(pid, signal.SIGSTOP)
        try:
            run_async(backend._service.check(backend._service.number))
        finally:
            os.kill(pid, signal.SIGCONT)
        assert len(fake_vllm.starts(folder)) == 1
        assert run_async(ask(backend, "a")) == "echo a"

    def test_closing_during_a_restart_leaves_nothing(self, folder: Path, open_backend: Connect) -> None:
        backend = open_backend()
        (folder / "slow_start").write_text("60")
        kill_server(folder)

        async def run() -> None:
            asking = asyncio.create_task(ask(backend, "a"))
            while len(fake_vllm.starts(folder)) < 2:
                await asyncio.sleep(0.05)
            await backend.close()
            with pytest.raises(BackendError):
                await asking

        run_async(run())
        assert soon(lambda: gone(fake_vllm.starts(folder)[1][0]))


class TestCtrlC:
    def test_while_it_starts(self, folder: Path) -> None:
        (folder / "slow_start").write_text("60")
        self._interrupted(folder, CODE, 1)

    def test_while_it_starts_again(self, folder: Path) -> None:
        code = CODE.replace(
            "sys.stdin.read()",
            "from llmlabel.llm.loop import run_async\nfrom llmlabel.llm.requests import Request\n"
            "sys.stdin.readline()\nrun_async(backend.complete(Request([{'role': 'user', 'content': 'a'}])))",
        )
        self._interrupted(folder, code, 2)

    def _interrupted(self, folder: Path, code: str, starts: int) -> None:
        with other_process(folder, code) as owner:
            if starts == 2:
                assert url_of(owner)
                (folder / "slow_start").write_text("60")
                kill_server(folder)
                assert owner.stdin is not None
                owner.stdin.write(b"\n")
                owner.stdin.flush()
            assert soon(lambda: len(fake_vllm.starts(folder)) == starts)
            owner.send_signal(signal.SIGINT)
            _, errors = owner.communicate(timeout=20)
        assert owner.returncode != 0
        assert b"KeyboardInterrupt" in errors
        assert soon(lambda: gone(fake_vllm.starts(folder)[-1][0]))


class TestAnswers:
    def test_tokens_a_schema_forbids_are_no_alternatives(self, open_backend: Connect) -> None:
        answer = run_async(open_backend().complete(Request([{"role": "user", "content": "a"}], top_logprobs=2)))
        assert answer.logprobs == {"yes": -0.1}

    def test_an_answer_that_was_cut_off_by_the_server_is_lost(self, open_backend: Connect) -> None:
        backend = open_backend()
        with pytest.raises(LostAnswer):
            run_async(backend.complete(say("stop me")))
        assert run_async(backend.complete(say("stop me"))) == Completion("echo stop me", prompt_tokens=1, completion_tokens=1)

    @pytest.mark.parametrize("flags", ["--logprobs-mode raw_logits", "--logprobs-mode=processed_logits", "'unclosed"])
    def test_flags_that_cannot_be_used_are_refused(
        self, flags: str, open_backend: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LLMLABEL_VLLM_ARGS", flags)
        with pytest.raises(ConfigError, match="LLMLABEL_VLLM_ARGS"):
            open_backend()

    def test_a_proxy_is_not_asked_for_this_machine(self, open_backend: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert run_async(open_backend().complete(say("a"))).text == "echo a"

    def test_says_how_many_requests_it_takes_at_once(self, open_backend: Connect) -> None:
        assert open_backend().most_in_flight == 256
