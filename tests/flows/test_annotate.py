"""`llmlabel run annotate` through a real Prefect server, with a model server that counts."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import smart_model
import yaml

from llmlabel import load_run
from llmlabel.review import load_corrections

GOLD = 90
TOPICS = sorted(smart_model.TOPICS)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """240 letters; the topic of 90 of them is known."""
    rows = smart_model.letters(240)
    path = tmp_path / "letters.parquet"
    gold = [topic if i % 8 < 3 else None for i, (_, topic) in enumerate(rows)]
    table = {"id": [f"r{i}" for i in range(240)], "text": [t for t, _ in rows], "gold": gold, "topic": [g for _, g in rows]}
    pq.write_table(pa.table(table), path)
    return path


@pytest.fixture
def taxonomy(tmp_path: Path) -> Path:
    return write_taxonomy(tmp_path / "taxonomy.yaml", TOPICS)


def write_taxonomy(path: Path, names: list[str]) -> Path:
    labels = [{"id": n.lower().replace(" ", "-"), "name": n, "description": f"Letters about {n.lower()}."} for n in names]
    path.write_text(yaml.safe_dump({"version": 1, "use_case": "why passengers write", "labels": labels}))
    return path


def annotate(cli, data: Path, taxonomy: Path | None, out: Path, *more: str):
    llm = f"fake-1@{cli.server.url}"
    given = ("--taxonomy", str(taxonomy)) if taxonomy else ()
    fixed = ("--set", "embedder=tfidf", "--set", "student=logistic_regression", "--set", "order_sample=0")
    return cli.other("run", "annotate", "--data", str(data), *given, "--llm", llm, *fixed, "--out", str(out), *more)


def questions(cli) -> int:
    return sum("You sort texts" in json.dumps(body) for body in cli.server.bodies)


def test_two_annotators_to_proved_labels(cli, data, taxonomy, tmp_path) -> None:
    out = tmp_path / "run"
    who = ("--annotator", f"fake-1@{cli.server.url}", "--annotator", "nearest")
    given = ("--gold-column", "gold", "--target-precision", ".9", *who)
    code, _, err = annotate(cli, data, taxonomy, out, *given)
    assert code == 0, err
    run = load_run(out)
    truth = {row["id"]: row["topic"] for row in pq.read_table(data).to_pylist()}
    names = {label.id: label.name for label in run.taxonomy.labels}
    stands = [row for row in run.labels if row["status"] == "ok"]
    assert len(stands) > 200
    assert sum(names[row["label"]] == truth[row["id"]] for row in stands) / len(stands) > 0.95
    metrics = run.metrics
    assert metrics["scores"]["llmlabel"]["rows"] == GOLD
    assert metrics["scores"]["llmlabel"]["accuracy"] > 0.95
    assert {row["name"] for row in metrics["annotators"]} == {"fake-1", "nearest"}
    assert metrics["deferral"]["threshold"] is not None
    assert len(metrics["shares"]["rows"]) == 6
    assert all(row["low"] <= row["share"] <= row["high"] for row in metrics["shares"]["rows"])
    assert pq.read_table(out / "annotations.parquet").num_rows == 480
    assert "Reliability" in (out / "report.html").read_text() or "reliab" in (out / "report.html").read_text().lower()

    sent = cli.server.stats.requests
    assert annotate(cli, data, taxonomy, out, *given)[0] == 0
    assert cli.server.stats.requests == sent, "a finished run asks nothing"


def test_a_promise_without_gold_is_refused_before_anything_is_paid(cli, data, taxonomy, tmp_path) -> None:
    code, _, err = annotate(cli, data, taxonomy, tmp_path / "run", "--target-precision", ".9")
    assert code == 2
    assert "gold" in err and "review" in err
    assert questions(cli) == 0


def test_without_gold_it_says_that_nothing_is_promised(cli, data, taxonomy, tmp_path) -> None:
    code, events, _ = annotate(cli, data, taxonomy, tmp_path / "run")
    assert code == 0
    assert any("nothing is promised" in e.get("text", "") for e in events)
    metrics = load_run(tmp_path / "run").metrics
    assert metrics["scores"].get("llmlabel") is None and metrics["shares"] is None


def test_gold_of_five_rows_says_what_it_cannot_promise(cli, tmp_path, data, taxonomy) -> None:
    table = pq.read_table(data)
    few = [g if i < 14 else None for i, g in enumerate(table.column("gold").to_pylist())]
    pq.write_table(table.set_column(2, "gold", pa.array(few)), data)
    code, events, _ = annotate(cli, data, taxonomy, tmp_path / "run", "--gold-column", "gold", "--target-precision", ".95")
    said = " ".join(e.get("text", "") for e in events)
    assert code == 0
    assert "cannot promise" in said
    assert set(load_run(tmp_path / "run").info["counts"]) == {"low_confidence"}


def test_annotations_that_are_there_already_need_no_model(cli, data, taxonomy, tmp_path) -> None:
    rows = pq.read_table(data).to_pylist()
    path = tmp_path / "given.jsonl"
    with path.open("w") as f:
        for i, row in enumerate(rows):
            lines = [{"id": row["id"], "label": f"  {row['topic'].upper()} ", "annotator": "Ann"}]
            lines.append({"id": row["id"], "label": TOPICS[0], "annotator": "always the same"})
            lines.append({"id": row["id"], "label": "Parking" if i % 3 == 0 else row["topic"], "annotator": "Bob"})
            lines.append({"id": row["id"], "label": None, "annotator": "Eve"})
            f.writelines(json.dumps(line) + "\n" for line in lines)
        f.write(json.dumps({"id": "nobody", "label": "Late Trains", "annotator": "Ann"}) + "\n")
    code, _, err = annotate(cli, data, taxonomy, tmp_path / "run", "--annotations", str(path), "--gold-column", "gold")
    assert code == 0, err
    assert cli.server.stats.requests == 0
    who = {row["name"]: row for row in load_run(tmp_path / "run").metrics["annotators"]}
    assert set(who) == {"Ann", "always the same", "Bob"}
    assert who["Ann"]["accuracy"] == 1.0 and who["always the same"]["constant"]
    assert who["Bob"]["answered"] == pytest.approx(160 / 240, abs=0.01)
    assert load_run(tmp_path / "run").metrics["scores"]["llmlabel"]["accuracy"] > 0.97


def test_what_people_say_comes_back_and_only_what_it_touches_is_asked_again(cli, data, taxonomy, tmp_path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    given = ("--gold-column", "gold", "--few-shot", "3")
    assert annotate(cli, data, taxonomy, first, *given)[0] == 0
    file = tmp_path / "queue.csv"
    code, _, err = cli.plain("review", "export", str(first), "--format", "csv", "--n", "20", "--out", str(file))
    assert code == 0, err
    answered = fill_in(file, lambda text: "Late Trains")
    assert answered == 20
    code, _, err = cli.plain("review", "import", str(first), str(file))
    assert code == 0, err
    assert len(load_corrections(first)) == 20

    before = questions(cli)
    code, events, err = annotate(cli, data, None, second, *given, "--from", str(first))
    assert code == 0, err
    asked = questions(cli) - before
    assert 0 < asked < 240, "rows whose examples changed, and no others"
    by_id = {row["id"]: row for row in load_run(second).labels}
    said = load_corrections(first)
    assert all(by_id[i]["source"] == "human" and by_id[i]["label"] == "late-trains" for i in said)
    assert load_run(second).metrics["reviews"]["imported"] == 20
    assert load_corrections(second) == said, "a run made from this one will know them too"
    assert any("answers taken over" in e.get("text", "") for e in events)


def fill_in(file: Path, label) -> int:
    with file.open(newline="", encoding="utf-8-sig") as f:
        rows = list(csv.DictReader(f))
    for row in rows:
        row["label"] = label(row["text"])
    with file.open("w", newline="", encoding="utf-8-sig") as f:
        writer = csv.DictWriter(f, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def test_a_wider_taxonomy_asks_only_what_it_may_change(cli, data, taxonomy, tmp_path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    narrow = write_taxonomy(tmp_path / "narrow.yaml", [t for t in TOPICS if t != "Lost Property"])
    assert annotate(cli, data, narrow, first, "--gold-column", "gold")[0] == 0
    coverage = load_run(first).metrics["coverage"]
    assert coverage["none_fits"] == pytest.approx(48, abs=3)
    assert coverage["low"] < 0.2 < coverage["high"]
    before = questions(cli)
    assert annotate(cli, data, taxonomy, second, "--gold-column", "gold", "--from", str(first))[0] == 0
    assert 48 <= questions(cli) - before < 150
    assert load_run(second).info["counts"] == {"ok": 240}


def test_cascade_asks_the_model_only_what_vectors_left_unsure(cli, data, taxonomy, tmp_path) -> None:
    who = ("--annotator", "nearest", "--annotator", f"fake-1@{cli.server.url}", "--cascade")
    code, _, err = annotate(cli, data, taxonomy, tmp_path / "run", "--gold-column", "gold", "--target-precision", ".9", *who)
    assert code == 0, err
    run = load_run(tmp_path / "run")
    cascade = run.metrics["cascade"]
    assert cascade["stages"][0]["asked"] == 240
    assert questions(cli) == cascade["stages"][1]["asked"] < 240
    assert sum(stage["accepted"] for stage in cascade["stages"]) + cascade["people"] == 240


def test_a_model_that_answers_nothing_usable_ends_with_failed_rows_that_can_be_asked_again(cli, data, taxonomy, tmp_path) -> None:
    out = tmp_path / "run"
    sensible = cli.server.answer
    cli.server.answer = lambda body: "I would rather not say" if "You sort texts" in json.dumps(body) else "A"
    code, events, _ = annotate(cli, data, taxonomy, out, "--gold-column", "gold")
    assert code == 3
    assert load_run(out).info["counts"] == {"parse_failed": 240}
    assert "retry" in " ".join(e.get("text", "") for e in events)
    cli.server.answer = sensible
    code, _, err = cli.other("retry", str(out))
    assert code == 0, err
    assert load_run(out).info["counts"] == {"ok": 240}


def test_a_classifier_labels_the_rest_and_goes_up_the_tree_where_it_is_unsure(cli, data, tmp_path) -> None:
    tree = tmp_path / "tree.yaml"
    parents = {"trains": ["Late Trains", "Seat Reservations"], "people": ["Lost Property", "Ticket Refunds", "Station Access"]}
    labels = [{"id": parent, "name": parent.title()} for parent in parents]
    labels += [{"id": n.lower().replace(" ", "-"), "name": n, "parent": p} for p, names in parents.items() for n in names]
    tree.write_text(yaml.safe_dump({"version": 1, "use_case": "why passengers write", "labels": labels}))
    given = ("--gold-column", "gold", "--label-with-llm", "130", "--set", "back_off=true")
    code, _, err = annotate(cli, data, tree, tmp_path / "run", *given)
    assert code == 0, err
    rows = list(load_run(tmp_path / "run").labels)
    assert GOLD <= sum(row["source"] == "llm" for row in rows) <= 130
    truth = {row["id"]: row["topic"].lower().replace(" ", "-") for row in pq.read_table(data).to_pylist()}
    above = {n.lower().replace(" ", "-"): p for p, names in parents.items() for n in names}
    by_student = [row for row in rows if row["source"] == "student" and row["label"]]
    right = [row["label"] in (truth[row["id"]], above[truth[row["id"]]]) for row in by_student]
    assert sum(right) / len(right) > 0.9
    assert len(load_run(tmp_path / "run").metrics["shares"]["rows"]) == 6


def test_the_estimate_is_near_the_bill(cli, data, taxonomy, tmp_path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("date: 2026-11-20\nprices:\n  fake-1: {input: 2.0, output: 8.0}\n")
    code, events, err = annotate(cli, data, taxonomy, tmp_path / "run", "--prices", str(prices), "--estimate")
    assert code == 0, err
    assert questions(cli) == 0
    assert annotate(cli, data, taxonomy, tmp_path / "run", "--prices", str(prices))[0] == 0
    cost = load_run(tmp_path / "run").info["cost"]
    (annotator,) = load_run(tmp_path / "run").metrics["annotators"]
    labelling = sum(line["cost"] for line in cost["by_step"] if line["step"] == "label 0")
    assert annotator["cost"] == pytest.approx(labelling, abs=1e-6) and labelling > 0
    assert annotator["cost_per_1000"] == pytest.approx(1000 * labelling / 240, rel=1e-3)
    assert events[-1]["calls"] == pytest.approx(cost["calls"], rel=0.05)
    assert events[-1]["prompt_tokens"] == pytest.approx(cost["prompt_tokens"], rel=0.6)


def test_a_kill_in_the_middle_costs_nothing_twice(cli, data, taxonomy, tmp_path) -> None:
    out = tmp_path / "run"
    command = [
        str(Path(sys.executable).with_name("llmlabel")), "run", "annotate", "--data", str(data), "--taxonomy", str(taxonomy),
        "--llm", f"fake-1@{cli.server.url}", "--set", "embedder=tfidf", "--set", "student=logistic_regression",
        "--set", "order_sample=0", "--set", "shard_size=40", "--concurrency", "2", "--out", str(out),
        "--cache", str(cli.folder / "cache"), "--json",
    ]  # fmt: skip
    cli.server.latency = 0.02
    started = subprocess.Popen(command, env=cli.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    for _ in range(1200):
        if questions(cli) > 60 or started.poll() is not None:
            break
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert 60 < questions(cli) < 240
    cli.server.latency = 0
    done = subprocess.run(command, env=cli.env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert questions(cli) <= 240 + 2, "at most what was in flight is asked again"
    assert load_run(out).info["counts"] == {"ok": 240}
