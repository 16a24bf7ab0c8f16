"""`llmlabel run taxonomy` through a real Prefect server, with a model server that counts."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from llmlabel import load_run
from llmlabel.records import Status


def files(run: Path) -> tuple[bytes, list[dict[str, object]]]:
    return (run / "taxonomy.yaml").read_bytes(), pq.read_table(run / "labels.parquet").to_pylist()


PIECE = re.compile(r" ?[^\W\d_]+|\d{1,3}| ?[^\s\w]+[\r\n]*|_|\s+")  # how GPT-4's tokenizer cuts a text before it looks words up
PRICES = "date: 2026-11-20\nprices:\n  fake-1: {input: 2.0, output: 8.0}\n"


def labelling(bodies: list[dict[str, object]]) -> list[str]:
    """The texts of requests to label, with what stands around them."""
    return [str(body["messages"][-1]["content"]) for body in bodies if "You sort texts" in json.dumps(body)]


def test_from_texts_to_report(cli, letters, tmp_path) -> None:
    out, prices = tmp_path / "run", tmp_path / "prices.yaml"
    prices.write_text(PRICES)
    cli.server.count = lambda text: len(PIECE.findall(text))
    given = ("--prices", str(prices), "--max-labels", "6", "--set", "description_words=5", "--budget", "5")
    _, estimated, _ = cli.run("--data", str(letters), "--out", str(out), "--estimate", *given)
    code, events, _ = cli.run("--data", str(letters), "--gold-column", "topic", "--out", str(out), *given)
    assert code == 0
    assert events[-1]["event"] == "done"
    check_money(cli, out, estimated[-1], events)
    run = load_run(out)
    assert sorted(label.name for label in run.taxonomy.labels) == [
        "Late Trains", "Lost Property", "Seat Reservations", "Station Access", "Ticket Refunds"
    ]  # fmt: skip
    assert len(run.labels) == 240
    assert {row["source"] for row in run.labels} == {"llm", "student"}
    assert run.metrics["scores"]["llmlabel"]["nmi"] > 0.85
    assert run.metrics["scores"]["llmlabel"]["exact"] > 0.9
    assert run.info["cost"]["calls"] == cli.server.stats.requests
    assert {"taxonomy.yaml", "labels.parquet", "classifier", "metrics.json", "report.html", "run.json"} <= {
        p.name for p in out.iterdir()
    }
    assert "Ticket Refunds" in (out / "report.html").read_text()

    sent = cli.server.stats.requests
    again = files(out)
    code, events, _ = cli.run("--data", str(letters), "--gold-column", "topic", "--out", str(out), *given)
    assert (code, cli.server.stats.requests) == (0, sent), "a finished run asks nothing"
    other = tmp_path / "other"
    code, _, _ = cli.run("--data", str(letters), "--gold-column", "topic", "--out", str(other), *given)
    assert (code, cli.server.stats.requests) == (0, sent), "stored answers are not bought again"
    assert files(other) == again, "same seed, same answers: identical taxonomy and labels"
    assert load_run(other).info["cost"]["calls"] == 0


def check_money(cli, out, estimated, events) -> None:
    """The estimate is within 30 % of the bill; progress, `cost` and the folder alone say the same."""
    info = load_run(out).info
    stats, cost = cli.server.stats, info["cost"]
    assert cost["money"] == pytest.approx((2 * stats.billed_prompt_tokens + 8 * stats.billed_completion_tokens) / 1e6)
    for key in ("money", "prompt_tokens", "calls"):
        assert estimated[key] == pytest.approx(cost[key], rel=0.3), key
    progress = [e for e in events if e["event"] == "progress"]
    assert {"cost", "budget", "calls", "requests_per_s", "in_flight", "retries"} <= progress[-1].keys()
    assert progress[-1]["budget"] == 5
    assert 0 < max(e["cost"] for e in progress) <= cost["money"]
    assert max(e["requests_per_s"] or 0 for e in progress) > 0
    (traffic,) = info["models"].values()
    assert 0 < traffic["latency_s"]["p50"] <= traffic["latency_s"]["p90"] <= traffic["latency_s"]["p99"]
    assert "99% within" in (out / "report.html").read_text()
    code, (bill,), _ = cli.other("cost", str(out))
    assert (code, bill["source"].split()[0], bill["totals"]["money"]) == (0, "ledger", cost["money"])
    assert bill["caps"] == {"money": 5.0}
    assert bill["prices"]["table"].startswith("prices.yaml of 2026-11-20")
    assert sum(line["cost"] for line in bill["by_step"]) == pytest.approx(cost["money"])


def test_failed_rows_are_asked_again_and_no_others(cli, letters, tmp_path) -> None:
    out, usual = tmp_path / "run", cli.server.answer
    unwell = lambda body: "I would rather not say." if "York" in body["messages"][-1]["content"].rsplit("Text", 1)[-1] else ""  # noqa: E731
    cli.server.answer = lambda body: ("You sort texts" in json.dumps(body) and unwell(body)) or usual(body)
    assert cli.run("--data", str(letters), "--out", str(out))[0] == 3
    before = {row["id"]: row for row in load_run(out).labels}
    bad = {i for i, row in before.items() if row["status"] == "parse_failed"}
    assert 2 <= len(bad) < 40
    failures = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert {f["id"] for f in failures} == bad
    assert {(f["step"], f["status"], f["attempts"]) for f in failures} == {("label", "parse_failed", 1)}

    cli.server.answer = usual
    cli.server.reset()
    spent = load_run(out).info["cost"]["calls"]
    assert cli.other("retry", str(out), "--budget-calls", str(spent + 1))[0] == 4, "stopped on the way, as if it was killed"
    command = ("--data", str(letters), "--out", str(out))
    assert cli.run(*command)[0] == 0, "the plain command goes on with the same round"
    texts = dict(zip(before, pq.read_table(letters).column("text").to_pylist(), strict=True))
    asked = labelling(cli.server.bodies)
    assert len(asked) == len(bad), "each failed row once, over both commands"
    assert all(any(texts[i] in one for one in asked) for i in bad)
    after = {row["id"]: row for row in load_run(out).labels}
    assert {after[i]["status"] for i in bad} == {"ok"}
    assert all(after[i] == row for i, row in before.items() if row["source"] == "llm" and i not in bad)
    assert (load_run(out).info["retries"], (out / "failures.jsonl").read_text()) == (1, "")

    sent = cli.server.stats.requests
    code, events, _ = cli.other("retry", str(out))
    assert (code, cli.server.stats.requests) == (0, sent)
    assert "finished" in events[-2]["text"]


def test_an_edited_taxonomy_asks_only_what_changed(cli, letters, tmp_path) -> None:
    out, edited, new = tmp_path / "run", tmp_path / "edited.yaml", tmp_path / "new"
    assert cli.run("--data", str(letters), "--out", str(out))[0] == 0
    tree = yaml.safe_load((out / "taxonomy.yaml").read_text())
    tree["labels"] = [label for label in tree["labels"] if label["id"] != "lost-property"]
    edited.write_text(yaml.safe_dump(tree))
    asked = sum(row["source"] == "llm" for row in load_run(out).labels)
    lost = sum(row["source"] == "llm" and row["label"] == "lost-property" for row in load_run(out).labels)
    assert 0 < lost < asked
    cli.server.reset()
    code, _, _ = cli.run("--data", str(letters), "--taxonomy", str(edited), "--from", str(out), "--out", str(new))
    assert code == 0
    assert len(labelling(cli.server.bodies)) == lost
    before = {row["id"]: row["label"] for row in load_run(out).labels if row["source"] == "llm"}
    after = {row["id"]: row for row in load_run(new).labels}
    assert all(after[i]["label"] == label for i, label in before.items() if label != "lost-property")
    assert {after[i]["status"] for i, label in before.items() if label == "lost-property"} == {"none_fits"}

    code, events, _ = cli.run("--data", str(letters), "--taxonomy", str(edited), "--out", str(out))
    assert code == 2
    assert "--from" in events[-1]["message"], "the old folder is not rewritten"


@pytest.mark.slow
def test_sigkill_at_any_point_then_resume(cli, letters, tmp_path) -> None:
    whole = tmp_path / "whole"
    assert cli.run("--data", str(letters), "--out", str(whole), "--set", f"cache={tmp_path}/other-cache")[0] == 0
    needed = cli.server.stats.requests
    cli.server.reset()
    cli.server.latency = 0.05
    out, kills = tmp_path / "killed", 0
    for stop_after in (20, 60, 130, 200):
        process = cli.start("--data", str(letters), "--out", str(out))
        while process.poll() is None and cli.server.stats.requests < stop_after:
            time.sleep(0.02)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    code, _, _ = cli.run("--data", str(letters), "--out", str(out))
    assert code == 0
    assert kills >= 3
    in_flight = cli.server.stats.most_in_flight * kills
    assert needed <= cli.server.stats.requests <= needed + in_flight
    assert files(out) == files(whole)
    billed = cli.server.stats.billed_tokens
    with sqlite3.connect(tmp_path / "cache" / "ledger.sqlite") as db:
        row = db.execute(
            "SELECT total(prompt_tokens) + total(completion_tokens)"
            " + total(max_tokens) FILTER (WHERE state = 'open') FROM intents"
        ).fetchone()
    assert billed <= row[0], "the server's bill is never above the ledger's"


def test_the_budget_stops_the_run_and_a_larger_one_goes_on(cli, letters, tmp_path) -> None:
    out = tmp_path / "run"
    code, events, _ = cli.run("--data", str(letters), "--out", str(out), "--budget-calls", "50")
    assert (code, cli.server.stats.requests) == (4, 50)
    assert "larger" in events[-1]["message"]
    code, _, _ = cli.run("--data", str(letters), "--out", str(out), "--budget-calls", "5000")
    assert code == 0
    bodies = [json.dumps(b, sort_keys=True) for b in cli.server.bodies]
    assert len(bodies) == len(set(bodies)), "nothing was asked twice"


def test_a_dead_server_and_a_wrong_key_say_so_and_keep_what_was_paid(cli, letters, tmp_path) -> None:
    out = tmp_path / "run"
    cli.server.fail("401", times=10_000, after=40)
    code, events, stderr = cli.run("--data", str(letters), "--out", str(out))
    assert code == 1
    assert "does not accept the key" in events[-1]["message"]
    assert "sk-canary" not in stderr + json.dumps(events)
    answered = cli.server.stats.answered
    cli.server.faults.clear()
    sent = cli.server.stats.requests
    assert cli.run("--data", str(letters), "--out", str(out))[0] == 0
    bodies = [json.dumps(b, sort_keys=True) for b in cli.server.bodies[:answered]]
    later = [json.dumps(b, sort_keys=True) for b in cli.server.bodies[sent:]]
    assert not set(bodies) & set(later), "what was answered before the key broke is not asked again"


def test_rows_that_fail_are_counted_and_the_exit_code_says_so(cli, letters, tmp_path) -> None:
    rows = pq.read_table(letters).to_pylist()
    import pyarrow as pa

    texts = [*(r["text"] for r in rows), "", None, "x" * 150_000, "<script>alert(1)</script> refund {{ 7*7 }}"]
    pq.write_table(pa.table({"text": texts}), letters)
    out = tmp_path / "run"
    code, events, _ = cli.run("--data", str(letters), "--out", str(out))
    assert code == 3
    labels = load_run(out).labels
    assert len(labels) == len(texts)
    assert [labels[len(rows)]["status"], labels[len(rows) + 1]["status"]] == [Status.ERROR, Status.ERROR]
    assert events[-1]["counts"]["error"] == 2
    assert (out / "failures.jsonl").read_text().count("the text is empty") == 2
    assert "<script>alert" not in (out / "report.html").read_text()


def test_keys_are_nowhere(cli, letters, tmp_path) -> None:
    assert cli.run("--data", str(letters), "--out", str(tmp_path / "run"))[0] == 0
    places = [tmp_path, Path(os.environ["PREFECT_HOME"])]
    for file in (f for place in places for f in place.rglob("*") if f.is_file()):
        assert b"sk-canary" not in file.read_bytes(), file


def test_prefect_shows_the_run_and_its_artifacts(cli, letters, tmp_path, prefect_server) -> None:
    import httpx2

    assert cli.run("--data", str(letters), "--out", str(tmp_path / "shown"))[0] == 0
    runs = httpx2.post(f"{prefect_server}/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 1}).json()
    assert runs[0]["state"]["type"] == "COMPLETED"
    assert "letters.parquet" in runs[0]["name"]
    keys = {a["key"] for a in httpx2.post(f"{prefect_server}/artifacts/filter", json={}).json()}
    assert {f"llmlabel-taxonomy-{what}" for what in ("report", "labels", "cost", "progress")} <= keys
