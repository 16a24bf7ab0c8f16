"""`llmlabel codebook` on a real run, with a model server whose model a wrong description misleads."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import smart_model
import yaml
from llmlabel.flows.codebook import _gold

from llmlabel import load_run
from llmlabel.annotation.panel import Gold
from llmlabel.errors import DataError
from llmlabel.records import Example, Taxonomy

TOPICS = sorted(smart_model.TOPICS)
HELPS, HARMS = "anything somebody has lost on a train", "every kind of complaint"


def misled(body) -> str:
    """Takes lost things for late trains until the label says `lost`; and complaints of any kind where a label says so."""
    user = body["messages"][-1]["content"]
    if "You write labelling" in body["messages"][0]["content"]:
        wrong = 'The label: "Lost Property"' in user
        return json.dumps({"include": [HARMS, HELPS] if wrong else [], "exclude": []})
    if "You sort texts" not in body["messages"][0]["content"]:
        return smart_model.answer(body)
    lines, text = user.rsplit("Text", 1)
    codes = {line[3:].split(":")[0]: line[0] for line in lines.splitlines() if line[1:3] == ". "}
    topic = smart_model.topic_of(text)
    if HARMS in lines:
        topic = "Lost Property"
    if topic == "Lost Property" and HELPS not in lines and HARMS not in lines:
        topic = "Late Trains"
    return codes[topic]


@pytest.fixture
def run(cli, tmp_path: Path) -> Path:
    """240 labelled letters, the topic of 160 of them known."""
    rows = smart_model.letters(240)
    gold = [topic if i % 3 else None for i, (_, topic) in enumerate(rows)]
    table = {"id": [f"r{i}" for i in range(240)], "text": [t for t, _ in rows], "gold": gold}
    pq.write_table(pa.table(table), tmp_path / "letters.parquet")
    labels = [{"id": n.lower().replace(" ", "-"), "name": n, "description": f"Letters about {n.lower()}"} for n in TOPICS]
    labels[TOPICS.index("Lost Property")]["description"] = "Houses and land"
    (tmp_path / "taxonomy.yaml").write_text(yaml.safe_dump({"version": 1, "use_case": "why passengers write", "labels": labels}))
    cli.server.answer = misled
    out = tmp_path / "run"
    given = ("--data", str(tmp_path / "letters.parquet"), "--taxonomy", str(tmp_path / "taxonomy.yaml"), "--gold-column", "gold")
    fixed = ("--set", "embedder=tfidf", "--set", "student=logistic_regression", "--set", "order_sample=0")
    code, _, err = cli.other("run", "annotate", *given, *fixed, "--llm", f"fake-1@{cli.server.url}", "--out", str(out))
    assert code == 0, err
    return out


def test_a_rule_that_mends_is_kept_and_one_that_harms_is_not(cli, run) -> None:
    before = cli.server.stats.requests
    code, events, err = cli.other("codebook", str(run))
    assert code == 0, err
    found = json.loads((run / "codebook.json").read_text())
    kept = [rule for rule in found["rules"] if rule["kept"]]
    assert [(rule["label"], rule["text"]) for rule in kept] == [("lost-property", HELPS)]
    assert found["tested"]["after"] == 1.0 and found["tested"]["low"] > 0
    harmful = next(rule for rule in found["rules"] if rule["text"] == HARMS)
    assert harmful["broken"] > 0 and not harmful["kept"]
    assert events[-1]["kept"] == 1 and any(e["event"] == "progress" for e in events)
    assert HELPS in (run / "codebook.md").read_text()
    state = next((run / "codebook").iterdir())
    assert load_run(state).info["cost"]["calls"] == cli.server.stats.requests - before > 0

    sent = cli.server.stats.requests
    assert cli.other("codebook", str(run))[0] == 0
    assert cli.server.stats.requests == sent, "a finished codebook asks nothing"

    tree = Taxonomy.load(run / "taxonomy.codebook.yaml")
    assert HELPS in tree["lost-property"].description and HARMS not in tree.dump()


def test_a_cap_stops_it_and_a_changed_file_is_refused(cli, run) -> None:
    before = cli.server.stats.requests
    code, _, err = cli.other("codebook", str(run), "--budget-calls", "5")
    assert code == 4, err
    assert cli.server.stats.requests - before <= 5
    code, _, err = cli.other("codebook", str(run), "--set", "gold_column=null")
    assert code == 2 and "is not what it was" in err


def test_without_gold_it_says_how_to_get_some() -> None:
    rows = {f"r{i}": Example(f"r{i}", "a text") for i in range(40)}
    some = Gold({f"r{i}": ("a",) for i in range(20)})
    known = SimpleNamespace(gold=some, human={"r30": ("a",)})
    with pytest.raises(DataError, match="20 rows of runs/x.*review export"):
        _gold(SimpleNamespace(known=known, by_id=rows, config=SimpleNamespace(run="runs/x")))
