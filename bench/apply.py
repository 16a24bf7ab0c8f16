"""Speed and memory of `llmlabel apply` beside bare encoders on the same texts, one thread to a process.

    python bench/apply.py --run runs/demo --data texts.parquet
    python bench/apply.py --run runs/demo --data texts.parquet --workers 2 --runners processes ray dask --rounds 3

With one worker: the encoder alone, and `apply` to a file. With several: as many independent processes that each encode their
share of the same texts and do nothing else, and `apply` to a folder on each runner. Of whole commands, from start to end, with
imports, Prefect and the cluster; and `labelling`, of the flow alone. Rounds go through all of them, every other one backwards;
medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from llmlabel import embedding
from llmlabel.data import column
from llmlabel.parts import parts_of

SCRIPT = str(Path(sys.executable).with_name("llmlabel"))
ENV = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def bare(run: Path, data: str, text: str, share: int, shares: int, part_rows: int) -> int:
    """Rows of every `shares`-th part through the encoder alone, sorted by length within the batches that `apply` has."""
    embedder, rows = embedding.load(run / "classifier"), 0
    for part in parts_of(data, part_rows)[share::shares]:
        for table in part.tables():
            texts = ["" if v is None else str(v) for v in column(table, text, "--text", data)]
            embedder.encode(sorted(texts, key=len))
            rows += len(texts)
    return rows


def bare_command(args: argparse.Namespace) -> tuple[float, float | None]:
    """Rows per second of all processes together."""
    own = [sys.executable, __file__, *same(args), "--share"]
    start = time.perf_counter()
    running = [subprocess.Popen([*own, str(n)], env=ENV, stdout=subprocess.PIPE, text=True) for n in range(args.workers)]
    rows = sum(int(process.communicate()[0]) for process in running)
    return rows / (time.perf_counter() - start), None


def apply_command(args: argparse.Namespace, runner: str) -> tuple[float, float | None]:
    """Rows per second of the whole command, and of the flow in it."""
    folder = tempfile.mkdtemp(dir=args.scratch)
    out = f"{folder}/out.parquet" if runner == "file" else folder
    more = [] if runner == "file" else ["--runner", runner, "--workers", str(args.workers), "--part-rows", str(args.part_rows)]
    command = [SCRIPT, "apply", str(args.run), "--data", args.data, "--out", out, "--text-column", args.text, "--json", *more]
    start = time.perf_counter()
    said = subprocess.run(command, env=ENV, capture_output=True, text=True, check=True).stdout
    seconds = time.perf_counter() - start
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    shutil.rmtree(folder)
    return result["rows"] / seconds, result.get("rows_per_s")


def same(args: argparse.Namespace) -> list[str]:
    return [
        "--run", str(args.run), "--data", args.data, "--text", args.text, "--workers", str(args.workers), "--part-rows",
        str(args.part_rows),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text", default="text")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--runners", nargs="+", default=[])
    parser.add_argument("--part-rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--scratch", help="where results are written and deleted again")
    parser.add_argument("--share", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.share is not None:
        print(bare(args.run, args.data, args.text, args.share, args.workers, args.part_rows))
        return
    names = ["bare", *(args.runners or ["file"] if args.workers == 1 else args.runners or ["processes"])]
    found: dict[str, list[tuple[float, float | None]]] = {name: [] for name in names}
    for n in range(args.rounds):
        for name in names if n % 2 == 0 else reversed(names):
            found[name].append(bare_command(args) if name == "bare" else apply_command(args, name))
            print(f"round {n + 1}: {name:10} {found[name][-1][0]:.0f} rows/s", file=sys.stderr)
    print(f"{args.workers} workers, {args.rounds} rounds, medians" if args.rounds > 1 else f"{args.workers} workers")
    beside = statistics.median(speed for speed, _ in found["bare"])
    for name, rounds in found.items():
        speed = statistics.median(speed for speed, _ in rounds)
        inner = [labelling for _, labelling in rounds if labelling]
        told = f"  labelling {statistics.median(inner):.0f} rows/s" if inner else ""
        print(f"{name:10} {speed:.0f} rows/s  {speed / beside:.3f} of bare{told}")
    print(f"largest process: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
