"""`llmlabel run audit` through a real Prefect server, with and without judges."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import smart_model

SETTINGS = ("--set", "embedder=tfidf", "--seed", "0")
JUDGED = ("--ask", "60", "--set", "ask_random=10")


@pytest.fixture
def spoilt(tmp_path: Path) -> tuple[Path, set[str]]:
    """Letters, every twentieth with a wrong label; and the ids of those."""
    topics, rows = list(smart_model.TOPICS), []
    for n, (text, topic) in enumerate(smart_model.letters(240)):
        wrong = n % 20 == n // 20 % 5
        rows.append(
            {"id": f"r{n}", "text": text, "topic": topics[(topics.index(topic) + 1) % 5] if wrong else topic, "wrong": wrong}
        )
    path = tmp_path / "spoilt.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path, {row["id"] for row in rows if row["wrong"]}


def command(data: Path, out: Path, *more: str) -> tuple[str, ...]:
    return ("run", "audit", "--data", str(data), "--label-column", "topic", "--out", str(out), *SETTINGS, *more)


def flagged(out: Path) -> set[str]:
    return {row["id"] for row in pq.read_table(out / "audit.parquet").to_pylist() if row["flagged"]}


def test_wrong_labels_without_any_model_and_a_persons_check(cli, spoilt, tmp_path) -> None:
    (data, wrong), out = spoilt, tmp_path / "audit"
    code, events, _ = cli.other(*command(data, out, "--llm", "embedded"))
    assert code == 0
    assert cli.server.stats.requests == 0
    assert any("no model judges" in e.get("text", "") for e in events)
    queue = pq.read_table(out / "audit.parquet").to_pylist()
    assert len(queue) == 240 and [row["rank"] for row in queue] == list(range(1, 241))
    assert len({row["id"] for row in queue[: len(wrong)]} & wrong) >= 0.8 * len(wrong)
    assert len(flagged(out) & wrong) >= 0.7 * len(wrong)
    assert "the classifier, trained without this row" in queue[0]["reason"]
    about = json.loads((out / "metrics.json").read_text())["audit"]
    assert about["judged"] == 240 and 6 <= about["errors"] <= 24
    assert "Labels that are probably wrong" in (out / "report.html").read_text()

    rows = list(csv.DictReader((out / "check.csv").open()))
    assert {row["verdict"] for row in rows} == {""} and set(rows[0]) == {"id", "text", "given", "other", "verdict"}
    filled = tmp_path / "filled.csv"
    with filled.open("w") as f:
        sheet = csv.DictWriter(f, rows[0].keys())
        sheet.writeheader()
        sheet.writerows(row | {"verdict": "wrong" if row["id"] in wrong else "right"} for row in rows)
    before = (out / "audit.parquet").read_bytes()
    code, events, _ = cli.other(*command(data, out, "--llm", "embedded", "--check", str(filled)))
    assert code == 0
    found = events[-1]["checked"]
    truly = len(flagged(out) & wrong) / len(flagged(out))
    assert found["precision_low"] <= truly <= found["precision_high"]
    assert (out / "audit.parquet").read_bytes() == before
    assert "A person looked at" in (out / "report.html").read_text()


def test_judges_are_asked_about_few_rows_and_failed_ones_again(cli, spoilt, tmp_path) -> None:
    (data, wrong), out, usual = spoilt, tmp_path / "audit", cli.server.answer
    given = command(data, out, "--annotator", f"fake-1@{cli.server.url}", *JUDGED)
    cli.server.answer = lambda body: "I would rather not say." if "York" in str(body["messages"][-1]) else usual(body)
    code, _, _ = cli.other(*given)
    assert code == 3
    asked = {row["id"] for row in map(json.loads, (out / "failures.jsonl").read_text().splitlines())}
    assert asked and all("fake-1" in line for line in (out / "failures.jsonl").read_text().splitlines())
    cli.server.answer = usual
    assert cli.other(*given)[0] == 0
    about = json.loads((out / "metrics.json").read_text())["audit"]
    (judge,) = about["judges"]
    assert 10 <= judge["asked"] <= 70 and judge["usable"] == judge["asked"]
    assert len(flagged(out) & wrong) >= 0.8 * len(wrong)
    worst = pq.read_table(out / "audit.parquet").to_pylist()[0]
    assert "fake-1 says" in worst["reason"]

    sent = cli.server.stats.requests
    assert cli.other(*given)[0] == 0
    assert cli.other(*command(data, tmp_path / "again", "--annotator", f"fake-1@{cli.server.url}", *JUDGED, "--estimate"))[0] == 0
    assert cli.server.stats.requests == sent, "a finished run asks nothing, an estimate neither"


def test_what_cannot_be_audited_says_why(cli, spoilt, tmp_path) -> None:
    data, out = spoilt[0], tmp_path / "audit"
    code, events, _ = cli.other("run", "audit", "--data", str(data), "--label-column", "nope", "--out", str(out))
    assert (code, "has no such column" in events[-1]["message"]) == (2, True)
    code, events, _ = cli.other("run", "audit", "--data", str(data), "--label-column", "id", "--out", str(out))
    assert (code, "two labels with 5 rows" in events[-1]["message"]) == (2, True)
