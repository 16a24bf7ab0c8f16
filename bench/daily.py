"""What a round of `llmlabel run daily` with 1% new rows asks, beside the first round: every row asked, a model that counts.

python bench/daily.py --rows 100000
python bench/daily.py --rows 100000 --fresh 0.001
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from memory import FEW, SCRIPT, model_server, write, write_taxonomy


def a_round(folder: Path, url: str) -> tuple[int, int, float]:
    """Requests sent, answers from the store, and seconds."""
    settings = [word.replace("student=", "annotate.student=") for word in FEW]
    given = ("--data", "inbox", "--taxonomy", "taxonomy.yaml", "--id-column", "id", "--out", "daily", "--cache", "cache")
    start = time.perf_counter()
    command = [SCRIPT, "run", "daily", "--llm", f"fake-1@{url}", *given, *settings]
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=True)
    cost = json.loads((Path(json.loads(done.stdout.splitlines()[-1])["out"]) / "run.json").read_text())["cost"]
    return cost["calls"], cost["from_cache"], time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--fresh", type=float, default=0.01, help="new rows of the second round, as a share")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, model_server() as url:
        folder, found = Path(temporary), []
        write_taxonomy(folder / "taxonomy.yaml")
        for name, rows, start in (("first", args.rows, 0), ("second", round(args.fresh * args.rows), args.rows)):
            write(folder / "inbox" / f"{name}.parquet", rows, start=start)
            found.append(a_round(folder, url))
            print(f"{name}: {rows:,} new rows, {found[-1][0]:,} requests, {found[-1][1]:,} from the store, {found[-1][2]:.0f} s")
    print(f"{found[1][0] / found[0][0]:.2%} of the first round's requests")


if __name__ == "__main__":
    main()
