"""`llmlabel graph` on files, as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

SCRIPT = str(Path(sys.executable).with_name("llmlabel"))


def graph(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, "graph", *map(str, args)], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rings of 20 nodes, each node linked to the next four, one edge between them; one label in each is the other's."""
    path = tmp_path_factory.mktemp("graph")
    lines = ["source,target"]
    for ring in "ab":
        lines += [f"{ring}{n},{ring}{(n + step) % 20}" for n in range(20) for step in range(1, 5)]
    (path / "edges.csv").write_text("\n".join([*lines, "a0,b0"]) + "\n")
    labels = ["id,label,confidence"]
    labels += [f"{r}{n},{r if n != 10 else 'ab'['ab'.index(r) - 1]},{0.9 if n != 10 else 0.4}" for r in "ab" for n in range(20)]
    (path / "labels.csv").write_text("\n".join(labels) + "\n")
    return path


def test_embed(folder: Path) -> None:
    done = graph("embed", "--edges", folder / "edges.csv", "--dim", 16, "--out", folder / "v.npz", "--json")
    assert json.loads(done.stdout) == {"out": str(folder / "v.npz"), "nodes": 40, "edges": 161, "dim": 16}
    with np.load(folder / "v.npz", allow_pickle=False) as found:
        ids, vectors = found["ids"], found["vectors"]
    assert ids.dtype.kind == "U" and set(ids) == {f"{r}{n}" for r in "ab" for n in range(20)}
    assert vectors.shape == (40, 16) and vectors.dtype == np.float32
    assert graph("embed", "--edges", folder / "edges.csv", "--dim", 16, "--out", folder / "v.parquet").returncode == 0
    table = pq.read_table(folder / "v.parquet")
    assert table["id"].to_pylist() == ids.tolist() and np.allclose(table["vector"].to_pylist(), vectors)


def test_cluster_with_labels_finds_those_that_are_wrong(folder: Path) -> None:
    out = folder / "cluster.parquet"
    common = ("cluster", "--edges", folder / "edges.csv", "--seed-nodes", "a1", "--seed-nodes", "a15", "--out", out, "--json")
    done = graph(*common, "--labels", folder / "labels.csv", "--cut")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] == "a"
    rows = {row["id"]: row for row in pq.read_table(out).to_pylist()}
    assert {i for i, row in rows.items() if row["in_cluster"]} >= {f"a{n}" for n in range(20) if n != 10}
    assert rows["b10"] == {"id": "b10", "x": 0.0, "in_cluster": False, "label_agrees": False}
    assert not any(row["in_cluster"] for i, row in rows.items() if i.startswith("b"))


def test_cluster_reads_a_runs_labels_and_goes_without(folder: Path) -> None:
    run = folder / "run"
    run.mkdir()
    import polars as pl

    pl.read_csv(folder / "labels.csv").write_parquet(run / "labels.parquet")
    common = ("cluster", "--edges", folder / "edges.csv", "--seed-nodes", "a1", "--out", folder / "c.parquet")
    assert graph(*common, "--labels", run, "--label", "a").returncode == 0
    assert graph(*common, "--size", 20, "--cut").returncode == 0
    table = pq.read_table(folder / "c.parquet").to_pylist()
    assert {row["id"] for row in table if row["in_cluster"]} == {f"a{n}" for n in range(20)}
    assert {row["label_agrees"] for row in table} == {None}


def test_repair(folder: Path) -> None:
    out = folder / "proposals.parquet"
    done = graph(
        "repair", "--edges", folder / "edges.csv", "--labels", folder / "labels.csv", "--below", 0.5, "--out", out, "--json"
    )
    assert done.returncode == 0, done.stderr
    assert all(row["id"][1:] == "10" and row["proposed"] == row["id"][0] for row in pq.read_table(out).to_pylist())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("embed", "--out", "v.npy"), ".npz or a .parquet"),
        (("embed", "--out", "v.npz", "--weights", "1;2"), "--weights"),
        (("embed", "--out", "v.npz", "--dim", "0"), "dim"),
        (("cluster", "--out", "c.parquet", "--seed-nodes", "zz", "--size", "5"), "zz"),
        (("cluster", "--out", "c.parquet", "--seed-nodes", "a1"), "--size"),
        (("cluster", "--out", "c.parquet", "--seed-nodes", "a1", "--label", "a"), "--labels"),
        (("cluster", "--out", "c.parquet", "--seed-nodes", "a1", "--size", "5", "--epsilon", "0"), "epsilon"),
        (("cluster", "--out", "c.parquet", "--seed-nodes", "a1", "--labels", "{folder}/nothing.csv"), "no such file"),
        (("cluster", "--out", "c.parquet", "--seed-nodes", "a1", "--labels", "{folder}/edges.csv"), "'id'"),
        (("cluster", "--out", "c.parquet", "--seed-nodes", "a1", "--labels", "{folder}/labels.csv", "--label", "q"), "'a', 'b'"),
        (
            ("cluster", "--out", "c.parquet", "--seed-nodes", "a1", "--seed-nodes", "b1", "--labels", "{folder}/labels.csv"),
            "not one label",
        ),
    ],
)
def test_bad_input_is_answered_clearly(folder: Path, args: tuple[str, ...], says: str) -> None:
    done = graph(args[0], "--edges", folder / "edges.csv", *(a.format(folder=folder) for a in args[1:]))
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


def test_edges_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("source,target\n")
    for name in ("none.csv", "empty.csv"):
        done = graph("embed", "--edges", tmp_path / name, "--out", tmp_path / "v.npz")
        assert done.returncode == 2 and name in done.stderr and "Traceback" not in done.stderr
