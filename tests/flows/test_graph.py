"""`llmlabel run graph` through a real Prefect server, with a model server that counts, and with labels somebody gave."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import smart_model
import yaml

from llmlabel import load_run
from llmlabel.config import GraphConfig
from llmlabel.errors import LlmlabelError

TOPICS = sorted(smart_model.TOPICS)
SIZE = 240


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """240 letters as nodes; four of five edges join letters of one topic. Node 7 has no text, 8 no edge."""
    rng = np.random.default_rng(0)
    rows = smart_model.letters(SIZE)
    topics = [t for _, t in rows]
    texts = [t for t, _ in rows]
    texts[7] = ""
    pairs = []
    for i in range(SIZE):
        for _ in range(3):
            same = rng.random() < 0.8
            others = [j for j in range(SIZE) if j != i and (topics[j] == topics[i]) == same]
            pairs.append((i, int(rng.choice(others))))
    pairs = [(a, b) for a, b in pairs if 8 not in (a, b)]
    table = {"id": [f"r{i}" for i in range(SIZE)], "text": texts, "topic": topics}
    pq.write_table(pa.table(table), tmp_path / "nodes.parquet")
    pq.write_table(
        pa.table({"source": [f"r{a}" for a, _ in pairs], "target": [f"r{b}" for _, b in pairs]}), tmp_path / "edges.parquet"
    )
    labels = [{"id": n.lower().replace(" ", "-"), "name": n} for n in TOPICS]
    (tmp_path / "taxonomy.yaml").write_text(yaml.safe_dump({"version": 1, "use_case": "why passengers write", "labels": labels}))
    wrong = rng.random(SIZE) < 0.15
    given = [TOPICS[(TOPICS.index(t) + 1) % len(TOPICS)] if w else t for t, w in zip(topics, wrong, strict=True)]
    pq.write_table(
        pa.table({"id": table["id"], "label": given, "confidence": np.where(wrong, 0.6, 0.9)}), tmp_path / "given.parquet"
    )
    return tmp_path


def graph(cli, folder: Path, out: str, *more: str, nodes: str = "nodes.parquet", edges: str = "edges.parquet"):
    fixed = ("--set", "embedder=tfidf", "--set", "trainings=2")
    files = ("--nodes", str(folder / nodes), "--edges", str(folder / edges))
    code, events, stderr = cli.other("run", "graph", *files, *fixed, "--out", str(folder / out), *more)
    assert code == 0, stderr
    return events[-1]


def by_model(cli, folder: Path, out: str, *more: str):
    llm = ("--llm", f"fake-1@{cli.server.url}", "--taxonomy", str(folder / "taxonomy.yaml"))
    return graph(cli, folder, out, *llm, *more)


def from_file(cli, folder: Path, out: str, *more: str, given: str = "given.parquet"):
    return graph(cli, folder, out, "--annotations", str(folder / given), *more)


def questions(cli) -> int:
    return sum("You sort texts" in json.dumps(body) for body in cli.server.bodies)


def test_a_model_labels_some_nodes_and_every_node_gets_a_label(cli, folder) -> None:
    result = by_model(cli, folder, "R", "--budget-nodes", "40", "--gold-column", "topic")
    assert questions(cli) == 40
    rows = pq.read_table(folder / "R" / "labels.parquet").to_pylist()
    assert [row["id"] for row in rows] == [f"r{i}" for i in range(SIZE)]
    assert all(row["label"] and row["status"] == "ok" and 0 <= row["confidence"] <= 1 for row in rows)
    sources = [row["source"] for row in rows]
    assert sources.count("llm") == 40 and sources.count("gnn") == SIZE - 40
    assert rows[7]["source"] == "gnn"  # it has no text, so nobody was asked about it
    metrics = json.loads((folder / "R" / "metrics.json").read_text())
    assert metrics["scores"]["llmlabel"]["accuracy"] > 0.8
    assert metrics["scores"]["llmlabel"]["nodes_measured"] == SIZE - 40
    assert metrics["scores"]["plain"]["nodes"] == "the run's own"  # a baseline is no reason to pay a model twice
    selected = pq.read_table(folder / "R" / "selected.parquet").to_pylist()
    assert len(selected) == 40 and all(row["why"] and row["kept"] for row in selected)
    by_model(cli, folder, "R", "--budget-nodes", "40", "--gold-column", "topic")
    assert questions(cli) == 40
    assert result["scores"] == metrics["scores"]


def test_only_the_selected_nodes_are_looked_up(cli, folder) -> None:
    """What stands in the file about other nodes makes no difference, even if it is nonsense."""
    from_file(cli, folder, "A", "--budget-nodes", "60")
    picked = {row["id"] for row in pq.read_table(folder / "A" / "selected.parquet").to_pylist()}
    rows = pq.read_table(folder / "given.parquet").to_pylist()
    poisoned = [row if row["id"] in picked else {**row, "label": "nonsense", "confidence": 1.0} for row in rows]
    pq.write_table(pa.Table.from_pylist(poisoned), folder / "poisoned.parquet")
    from_file(cli, folder, "B", "--budget-nodes", "60", given="poisoned.parquet")
    a, b = (pq.read_table(folder / out / "labels.parquet").to_pylist() for out in "AB")
    assert a == b
    assert not cli.server.bodies


def test_without_a_budget_every_row_is_used_and_gold_changes_no_label(cli, folder) -> None:
    plain = from_file(cli, folder, "A")
    gold = from_file(cli, folder, "B", "--gold-column", "topic")
    assert plain["annotations"]["chosen"] == SIZE
    labels = [pq.read_table(folder / out / "labels.parquet").column("label").to_pylist() for out in "AB"]
    assert labels[0] == labels[1]
    assert gold["scores"] is not None and gold["annotations"]["accuracy"] == pytest.approx(0.85, abs=0.06)


def test_gold_is_never_seen_by_what_is_chosen_and_learned(cli, folder) -> None:
    """Shuffled gold: the same nodes, the same labels; only the scores fall."""
    table = pq.read_table(folder / "nodes.parquet")
    shuffled = np.random.default_rng(1).permutation(table["topic"].to_numpy(zero_copy_only=False))
    pq.write_table(table.set_column(2, "topic", pa.array(shuffled)), folder / "shuffled.parquet")
    a = from_file(cli, folder, "A", "--budget-nodes", "60", "--gold-column", "topic")
    given = ("--annotations", str(folder / "given.parquet"), "--budget-nodes", "60", "--gold-column", "topic")
    b = graph(cli, folder, "B", *given, nodes="shuffled.parquet")
    for file in ("labels.parquet", "selected.parquet", "annotations.parquet"):
        assert pq.read_table(folder / "A" / file).to_pylist() == pq.read_table(folder / "B" / file).to_pylist()
    assert a["scores"]["plain"]["nodes"] == "random" and a["scores"]["random"]["accuracy"] > 0.5
    assert b["scores"]["llmlabel"]["accuracy"] < 0.45 < a["scores"]["llmlabel"]["accuracy"]
    assert a["estimate"] == b["estimate"]


def test_a_second_round_spends_the_rest_of_the_budget(cli, folder) -> None:
    by_model(cli, folder, "R", "--budget-nodes", "50", "--rounds", "2")
    assert questions(cli) == 50
    selected = pq.read_table(folder / "R" / "selected.parquet").to_pylist()
    assert [row["round"] for row in selected] == [1] * 25 + [2] * 25
    assert len({row["id"] for row in selected}) == 50


def test_another_learner_and_a_filter(cli, folder) -> None:
    pytest.importorskip("torch_geometric")
    more = ("--gnn", "gcn", "--filter", "ps", "--set", "weigh=confidence", "--target-precision", "0.95")
    result = from_file(cli, folder, "R", "--budget-nodes", "80", "--gold-column", "topic", *more)
    assert 0 < result["annotations"]["dropped"] <= 16
    assert result["scores"]["llmlabel"]["accuracy"] > 0.5
    assert result["counts"]["low_confidence"] > 0


def test_the_result_loads_into_pyg(cli, folder) -> None:
    pytest.importorskip("torch_geometric")
    kept = from_file(cli, folder, "R", "--budget-nodes", "60")["annotations"]["kept"]
    from llmlabel.graph import load_data

    data = load_data(folder / "R")
    assert data.num_nodes == SIZE and int(data.train_mask.sum()) == kept > 40 and data.edge_index.shape[0] == 2
    assert data.validate()
    names = [data.classes[k] for k in data.y.tolist()]
    assert names == pq.read_table(folder / "R" / "labels.parquet").column("label").to_pylist()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"select": "magic"}, "no selection strategy 'magic'; there are:"),
        ({"gnn": "magic"}, "no graph learner 'magic'; there are:"),
        ({"filter": "magic"}, "no filter 'magic'; there are:"),
        ({"edges": "none.csv"}, "no such file: none.csv"),
        ({"features": "none.npy"}, "none.npy"),
        ({"text_column": "none"}, "no such column"),
    ],
)
def test_bad_input_is_told_before_a_run_begins(folder, wrong, said) -> None:
    from llmlabel.flows.graph import graph as flow

    good = {"data": str(folder / "nodes.parquet"), "edges": str(folder / "edges.parquet"), "out": folder / "R"}
    with pytest.raises(LlmlabelError, match=re.escape(said)):
        flow.fn(GraphConfig(**{**good, "taxonomy": folder / "taxonomy.yaml", **wrong}))
    assert not (folder / "R").exists()


def test_rounds_need_a_budget(folder) -> None:
    good = {"data": str(folder / "nodes.parquet"), "out": folder / "R", "annotations": folder / "given.parquet", "rounds": 2}
    for more, said in (({}, "rounds share a budget"), ({"budget_nodes": 1}, "more rounds than nodes")):
        with pytest.raises(ValueError, match=said):
            GraphConfig(**good, **more)


def test_a_budget_below_the_labels_is_told_before_anything_is_paid(cli, folder) -> None:
    files = ("--nodes", str(folder / "nodes.parquet"), "--edges", str(folder / "edges.parquet"), "--budget-nodes", "2")
    llm = ("--llm", f"fake-1@{cli.server.url}", "--taxonomy", str(folder / "taxonomy.yaml"), "--set", "embedder=tfidf")
    code, _, stderr = cli.plain("run", "graph", *files, *llm, "--out", str(folder / "R"))
    assert code == 2 and "with less than one node for each label" in stderr
    assert questions(cli) == 0


def test_budgets_and_labels_at_the_edge(cli, folder) -> None:
    """More budget than nodes; one class only; a class nobody annotated: stated, not fatal."""
    everything = from_file(cli, folder, "A", "--budget-nodes", "1000")
    assert everything["annotations"]["chosen"] == SIZE
    rows = pq.read_table(folder / "given.parquet").to_pylist()
    pq.write_table(pa.Table.from_pylist([{**row, "label": TOPICS[0]} for row in rows]), folder / "one.parquet")
    one = from_file(cli, folder, "B", "--budget-nodes", "30", "--gold-column", "topic", given="one.parquet")
    assert set(pq.read_table(folder / "B" / "labels.parquet").column("label").to_pylist()) == {
        TOPICS[0].lower().replace(" ", "-")
    }
    assert one["scores"]["llmlabel"]["accuracy"] < 0.5  # classes nobody annotated count as wrong
    pq.write_table(pa.Table.from_pylist([{**row, "id": f"x{row['id']}"} for row in rows]), folder / "others.parquet")
    files = ("--nodes", str(folder / "nodes.parquet"), "--edges", str(folder / "edges.parquet"))
    given = ("--annotations", str(folder / "others.parquet"))
    code, _, stderr = cli.plain("run", "graph", *files, *given, "--out", str(folder / "C"))
    assert code != 0 and "ids of nodes look like" in stderr


def test_an_estimate_asks_nobody_and_counts_what_the_run_asks(cli, folder) -> None:
    files = ("--nodes", str(folder / "nodes.parquet"), "--edges", str(folder / "edges.parquet"), "--out", str(folder / "R"))
    llm = ("--llm", f"fake-1@{cli.server.url}", "--taxonomy", str(folder / "taxonomy.yaml"), "--budget-nodes", "50")
    code, events, stderr = cli.plain("run", "graph", *files, *llm, "--estimate")
    assert code == 0, stderr
    assert events[-1]["calls"] in (50, 52) and events[-1]["annotated"] == 50  # a hosted model is tried out with two
    assert not cli.server.bodies and not (folder / "R").exists()
    code, events, _ = cli.plain("run", "graph", *files, "--annotations", str(folder / "given.parquet"), "--estimate")
    assert code == 0 and events[-1]["calls"] == 0


def test_killed_and_run_again_nothing_is_paid_twice(cli, folder) -> None:
    command = [
        str(Path(sys.executable).with_name("llmlabel")), "run", "graph", "--budget-nodes", "60",
        "--nodes", str(folder / "nodes.parquet"), "--edges", str(folder / "edges.parquet"), "--concurrency", "2",
        "--taxonomy", str(folder / "taxonomy.yaml"), "--llm", f"fake-1@{cli.server.url}", "--set", "embedder=tfidf",
        "--set", "trainings=2", "--cache", str(cli.folder / "cache"), "--out", str(folder / "R"), "--json",
    ]  # fmt: skip
    cli.server.latency = 0.1
    started = subprocess.Popen(command, env=cli.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    for _ in range(1200):
        if questions(cli) > 20 or started.poll() is not None:
            break
        time.sleep(0.05)
    assert started.poll() is None
    os.killpg(started.pid, signal.SIGKILL)
    started.wait(30)
    by_model(cli, folder, "R", "--budget-nodes", "60")
    assert 60 <= questions(cli) <= 60 + 2  # those in flight at the kill
    assert load_run(folder / "R").info["exit"] == 0
