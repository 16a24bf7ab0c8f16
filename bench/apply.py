"""Speed and memory of `llmlabel apply` beside the bare encoder on the same texts, in one process each.

    python bench/apply.py --run runs/demo --data texts.parquet

Prints rows per second of both, their ratio, and the peak memory of `apply`.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from llmlabel import embedding
from llmlabel.data import column, stream
from llmlabel.students.apply import apply


def bare(run: Path, data: str, text: str) -> tuple[int, float]:
    """Rows and seconds of the encoder alone, sorted by length within the same batches."""
    embedder = embedding.load(run / "classifier")
    embedder.encode(["warm up"])
    rows, start = 0, time.perf_counter()
    for table in stream(data):
        texts = ["" if v is None else str(v) for v in column(table, text, "--text", data)]
        embedder.encode(sorted(texts, key=len))
        rows += len(texts)
    return rows, time.perf_counter() - start


def whole(run: Path, data: str, text: str) -> tuple[int, float]:
    with tempfile.TemporaryDirectory() as folder:
        embedding.load(run / "classifier").encode(["warm up"])
        start = time.perf_counter()
        counts = apply(run, data, Path(folder) / "out.parquet", text_column=text)
        return sum(counts.values()), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text", default="text")
    parser.add_argument("--only", choices=["bare", "apply"])
    args = parser.parse_args()
    if args.only:
        rows, seconds = (bare if args.only == "bare" else whole)(args.run, args.data, args.text)
        print(rows, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    measured = {}
    for name in ("bare", "apply"):
        command = [sys.executable, __file__, "--run", str(args.run), "--data", args.data, "--text", args.text, "--only", name]
        rows, seconds, memory = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-3:]
        measured[name] = float(rows) / float(seconds)
        print(f"{name:6} {rows} rows  {measured[name]:.0f} rows/s  peak {float(memory):.0f} MB")
    print(f"apply / bare: {measured['apply'] / measured['bare']:.3f}")


if __name__ == "__main__":
    main()
