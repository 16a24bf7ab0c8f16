"""`run graph` on 169,343 nodes and 1,166,243 edges with given annotations, killed at random: `make soak`."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

import synthetic_graph
from killing import killed

SEED = int(os.environ.get("LLMLABEL_SOAK_SEED", "0"))
SCRIPT = str(Path(sys.executable).with_name("llmlabel"))
NODES, EDGES, CLASSES, DIM, BUDGET, KILLS = 169_343, 1_166_243, 40, 128, 800, 3
MOST_SECONDS, MOST_MB = 240, 4096  # a loaded machine takes twice what an idle one does


def make(folder: Path) -> list[str]:
    """Nodes, edges, features, annotations of which three in ten are wrong; the command, without its --out."""
    source, target, member = synthetic_graph.edges(NODES, EDGES, CLASSES, seed=SEED)
    np.save(folder / "edges.npy", np.stack([source, target]))
    np.save(folder / "features.npy", synthetic_graph.features(member, DIM))
    rng = np.random.default_rng(SEED)
    said = np.where(rng.random(NODES) < 0.3, rng.integers(0, CLASSES, NODES), member)
    pq.write_table(pa.table({"id": [str(n) for n in range(NODES)], "topic": member}), folder / "nodes.parquet")
    pq.write_table(pa.table({"id": np.arange(NODES), "label": said}), folder / "given.parquet")
    return [
        SCRIPT, "run", "graph", "--nodes", str(folder / "nodes.parquet"), "--edges", str(folder / "edges.npy"),
        "--features", str(folder / "features.npy"), "--annotations", str(folder / "given.parquet"), "--gold-column", "topic",
        "--budget-nodes", str(BUDGET), "--cache", str(folder / "cache"), "--json", "--out",
    ]  # fmt: skip


def test_a_large_graph_and_kills(tmp_path: Path) -> None:
    command, draw = make(tmp_path), random.Random(SEED)
    start = time.perf_counter()
    done = subprocess.run([*command, str(tmp_path / "whole")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    kills = killed([*command, str(tmp_path / "killed")], KILLS, draw, 0.6 * seconds)
    whole, again = (pq.read_table(tmp_path / out / "labels.parquet") for out in ("whole", "killed"))
    assert whole.equals(again)
    truth = pq.read_table(tmp_path / "nodes.parquet")["topic"].to_pylist()
    right = np.mean([int(label) == t for label, t in zip(whole["label"].to_pylist(), truth, strict=True)])
    print(f"seed {SEED}: {NODES} nodes, {EDGES} edges: {seconds:.0f} s, peak {peak:.0f} MB; {kills} kills, labels identical")
    print(f"{right:.4f} of all labels right, .7 of the annotations")
    assert right > 0.9
    assert seconds < MOST_SECONDS
    assert peak < MOST_MB
