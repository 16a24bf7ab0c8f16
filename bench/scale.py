"""What 10^7 and 10^9 texts take: calls, money, hours, bytes, from figures measured here on a sample of your texts.

    python bench/scale.py --run runs/tickets --data tickets.parquet --taxonomy taxonomy.yaml --model gpt-4.1-mini

Measured: rows per second of `llmlabel apply` on one core (CPU seconds of this process, whatever else runs), bytes per row read
and written, bytes per answer in `--cache`. Taken from `llmlabel run annotate --estimate`: tokens and money per text. Assumed,
and to be set: `--calls-per-s` of the endpoint, `--cores`. A plan labels `--asked` texts with the LLM and the rest with the
classifier, or all of them with the LLM.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llmlabel.data import stream
from llmlabel.students.apply import Labeller

SCRIPT = str(Path(sys.executable).with_name("llmlabel"))


@dataclass
class Measured:
    """Of one text, on average. `apply`: rows per second and core; `read`, `written`, `answer`: bytes; `tokens`; `money`: USD."""

    apply: float
    read: float
    written: float
    answer: float
    tokens: float
    money: float


def measure(args: argparse.Namespace) -> Measured:
    some = first_rows(args.data, args.sample)
    labeller = Labeller(args.run)
    labeller.table(some.slice(0, 64), args.text, args.data)  # what is loaded when first used
    start = time.process_time()
    parts = [labeller.table(some.slice(n, 4096), args.text, args.data) for n in range(0, some.num_rows, 4096)]
    rate = some.num_rows / (time.process_time() - start)
    asked = estimate(args)
    rows, n = asked["rows"], some.num_rows
    return Measured(
        rate, size(some.select([args.text])) / n, size(pa.concat_tables(parts)) / n, per_answer(args.cache),
        (asked["prompt_tokens"] + asked["completion_tokens"]) / rows, asked["money"] / rows,
    )  # fmt: skip


def first_rows(data: str, most: int) -> pa.Table:
    held: list[pa.Table] = []
    for table in stream(data):
        held.append(table)
        if sum(t.num_rows for t in held) >= most:
            break
    return pa.concat_tables(held).slice(0, most)


def size(table: pa.Table) -> int:
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(table, f"{folder}/t.parquet", compression="zstd")
        return os.path.getsize(f"{folder}/t.parquet")


def estimate(args: argparse.Namespace) -> dict[str, Any]:
    command = [
        SCRIPT, "run", "annotate", "--data", args.data, "--text-column", args.text, "--taxonomy", str(args.taxonomy), "--llm",
        f"openai:{args.model}", "--out", "never-written", "--estimate", "--json",
    ]  # fmt: skip
    said = subprocess.run(command, env=os.environ | {"OPENAI_API_KEY": "of nobody"}, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def per_answer(cache: Path | None) -> float:
    """Bytes of the answer store per answer."""
    if cache is None:
        return float("nan")
    said = subprocess.run([SCRIPT, "cache", "stats", "--cache", str(cache), "--json"], capture_output=True, text=True, check=True)
    found = json.loads(said.stdout)
    return float(found["size"]) / max(1, sum(one["answers"] for one in found["answers"]))


def plan(one: Measured, rows: float, asked: float, args: argparse.Namespace) -> dict[str, str]:
    rest = rows - asked
    return {
        "texts": f"{rows:,.0f}", "asked of the LLM": f"{asked:,.0f}", "tokens": f"{asked * one.tokens / 1e6:,.0f} M",
        f"money, {args.model}": f"${asked * one.money:,.0f}", "as batch jobs": f"${asked * one.money / 2:,.0f}",
        f"LLM hours at {args.calls_per_s:g} calls/s": f"{asked / args.calls_per_s / 3600:,.1f}",
        f"apply hours on {args.cores} cores": f"{rest / one.apply / args.cores / 3600:,.2f}" if rest else "-",
        "core hours": f"{rest / one.apply / 3600:,.1f}" if rest else "-", "texts read": gb(rows * one.read),
        "labels written": gb(rows * one.written), "answer store": gb(asked * one.answer) if one.answer == one.answer else "-",
    }  # fmt: skip


def gb(count: float) -> str:
    return f"{count / 1e9:,.2f} GB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="with a classifier")
    parser.add_argument("--data", required=True)
    parser.add_argument("--text", default="text")
    parser.add_argument("--taxonomy", type=Path, required=True)
    parser.add_argument("--model", default="gpt-4.1-mini", help="whose price counts")
    parser.add_argument("--cache", type=Path, help="of a run, for the size of the answer store")
    parser.add_argument("--sample", type=int, default=10_000, help="rows that apply is measured on")
    parser.add_argument("--rows", type=float, nargs="+", default=[1e7, 1e9])
    parser.add_argument("--asked", type=float, default=50_000)
    parser.add_argument("--calls-per-s", type=float, default=100)
    parser.add_argument("--cores", type=int, default=64)
    args = parser.parse_args()
    one = measure(args)
    print(
        f"measured: apply {one.apply:,.0f} rows/s and core, {one.read:.0f} bytes read and {one.written:.0f} written per row, "
        f"{one.answer:.0f} bytes per answer; {one.tokens:.0f} tokens and ${1000 * one.money:.3f} per 1,000 texts asked\n"
    )
    plans = [plan(one, rows, asked, args) for rows in args.rows for asked in (min(args.asked, rows), rows)]
    for name in plans[0]:
        print(f"| {name} | {' | '.join(one[name] for one in plans)} |")
        if name == "texts":
            print("|---|" + "---:|" * len(plans))


if __name__ == "__main__":
    main()
