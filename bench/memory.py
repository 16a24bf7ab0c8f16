"""Peak memory and seconds of the flows that stream, by step, at a million short rows: TF-IDF vectors, a model that counts.

    python bench/memory.py --rows 100000
    python bench/memory.py --rows 1000000 --only taxonomy apply --keep /tmp/million

Each run is a process of its own, `llmlabel run ...` as a user starts it; its memory is the peak of resident pages, that of the
temporary Prefect server and of the model server apart. `daily again`: a second round with 1% new rows.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import smart_model  # noqa: E402

SCRIPT = str(Path(sys.executable).with_name("llmlabel"))
FLOWS = ("taxonomy", "apply", "annotate", "daily", "audit")
TOPICS = sorted(smart_model.TOPICS)
PART, KNOWN, WRONG, FRESH = 20_000, 1000, 0.05, 0.01
FEW = "--set embedder=tfidf --set student=logistic_regression --json".split()
Found = dict[str, tuple[float, float]]  # step -> seconds, MB


def write(path: Path, rows: int, start: int = 0) -> Path:
    """Letters of about 100 characters, all different; a topic for every row, wrong in some; the true one of a few."""
    letters, draw = smart_model.letters(PART), random.Random(start)
    names = ("id", "text", "gold", "topic")
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, pa.schema([(name, pa.string()) for name in names])) as writer:
        for n in range(0, rows, PART):
            some = letters[: rows - n]
            numbers = range(start + n, start + n + len(some))
            texts = [f"{text}; I wrote before, letter {i}, nobody answered" for i, (text, _) in zip(numbers, some, strict=True)]
            gold = [topic if draw.random() < KNOWN / rows else None for _, topic in some]
            topics = [draw.choice(TOPICS) if draw.random() < WRONG else topic for _, topic in some]
            columns = dict(zip(names, ([f"r{i}" for i in numbers], texts, gold, topics), strict=True))
            writer.write_table(pa.table(columns, schema=writer.schema))
    return path


def write_taxonomy(path: Path) -> Path:
    labels = [{"id": t.lower().replace(" ", "-"), "name": t, "description": f"Letters about {t.lower()}."} for t in TOPICS]
    path.write_text(yaml.safe_dump({"version": 1, "use_case": "why passengers write", "labels": labels}))
    return path


@contextmanager
def model_server(latency: float = 0.0) -> Iterator[str]:
    """Its URL. `latency`: seconds it takes for an answer."""
    script, how = str(ROOT / "tests" / "fake_openai.py"), ["--answer", "smart_model:answer", "--latency", str(latency)]
    command = [sys.executable, script, "--port", "0", *how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def commands(folder: Path, url: str, rows: int) -> dict[str, list[list[str]]]:
    """By flow, what is to be run; the taxonomy's run comes before `apply`, which uses its classifier."""
    data, inbox, tree = str(folder / "data.parquet"), folder / "inbox", str(folder / "taxonomy.yaml")
    applied = ("--data", data, "--out", str(folder / "applied.parquet"), "--json")

    def run(flow: str, *more: str) -> list[str]:
        where = ("--cache", str(folder / f"cache-{flow}"), "--out", str(folder / flow))
        return [SCRIPT, "run", flow, "--llm", f"fake-1@{url}", "--id-column", "id", *where, *FEW, *more]

    first = run("daily", "--data", str(inbox), "--taxonomy", tree)
    first = [a.replace("student=", "annotate.student=") for a in first]
    daily = [*first, "--set", f"annotate.label_with_llm={KNOWN}", "--set", "annotate.order_sample=0"]
    given = ("--data", data, "--taxonomy", tree)
    return {
        "taxonomy": [run("taxonomy", "--data", data, "--use-case", "why passengers write")],
        "apply": [[SCRIPT, "apply", str(folder / "taxonomy"), *applied]],
        "annotate": [run("annotate", *given, "--gold-column", "gold", "--set", f"label_with_llm={2 * KNOWN}")],
        "daily": [daily, daily],
        "audit": [run("audit", *given, "--label-column", "topic", "--set", "ask=0", "--set", "ask_random=0")],
    }  # fmt: skip


class Watched:
    """A command's steps with their seconds and peaks."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.steps: Found = {}
        settings = {"PREFECT_HOME": str(folder / "prefect"), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment = {**os.environ, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", **settings}
        errors = (folder / "errors.log").open("w+")
        began = self._since = time.perf_counter()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        self._follow()
        _, status, used = os.wait4(self._process.pid, 0)
        self.seconds, self.cpu = time.perf_counter() - began, used.ru_utime + used.ru_stime
        self.peak = max([used.ru_maxrss / 1024, *(peak for _, peak in self.steps.values())])
        assert os.waitstatus_to_exitcode(status) == 0, (folder / "errors.log").read_text()[-3000:]

    def _follow(self) -> None:
        step = "start"
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
            if event.get("event") in ("step", "start", "done"):
                self._note(step)
                step = str(event.get("step", f"{event.get('flow', '')} began"))

    def _note(self, step: str) -> None:
        """The peak since the last step, which the kernel is then told to forget."""
        now, home = time.perf_counter(), Path(f"/proc/{self._process.pid}")
        try:
            peak = next(int(line.split()[1]) for line in (home / "status").read_text().splitlines() if line.startswith("VmHWM"))
            (home / "clear_refs").write_text("5")
        except (OSError, StopIteration):
            return
        seconds, before = self.steps.get(step, (0.0, 0.0))
        self.steps[step] = (seconds + now - self._since, max(before, peak / 1024))
        self._since = now


def show(name: str, rows: int, found: Watched) -> None:
    print(f"{name}: {rows:,} rows, peak {found.peak:,.0f} MB, {found.seconds:,.0f} s wall, {found.cpu:,.0f} s CPU", flush=True)
    for step, (seconds, peak) in found.steps.items():
        print(f"  {step:20} {seconds:8.1f} s {rows / max(seconds, 0.1):12,.0f} rows/s {peak:8,.0f} MB", flush=True)


def measure(folder: Path, rows: int, flows: list[str]) -> None:
    write(folder / "data.parquet", rows)
    write(folder / "inbox" / "first.parquet", rows)
    write_taxonomy(folder / "taxonomy.yaml")
    with model_server() as url:
        for flow, lines in commands(folder, url, rows).items():
            for n, command in enumerate(lines if flow in flows else []):
                if n:
                    write(folder / "inbox" / "second.parquet", round(FRESH * rows), start=rows)
                show(flow if n == 0 else f"{flow} again", rows, Watched(command, folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--only", nargs="+", choices=FLOWS, default=list(FLOWS))
    parser.add_argument("--keep", type=Path, help="a folder for data and runs; default: one that is removed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        measure(folder, args.rows, args.only)


if __name__ == "__main__":
    main()
