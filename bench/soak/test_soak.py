"""Large, random and slow: `make soak`. The seed is LLMLABEL_SOAK_SEED, printed with every result."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import smart_model
from fake_openai import FakeOpenAI

SEED = int(os.environ.get("LLMLABEL_SOAK_SEED", "0"))
SCRIPT = str(Path(sys.executable).with_name("llmlabel"))
KILLS = 20
ROWS = 100_000
APPLIED = 1_000_000


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(smart_model.answer, latency=0.02) as running:
        yield running


def write(path: Path, rows: int, repeat: int = 1) -> Path:
    texts = [t for t, _ in smart_model.letters(min(rows, 20_000), SEED)]
    with pq.ParquetWriter(path, pa.schema([("text", pa.string())])) as writer:
        for n in range(0, rows, len(texts)):
            writer.write_table(pa.table({"text": [f"{t} ({n})" for t in texts[: rows - n]]}))
    return path


def command(data: Path, folder: Path, out: str, server: FakeOpenAI, *more: str) -> list[str]:
    return [
        SCRIPT, "run", "taxonomy", "--data", str(data), "--use-case", "why passengers write", "--llm", f"fake-1@{server.url}",
        "--cache", str(folder / f"cache-{out}"), "--out", str(folder / out), "--set", "embedder=tfidf", "--set",
        "student=logistic_regression", "--json", *more,
    ]  # fmt: skip


def labels(folder: Path) -> list[dict[str, object]]:
    return list(pq.read_table(folder / "labels.parquet").to_pylist())


def test_random_kills_change_nothing_and_pay_nothing_twice(server: FakeOpenAI, tmp_path: Path) -> None:
    data = write(tmp_path / "d.parquet", 2_000)
    subprocess.run(command(data, tmp_path, "whole", server), check=True, capture_output=True)
    needed = server.stats.requests
    server.reset()
    draw, kills = random.Random(SEED), 0
    while kills < KILLS:
        process = subprocess.Popen(
            command(data, tmp_path, "killed", server),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(draw.uniform(5, 30))
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    subprocess.run(command(data, tmp_path, "killed", server), check=True, capture_output=True)
    print(f"seed {SEED}: {kills} kills, {needed} requests needed, {server.stats.requests} sent")
    assert needed <= server.stats.requests <= needed + server.stats.most_in_flight * kills
    assert labels(tmp_path / "killed") == labels(tmp_path / "whole")


def test_many_rows_within_two_gigabytes(server: FakeOpenAI, tmp_path: Path) -> None:
    data = write(tmp_path / "d.parquet", ROWS)
    subprocess.run(command(data, tmp_path, "run", server), check=True, capture_output=True)
    run_peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    assert pq.read_metadata(tmp_path / "run" / "labels.parquet").num_rows == ROWS
    large = write(tmp_path / "large.parquet", APPLIED)
    start = time.perf_counter()
    apply = [SCRIPT, "apply", str(tmp_path / "run"), "--data", str(large), "--out", str(tmp_path / "out.parquet"), "--json"]
    subprocess.run(apply, check=True, capture_output=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"seed {SEED}: run of {ROWS}: peak {run_peak:.0f} MB")
    print(f"apply of {APPLIED}: {APPLIED / seconds:.0f} rows/s, peak {peak:.0f} MB")
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == APPLIED
    assert peak < 2048
