"""A selection and 100,000 training rows with models whose rules are stated (tests/rule_target.py), killed thrice: `make soak`."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import rule_target
from killing import killed

from llmlabel.runs import read_json

SEED = int(os.environ.get("LLMLABEL_SOAK_SEED", "0"))
ROWS = int(os.environ.get("LLMLABEL_SOAK_ROWS", "100000"))
SCRIPT = str(Path(sys.executable).with_name("llmlabel"))
KILLS = 3
STRATEGIES = """
version: 1
strategies:
  - {name: steps, prompt: respond/step_by_step@1.0.0, cost: 0.002}
  - {name: concise, prompt: respond/concise@1.0.0, cost: 0.001}
  - {name: rewritten, prompt: respond/rewrite@1.0.0, rewrites: steps, cost: 0.003}
"""


def make(folder: Path) -> list[str]:
    numbers = range(11, 11 + ROWS)
    prompts = {"prompt": [*map(rule_target.question, numbers)], "gold": [*map(rule_target.gold, numbers)]}
    pq.write_table(pa.table({"id": [f"q{n}" for n in numbers], **prompts}), folder / "prompts.parquet")
    (folder / "strategies.yaml").write_text(STRATEGIES)
    return [
        SCRIPT, "run", "select", "--data", str(folder / "prompts.parquet"), "--gold-column", "gold", "--seed", str(SEED),
        "--target", "scripted:rule_target:target", "--teacher", "scripted:rule_target:teacher", "--generate-all", str(ROWS),
        "--strategies", str(folder / "strategies.yaml"), "--set", "embedder=tfidf", "--set", "shard_size=2000", "--json",
    ]  # fmt: skip


def test_a_selection_at_scale_and_kills(tmp_path: Path) -> None:
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2] / "tests")
    os.environ["OMP_NUM_THREADS"] = "1"
    command, draw = make(tmp_path), random.Random(SEED)
    whole, cut = tmp_path / "whole", tmp_path / "killed"
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--cache", str(tmp_path / "a"), "--out", str(whole)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    kills = killed([*command, "--cache", str(tmp_path / "b"), "--out", str(cut)], KILLS, draw, 0.6 * seconds)
    for name in ("sft", "answers", "responses"):
        assert pq.read_table(whole / f"{name}.parquet").equals(pq.read_table(cut / f"{name}.parquet")), name
    decisions = [read_json(folder / "metrics.json")["decision"] for folder in (whole, cut)]
    assert decisions[0] == decisions[1] and decisions[0]["strategy"] == "steps"
    rows = pq.read_metadata(whole / "sft.parquet").num_rows
    assert rows == ROWS
    print(f"seed {SEED}: {rows} training rows, {seconds:.0f} s, peak {peak:.0f} MB; {kills} kills, same decision and rows")
