"""`run annotate` on 100,000 rows with three annotators of known accuracy, killed at random: `make soak`."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import smart_model
from killing import killed

SEED = int(os.environ.get("LLMLABEL_SOAK_SEED", "0"))
SCRIPT = str(Path(sys.executable).with_name("llmlabel"))
ROWS, GOLD, KILLS = 100_000, 600, 3
ACCURACIES = {"good": 0.9, "fair": 0.8, "poor": 0.6}


def make(folder: Path) -> list[str]:
    """Data, taxonomy, annotations; the command that labels them, without its --out."""
    draw, topics = random.Random(SEED), sorted(smart_model.TOPICS)
    letters = smart_model.letters(20_000, SEED)
    rows = [(f"r{n}-{i}", f"{text} ({n})", topic) for n in range(ROWS // 20_000) for i, (text, topic) in enumerate(letters)]
    known = set(draw.sample(range(ROWS), GOLD))
    gold = [topic if i in known else None for i, (_, _, topic) in enumerate(rows)]
    ids, texts, truth = zip(*rows, strict=True)
    pq.write_table(pa.table({"id": ids, "text": texts, "gold": gold, "topic": truth}), folder / "data.parquet")
    said = {who: [topic if draw.random() < p else draw.choice(topics) for topic in truth] for who, p in ACCURACIES.items()}
    table = {"id": ids * 3, "annotator": [w for w in said for _ in ids], "label": [x for labels in said.values() for x in labels]}
    pq.write_table(pa.table(table), folder / "given.parquet")
    labels = [{"id": t.lower().replace(" ", "-"), "name": t} for t in topics]
    (folder / "taxonomy.yaml").write_text(yaml.safe_dump({"version": 1, "use_case": "why passengers write", "labels": labels}))
    return [
        SCRIPT, "run", "annotate", "--data", str(folder / "data.parquet"), "--annotations", str(folder / "given.parquet"),
        "--taxonomy", str(folder / "taxonomy.yaml"), "--gold-column", "gold", "--target-precision", ".9", "--llm", "embedded",
        "--cache", str(folder / "cache"), "--set", "embedder=tfidf", "--set", "student=logistic_regression", "--json", "--out",
    ]  # fmt: skip


def labels(folder: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(folder / "labels.parquet").to_pylist())


def test_many_rows_and_kills(tmp_path: Path) -> None:
    command, draw = make(tmp_path), random.Random(SEED)
    start = time.perf_counter()
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    kills = killed([*command, str(tmp_path / "killed")], KILLS, draw, 0.5 * seconds)
    whole, again = labels(tmp_path / "whole"), labels(tmp_path / "killed")
    assert whole == again
    truth = {row["id"]: row["topic"].lower().replace(" ", "-") for row in pq.read_table(tmp_path / "data.parquet").to_pylist()}
    stands = [row for row in whole if row["status"] == "ok"]
    right = sum(row["label"] == truth[row["id"]] for row in stands) / len(stands)
    print(f"seed {SEED}: {ROWS} rows, 3 annotators: {seconds:.0f} s, peak {peak:.0f} MB; {kills} kills, labels identical")
    print(f"{len(stands)} labels stand, {right:.4f} of them right, .9 promised")
    assert right > 0.9
    assert peak < 2048
