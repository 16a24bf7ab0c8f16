"""Whatever is killed in the middle of a run, the next attempt finishes it, and no stored answer is asked for again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_vllm
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import smart_model
import yaml
from books import added_up
from fake_openai import FakeOpenAI
from postgres import Postgres, postgres
from prefect_server import PrefectServer, prefect_server

pytestmark = pytest.mark.slow
LLMLABEL = str(Path(sys.executable).with_name("llmlabel"))
ROWS, AT_ONCE = 60, 2


class Bench:
    """Runs of `llmlabel run annotate` against a slow model, on one Prefect server and one cache."""

    def __init__(self, folder: Path, server: PrefectServer, database: Postgres, model: FakeOpenAI) -> None:
        self.folder, self.server, self.database, self.model = folder, server, database, model

    def start(self, out: str, **settings: Any) -> subprocess.Popen[bytes]:
        given = [f"--set={k}={v}" for k, v in {"embedder": "tfidf", "order_sample": 0, **settings}.items()]
        command = [
            LLMLABEL, "run", "annotate", "--data", "letters.parquet", "--taxonomy", "taxonomy.yaml", "--llm",
            f"fake-1@{self.model.url}", "--concurrency", str(AT_ONCE), "--cache", "cache", "--out", out, *given,
        ]  # fmt: skip
        env = {**self.server.env, "OMP_NUM_THREADS": "1", "PREFECT_CLIENT_MAX_RETRIES": "1"}
        with (self.folder / f"{out}.log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, env=env, stdout=log, stderr=log, start_new_session=True)

    def asked(self) -> int:
        return self.model.stats.requests

    def wait_for(self, answers: int) -> None:
        self.server.wait(lambda: self.model.stats.answered >= answers, 120, f"{answers} answers")

    def done(self, out: str) -> dict[str, Any]:
        info: dict[str, Any] = json.loads((self.folder / out / "run.json").read_text())
        return info


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("crash")
    pq.write_table(pa.table({"text": [text for text, _ in smart_model.letters(ROWS)]}), folder / "letters.parquet")
    labels = [{"id": name.lower().replace(" ", "-"), "name": name, "description": f"about {name}"} for name in smart_model.TOPICS]
    (folder / "taxonomy.yaml").write_text(yaml.safe_dump({"version": 1, "use_case": "why passengers write", "labels": labels}))
    with (
        postgres() as database,
        prefect_server(folder / "prefect", database.url) as server,
        FakeOpenAI(smart_model.answer) as model,
    ):
        yield Bench(folder, server, database, model)


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def test_the_database_the_server_and_the_run_are_killed_in_turn(bench: Bench) -> None:
    bench.model.latency = 0.25
    run = bench.start("run")
    bench.wait_for(8)
    kill(run)

    again = bench.start("run")
    bench.wait_for(16)
    bench.database.kill()
    time.sleep(2)
    kill(again) if again.poll() is None else None
    bench.database.start()

    third = bench.start("run")
    bench.wait_for(24)
    bench.server.kill()
    assert third.wait(240) == 1
    assert "Prefect server" in (said := (bench.folder / "run.log").read_text()) and "the same command goes on" in said
    bench.server.start()

    bench.model.latency = 0.0
    assert bench.start("run").wait(240) == 0, (bench.folder / "run.log").read_text()[-2000:]
    info = bench.done("run")
    assert info["exit"] == 0 and info["counts"] == {"ok": ROWS}
    assert pq.read_table(bench.folder / "run" / "labels.parquet").num_rows == ROWS
    lost = bench.asked() - bench.model.stats.distinct  # asked twice: only what was in flight when something was killed
    assert lost <= 4 * AT_ONCE
    books, billed = added_up(bench.folder / "cache"), bench.model.stats.billed_tokens
    settled = books.prompt_tokens + books.completion_tokens
    assert settled <= billed <= settled + books.open_tokens


def test_several_runs_at_once_on_one_cache_and_one_database(bench: Bench) -> None:
    before = bench.asked()
    runs = [bench.start(f"run-{n}", seed=n + 1) for n in range(3)]
    assert [run.wait(300) for run in runs] == [0, 0, 0], [(bench.folder / f"run-{n}.log").read_text()[-800:] for n in range(3)]
    assert all(bench.done(f"run-{n}")["counts"] == {"ok": ROWS} for n in range(3))
    assert bench.asked() > before
    assert "locked" not in "".join((bench.folder / f"run-{n}.log").read_text() for n in range(3))
    ended = bench.server.found("flow_runs", flow_runs={"state": {"type": {"any_": ["COMPLETED"]}}})
    assert len(ended) >= 4


def test_a_vllm_that_dies_twice_stops_the_run_which_then_goes_on(bench: Bench) -> None:
    """Killed once, the server is started again and the run knows nothing of it; the second time the message shows its log."""
    place = bench.folder / "vllm"
    (place / "model").mkdir(parents=True)
    (place / "model" / "config.json").write_text("{}")
    (place / "model" / "model.safetensors").write_bytes(b"x")
    (place / "slow_answer").write_text("0.1")
    pq.write_table(pa.table({"prompt": [f"number {n}" for n in range(ROWS)]}), place / "prompts.parquet")
    python = {"LLMLABEL_VLLM_PYTHON": str(fake_vllm.install(place)), "XDG_CACHE_HOME": str(place / "cache")}
    command = [
        LLMLABEL, "run", "sample", "--data", "prompts.parquet", "--policy", "model", "--sampler", "vllm", "--samples", "1",
        "--concurrency", str(AT_ONCE), "--cache", "cache", "--out", "run",
    ]  # fmt: skip

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(command, cwd=place, env=bench.server.env | python, stderr=subprocess.PIPE, text=True)

    run = start()
    for deaths in (1, 2):
        bench.server.wait(lambda n=deaths: len(fake_vllm.answers(place)) >= 15 * n, 90, "answers")
        os.kill(fake_vllm.starts(place)[-1][0], signal.SIGKILL)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 1 and "died again" in said and "end of its log" in said, said
    stored = fake_vllm.answers(place)

    run = start()
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    asked = fake_vllm.answers(place)
    assert set(asked) == {f"number {n}" for n in range(ROWS)}
    assert ROWS <= len(asked) <= ROWS + 2 * AT_ONCE and len(stored) >= 30
    assert pq.read_table(place / "run" / "responses.parquet").num_rows == ROWS
