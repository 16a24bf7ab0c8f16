"""`llmlabel run daily`: rounds on a folder that files come into, with a model server that counts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import smart_model
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from llmlabel import load_run
from llmlabel.config import DailyConfig
from llmlabel.errors import ConfigError, DataError
from llmlabel.runs import lock_folder, read_json

STRANGE = "Lost Property"
LETTERS = smart_model.letters(1200)
KNOWN = [text for text, topic in LETTERS if topic != STRANGE]
UNKNOWN = [text for text, topic in LETTERS if topic == STRANGE]


def arrive(inbox: Path, name: str, texts: list[str]) -> None:
    inbox.mkdir(exist_ok=True)
    ids = [f"{name}-{n}" for n in range(len(texts))]
    pq.write_table(pa.table({"id": ids, "text": texts}), inbox / f"{name}.parquet")


@pytest.fixture
def taxonomy(tmp_path: Path) -> Path:
    names = [name for name in sorted(smart_model.TOPICS) if name != STRANGE]
    labels = [{"id": n.lower().replace(" ", "-"), "name": n, "description": f"Letters about {n.lower()}."} for n in names]
    path = tmp_path / "taxonomy.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "use_case": "why passengers write", "labels": labels}))
    return path


@pytest.fixture
def settings(tmp_path: Path, taxonomy: Path, smart_server: Any) -> dict[str, Any]:
    return {
        "data": str(tmp_path / "inbox"), "out": tmp_path / "daily", "taxonomy": taxonomy, "llm": f"fake-1@{smart_server.url}",
        "embedder": "tfidf", "cache": tmp_path / "cache", "annotate": {"student": "logistic_regression", "order_sample": 0},
    }  # fmt: skip


@pytest.fixture
def round_(settings: dict[str, Any], prefect_server: str) -> Iterator[Callable[..., dict[str, Any]]]:
    from llmlabel.flows.daily import daily

    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield lambda **more: daily(DailyConfig.model_validate(settings | more))


def questions(server: Any) -> int:
    return sum("You sort texts" in json.dumps(body) for body in server.bodies)


def test_only_what_is_new_is_asked_and_a_late_file_is_picked_up(round_, settings, tmp_path, smart_server) -> None:
    inbox, out = tmp_path / "inbox", tmp_path / "daily"
    arrive(inbox, "2026-11-23", KNOWN[:200])
    first = round_()
    assert first["exit"] == 0 and first["new"] == 200
    assert questions(smart_server) == 200
    assert (Path(first["out"]) / "audit" / "audit.parquet").is_file()
    labels = (Path(first["labels"]) / "labels.parquet").read_bytes()

    sent = smart_server.stats.requests
    again = round_()
    assert again["new"] == 0 and again["exit"] == 0
    assert smart_server.stats.requests == sent, "without new rows nothing is asked"
    assert len(list((out / "rounds").iterdir())) == 1, "and no round is written"

    arrive(inbox, "2026-11-22-late", KNOWN[200:250])
    (inbox / ".2026-11-24.parquet").write_text("half a file that is still being copied")
    third = round_()
    assert third["new"] == 50 and third["verdict"] == "steady", third["reasons"]
    assert questions(smart_server) == 250
    run = load_run(third["labels"])
    assert len(run.labels) == 250 and run.info["counts"] == {"ok": 250}
    current = read_json(out / "current.json")
    assert current["run"] == "rounds/" + Path(third["out"]).name + "/annotate"
    assert current["student"].startswith("rounds/0001"), "nothing has changed: the classifier in force stays"
    page = (Path(third["out"]) / "report.html").read_text()
    assert "Has anything changed?" in page and "look like the 200 of the reference" in page
    assert (Path(first["labels"]) / "labels.parquet").read_bytes() == labels, "a finished round is never rewritten"

    handle = lock_folder(out)
    with pytest.raises(ConfigError, match="another process is at work"):
        round_()
    handle.close()
    table = pq.read_table(inbox / "2026-11-23.parquet").to_pylist()
    pq.write_table(pa.Table.from_pylist([{**row, "id": f"new-{row['id']}"} for row in table]), inbox / "2026-11-23.parquet")
    (inbox / "2026-11-22-late.parquet").unlink()
    with pytest.raises(DataError, match="row ids have changed"):
        round_()


def test_a_day_with_strange_texts_extends_the_taxonomy(round_, settings, tmp_path, taxonomy) -> None:
    settings["audited"] = 0
    inbox = tmp_path / "inbox"
    arrive(inbox, "monday", KNOWN[:200])
    round_()
    arrive(inbox, "tuesday", [*KNOWN[200:270], *UNKNOWN[:40]])
    before = taxonomy.read_text()
    proposed = round_()
    assert proposed["verdict"] == "act" and not proposed["extended"]
    assert any("fit no label" in why for why in proposed["reasons"]) and any("Extend" in what for what in proposed["todo"])
    metrics = read_json(Path(proposed["out"]) / "metrics.json")
    assert metrics["decision"]["verdict"] == "act" and metrics["drift"]["found"]["none_fits"]["low"] > 0.2
    assert taxonomy.read_text() == before, "a person decides"

    arrive(inbox, "wednesday", [*KNOWN[270:340], *UNKNOWN[40:80]])
    taken = round_(extend="auto")
    assert taken["extended"] and taken["verdict"] == "act"
    added = yaml.safe_load(taxonomy.read_text())["labels"][4:]
    assert added and len(added) <= 3
    assert set(read_json(Path(taken["out"]) / "run.json")["parts"]) == {"annotate", "extended"}
    assert not any("Extend" in what for what in taken["todo"]), "it is done"
    current = read_json(tmp_path / "daily" / "current.json")
    assert current["run"].endswith("/extended") and current["reference"] == current["run"] and "0002" in current["since"]


def test_a_round_that_was_killed_is_finished_before_the_next(cli, settings, tmp_path) -> None:
    inbox, out = tmp_path / "inbox", tmp_path / "daily"
    arrive(inbox, "monday", KNOWN[:200])
    command = [
        str(Path(sys.executable).with_name("llmlabel")), "run", "daily", "--data", str(inbox), "--out", str(out), "--json",
        "--taxonomy", str(settings["taxonomy"]), "--llm", f"fake-1@{cli.server.url}", "--cache", str(tmp_path / "cache"),
        "--concurrency", "2", "--set", "embedder=tfidf", "--set", "annotate.student=logistic_regression",
        "--set", "annotate.order_sample=0", "--set", "annotate.shard_size=40", "--set", "audited=0",
    ]  # fmt: skip
    cli.server.latency = 0.02
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    started = subprocess.Popen(command, env=cli.env, **quiet)
    for _ in range(1200):
        if questions(cli.server) > 60 or started.poll() is not None:
            break
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert 60 < questions(cli.server) < 200
    cli.server.latency = 0
    arrive(inbox, "tuesday", KNOWN[200:260])
    settings["taxonomy"].write_text(settings["taxonomy"].read_text().replace("Letters about", "A letter about"))
    done = subprocess.run(command, env=cli.env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    monday, tuesday = sorted((out / "rounds").iterdir())
    assert len(load_run(monday / "annotate").labels) == 200, "Monday's round has Monday's rows"
    assert "Letters about" in (monday / "taxonomy.yaml").read_text(), "and the taxonomy it began with"
    assert len(load_run(tuesday / "annotate").labels) == 260
    said = [json.loads(line).get("text", "") for line in done.stdout.splitlines()]
    assert any("was stopped; it is finished first" in text for text in said)
    assert any("was changed while this round ran" in text for text in said)
    assert read_json(out / "current.json")["round"] == tuesday.name
