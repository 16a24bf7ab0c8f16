"""What runs cost and what the store holds: bills from the ledger and from run.json, and pruning that keeps the caps."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_openai import FakeOpenAI
from llmlabel.flows.steps.annotation.proof import spent

from llmlabel.annotation.panel import Column
from llmlabel.config import CommonConfig
from llmlabel.errors import BudgetReached, ConfigError
from llmlabel.llm import Models
from llmlabel.llm.accounts import bill, prune, stats
from llmlabel.llm.ledger import NANO, Budget, Ledger, Send
from llmlabel.llm.loop import run_async
from llmlabel.llm.requests import Completion
from llmlabel.runs import RunFolder

DAY = 86_400


def send(n: int, model: str = "small", run: str = "r") -> Send:
    return Send(run, "label", n.to_bytes(24, "big"), model, tokens=100, nano=NANO)


def asked(
    ledger: Ledger, n: int, model: str = "small", run: str = "r", paid: int = NANO // 4, budget: Budget | None = None
) -> None:
    one = send(n, model, run)
    intent = run_async(ledger.open(one, budget or Budget()))
    answer = Completion(f"answer {n}", prompt_tokens=10, completion_tokens=5)
    ledger.settle(intent, one, answer=answer, nano=paid, outcome="ok", asked=b"question")
    run_async(ledger.flush())


def lost(ledger: Ledger, n: int) -> None:
    one = send(n)
    ledger.lose(run_async(ledger.open(one, Budget())), one, "timed out")
    run_async(ledger.flush())


def age(cache: Path, days: float, where: str = "1") -> None:
    with sqlite3.connect(cache / "ledger.sqlite") as db:
        for table in ("answers", "intents"):
            db.execute(f"UPDATE {table} SET created = created - ? WHERE {where}", (days * DAY,))


def days_ago(days: float) -> float:
    return time.time() - days * DAY


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Three paid answers of two models, and a request whose answer was lost."""
    ledger = Ledger(tmp_path)
    asked(ledger, 1)
    asked(ledger, 2)
    asked(ledger, 3, "large", paid=NANO // 2)
    lost(ledger, 4)
    ledger.remember("schema of small rev at http://host/v1", "yes")
    ledger.remember("schema of large rev at http://host/v1", "yes")
    ledger.close()
    return tmp_path


class TestBill:
    def test_from_the_ledger(self, cache: Path) -> None:
        info = {"id": "r", "config": {"cache": str(cache), "budget": 5.0, "budget_calls": None, "budget_tokens": 1000}}
        found = bill(info)
        assert found["source"].startswith("ledger ")
        assert [(line["model"], line["outcome"], line["calls"], line["cost"]) for line in found["by_step"]] == [
            ("small", "ok", 2, 0.5), ("large", "ok", 1, 0.5), ("small", "maybe billed", 1, 1.0)
        ]  # fmt: skip
        assert found["totals"]["money"] == 1.0
        assert found["totals"]["maybe_billed"] == 1.0
        assert found["caps"] == {"money": 5.0, "tokens": 1000}
        assert found["left"] == {"money": 3.0, "tokens": 1000 - 45 - 100}

    def test_an_annotators_cost_does_not_depend_on_a_kill(self, cache: Path, fake_server: FakeOpenAI, tmp_path: Path) -> None:
        """Else a cascade's plan, which weighs prices, would."""
        spec, prices = f"small@{fake_server.url}", {"small": {"input": 1.0, "output": 1.0}}
        config = CommonConfig(data="x.csv", out=tmp_path / "run", cache=cache, prices=prices)  # type: ignore[arg-type]
        folder = RunFolder(tmp_path / "run", flow="annotate", definition={}, config={})
        folder.info["id"] = "r"  # the run whose books the fixture keeps
        with Models(config, "r", Ledger(cache)) as models:
            models.client(spec, probe=False)
            used = spent(Column("small", "classify", {}, models.spec_of(spec), "label"), models, folder)
            lines = [line for line in models.ledger.by_step("r") if line["model"] == "small"]
        folder.close()
        assert {line["outcome"]: line["cost"] for line in lines} == {"ok": 0.5, "maybe billed": 1.0}
        assert used["cost"] == 1.0  # two answers of the small model and one of the large: they share the step here

    def test_a_copied_folder_stands_alone(self, cache: Path, tmp_path: Path) -> None:
        line = {
            "step": "label",
            "model": "m",
            "outcome": "ok",
            "calls": 7,
            "prompt_tokens": 1,
            "completion_tokens": 2,
            "cost": 0.5,
        }
        cost = {"money": 0.5, "maybe_billed": 0.0, "calls": 7, "by_step": [line], "price_table": "mine of 2026-11-20"}
        for info in ({"id": "elsewhere", "cost": cost}, {"id": "elsewhere", "cost": cost, "config": {"cache": str(cache)}}):
            found = bill(info, None if "config" in info else tmp_path / "nowhere")
            assert found["source"] == "run.json"
            assert found["by_step"] == [line]
            assert found["totals"]["calls"] == 7
            assert found["prices"]["table"] == "mine of 2026-11-20"
        assert not (tmp_path / "nowhere").exists(), "looking makes no ledger"

    def test_of_a_run_that_asked_nothing_is_empty(self, tmp_path: Path) -> None:
        found = bill({"id": "r"}, tmp_path)
        assert found["by_step"] == []
        assert found["totals"]["money"] == 0


class TestStats:
    def test_count_what_is_there(self, cache: Path) -> None:
        age(cache, 10, "model = 'large'")
        found = stats(cache)
        by_model = {row["model"]: row for row in found["answers"]}
        assert {m: row["answers"] for m, row in by_model.items()} == {"small": 2, "large": 1}
        assert by_model["small"]["bytes"] == sum(
            len(Completion(f"answer {n}", prompt_tokens=10, completion_tokens=5).to_json()) + len("question") for n in (1, 2)
        )
        assert by_model["large"]["oldest"] < by_model["small"]["oldest"]
        assert {row["state"]: (row["requests"], row["money"]) for row in found["intents"]} == {
            "open": (1, 1.0),
            "settled": (3, 1.0),
        }
        assert found["runs"] == {"runs": 1, "money": 1.0}
        assert found["facts"] == 2
        assert found["size"] >= (cache / "ledger.sqlite").stat().st_size > 0
        assert found["vectors"] is None
        json.dumps(found)

    def test_vectors_beside_it_are_counted(self, cache: Path) -> None:
        from llmlabel.embedding import TfidfEmbedder, VectorCache

        store, embedder = VectorCache(cache), TfidfEmbedder.fit(["a red cat", "a blue dog", "one more text"] * 5, 0)
        embedder.slow = True  # else they are not kept
        store.encode(embedder, ["a red cat", "a blue dog"])
        store.close()
        assert stats(cache)["vectors"]["vectors"] == 2
        assert "no dates" in prune(cache, before=time.time())["vectors"]
        assert stats(cache)["vectors"]["vectors"] == 2

    def test_without_a_ledger_it_says_where_it_looked(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no answer store"):
            stats(tmp_path)
        assert not list(tmp_path.iterdir())


class TestPrune:
    def test_takes_old_answers_and_keeps_the_caps(self, cache: Path) -> None:
        age(cache, 10, "model = 'small'")
        gone = prune(cache, before=days_ago(5))
        assert (gone["answers"], gone["intents"], gone["facts"]) == (2, 2, 2)
        ledger = Ledger(cache)
        assert ledger.answers([send(n).key for n in (1, 2, 3)]).keys() == {send(3).key}
        totals = ledger.totals("r")
        assert (totals.calls, totals.cost, totals.open_calls) == (3, 1.0, 1), "also the old open one stays"
        with pytest.raises(BudgetReached):
            asked(ledger, 9, budget=Budget(money=2.5))
        ledger.close()
        found = bill({"id": "r"}, cache)
        assert sum(line["cost"] for line in found["by_step"] if line["outcome"] != "maybe billed") == found["totals"]["money"]
        assert ("(pruned)", 2) in [(line["step"], line["calls"]) for line in found["by_step"]]

    def test_by_model_leaves_the_others(self, cache: Path) -> None:
        gone = prune(cache, model="large")
        assert (gone["answers"], gone["intents"], gone["facts"]) == (1, 1, 1)
        assert [row["model"] for row in stats(cache)["answers"]] == ["small"]

    def test_both_limits_hold_together(self, cache: Path) -> None:
        assert prune(cache, before=days_ago(1), model="small")["answers"] == 0
        age(cache, 2)
        assert prune(cache, before=days_ago(1), model="small")["answers"] == 2

    def test_a_dry_run_deletes_nothing(self, cache: Path) -> None:
        before = stats(cache)
        gone = prune(cache, before=time.time() + 1, dry_run=True)
        assert gone["answers"] == 3
        assert stats(cache)["answers"] == before["answers"]

    def test_the_file_gets_smaller(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path)
        for n in range(40):
            one = send(n)
            ledger.settle(run_async(ledger.open(one, Budget())), one, answer=Completion("x" * 50_000), nano=0, outcome="ok")
        ledger.close()
        gone = prune(tmp_path, before=time.time() + 1)
        assert gone["shrunk"]
        assert gone["size_after"] < 200_000 < 2_000_000 < gone["size_before"]

    def test_beside_another_ledger_that_is_idle(self, cache: Path) -> None:
        other = Ledger(cache)
        assert prune(cache, before=time.time() + 1)["answers"] == 3
        asked(other, 7)
        assert other.totals("r").calls == 4
        assert {row["model"]: row["answers"] for row in stats(cache)["answers"]} == {"small": 1}
        other.close()

    def test_not_while_another_process_has_requests_in_flight(self, cache: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from llmlabel.llm.ledger import *; from llmlabel.llm.loop import run_async;"
            "ledger = Ledger(Path(sys.argv[1]));"
            "run_async(ledger.open(Send('other', 's', b'k', 'm', 1, 1), Budget())); print('open', flush=True); sys.stdin.read()"
        )
        other = subprocess.Popen([sys.executable, "-c", code, str(cache)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert other.stdout is not None and other.stdout.readline() == b"open\n"
        with pytest.raises(ConfigError, match="1 requests in flight"):
            prune(cache, before=time.time() + 1)
        assert len(stats(cache)["answers"]) == 2
        other.kill()
        other.wait()
        assert prune(cache, before=time.time() + 1)["answers"] == 3, "what a dead process left open is in nobody's way"
        assert Ledger(cache).totals("other").open_calls == 1

    @pytest.mark.slow
    def test_not_while_another_process_writes(self, cache: Path) -> None:
        writing = sqlite3.connect(cache / "ledger.sqlite", isolation_level=None)
        writing.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigError, match="another process is writing"):
            prune(cache, before=time.time() + 1)
        writing.execute("ROLLBACK")
        assert prune(cache, before=time.time() + 1)["answers"] == 3
        writing.close()
