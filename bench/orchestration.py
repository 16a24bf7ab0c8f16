"""What Prefect adds to a run of `annotate`: tasks, states, logs and artifacts, beside the very same steps without any of them.

    python bench/orchestration.py --rows 100000 --repeat 3
    PREFECT_API_URL=http://127.0.0.1:4200/api python bench/orchestration.py

Both run in processes of their own, in turns, each with a fresh answer store, on the counting model server in tests/ or, with
--scripted, on a function that answers at once. The seconds are those of the flow's call, once everything is imported and the
Prefect server runs (PREFECT_API_URL, else one that is started here); CPU is the process's user and system time, that of the
servers apart. How long a Prefect server takes to come up, which `llmlabel run` starts where none is named, is said beside;
and, as two runs of minutes may differ by more than what is looked for, what the tasks of its shards cost alone, with nothing to
do in them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench")]

import smart_model  # noqa: E402
from memory import model_server, write, write_taxonomy  # noqa: E402
from prefect_server import prefect_server  # noqa: E402

Row = dict[str, float]
MODES, SCRIPTED, SHARD = ("without", "with"), "scripted:orchestration:answer", 500


async def answer(request: Any) -> str:
    """The model of --scripted: the first label, always."""
    return "A"


def bare() -> None:
    """Tasks as plain calls, and no artifacts."""
    from llmlabel.flows.running import artifacts, common, progress
    from prefect import Task

    Task.__call__ = lambda self, *given, **named: self.fn(*given, **named)  # type: ignore[method-assign]
    artifacts.create_markdown_artifact = lambda *a, **k: None
    common.publish = common.show_cost = lambda *a: None
    progress.Follower._show = lambda *a: None  # type: ignore[method-assign]


def one_run(mode: str, settings: dict[str, Any]) -> None:
    """The flow's call, or that of its function, measured."""
    from llmlabel.flows.annotate import annotate

    from llmlabel.config import AnnotateConfig

    config, call = AnnotateConfig.model_validate(settings), annotate
    if mode == "without":
        bare()
        call = annotate.fn
    print(json.dumps(_seconds(lambda: call(config))))


class _Folder:
    """Of a run that keeps nothing."""

    retries = 0

    def step(self, name: str, make: Callable[[], Any]) -> Any:
        return make()


def tasks_alone(rows: int, size: int) -> None:
    """As many tasks as a run has shards, each with answers as a model gives them."""
    from llmlabel.flows.steps.annotation.labelling import ask_in_shards
    from prefect import flow

    found = {"status": "ok", "label": "late-trains", "probs": dict.fromkeys(smart_model.TOPICS, 0.2)}

    def work(rows: int) -> int:
        folder: Any = _Folder()
        return len(ask_in_shards(folder, "label", rows, size, lambda part, *_: [found] * len(part), lambda *_: lambda n: None))

    orchestrated = flow(work, name="tasks", persist_result=False)
    orchestrated(size)
    seconds = [_seconds(lambda n=n: orchestrated(n)) for n in (size, rows)]
    bare()
    seconds.append(_seconds(lambda: work(rows)))
    print(json.dumps({"flow": seconds[0], "tasks": seconds[1], "bare": seconds[2]}))


def _seconds(call: Callable[[], Any]) -> Row:
    used, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    call()
    wall, now = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    return {"wall": wall, "cpu": now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime}


def in_a_process(*given: str) -> Any:
    done = subprocess.run([sys.executable, __file__, "--only", *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def measured(mode: str, folder: Path, url: str, args: argparse.Namespace) -> Row:
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        settings = {
            "data": str(folder / "data.parquet"), "taxonomy": str(folder / "taxonomy.yaml"), "id_column": "id",
            "out": f"{fresh}/out", "cache": f"{fresh}/cache", "llm": SCRIPTED if args.scripted else f"fake-1@{url}",
            "embedder": "tfidf", "student": "logistic_regression", "order_sample": 0,
            **({"concurrency": args.concurrency} if args.concurrency else {}),
        }  # fmt: skip
        return dict(in_a_process(mode, json.dumps(settings)))


def show_tasks(rows: int, repeat: int) -> None:
    found = [in_a_process("tasks", str(rows), str(SHARD)) for _ in range(repeat)]
    for what in ("wall", "cpu"):
        one, all_, none = (statistics.median(row[name][what] for row in found) for name in ("flow", "tasks", "bare"))
        print(
            f"{-(-rows // SHARD)} tasks alone, {what}: {all_:.2f} s, {none:.2f} s as plain calls; a flow of one {one:.2f} s",
            flush=True,
        )


def compare(folder: Path, url: str, args: argparse.Namespace) -> None:
    runs: dict[str, list[Row]] = {mode: [] for mode in MODES}
    for n in range(args.repeat):
        for mode in MODES if n % 2 == 0 else MODES[::-1]:
            runs[mode].append(measured(mode, folder, url, args))
            print(f"  {mode}: {runs[mode][-1]['wall']:.1f} s wall, {runs[mode][-1]['cpu']:.1f} s CPU", flush=True)
    for what in ("wall", "cpu"):
        with_, without = (statistics.median(row[what] for row in runs[mode]) for mode in MODES[::-1])
        each = [a[what] - b[what] for a, b in zip(runs["with"], runs["without"], strict=True)]
        more = statistics.median(each)
        said = f"{more:+.2f} s ({more / without:+.1%}), pairs {min(each):+.2f} to {max(each):+.2f}"
        print(f"{what}: {without:.1f} s without, {with_:.1f} s with; {said}", flush=True)


def main() -> None:
    if sys.argv[1:3] == ["--only", "tasks"]:
        return tasks_alone(int(sys.argv[3]), int(sys.argv[4]))
    if sys.argv[1:2] == ["--only"]:
        return one_run(sys.argv[2], json.loads(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scripted", action="store_true", help="no model server: a function in the process")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds the model server takes for an answer")
    parser.add_argument("--concurrency", type=int, help="requests in flight")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, given = Path(temporary), os.environ.get("PREFECT_API_URL")
        os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
        write(folder / "data.parquet", args.rows)
        write_taxonomy(folder / "taxonomy.yaml")
        start = time.perf_counter()
        with nullcontext() if given else prefect_server(folder / "prefect") as server, model_server(args.latency) as url:
            if server:
                print(f"a Prefect server and a model server are up in {time.perf_counter() - start:.1f} s", flush=True)
                os.environ.update(PREFECT_API_URL=server.api, PREFECT_HOME=str(folder / "prefect"))
            show_tasks(args.rows, args.repeat)
            compare(folder, url, args)


if __name__ == "__main__":
    main()
