"""What a person sees of runs in Prefect's two UIs, in a real browser; texts of users stay texts there."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import smart_model
import yaml
from fake_openai import FakeOpenAI
from prefect_server import PrefectServer, prefect_server

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HOSTILE = '<img src=x onerror="window.ran=1"> [x](javascript:window.ran=2) | a | **b** https://evil.example'
UIS = pytest.mark.parametrize("ui", ["", "/v2"], ids=["v1", "v2"])
ROWS, GOLD_EVERY = 120, 2


@dataclass
class Runs:
    """A server of Prefect's with what was run on it. `ended`: flow run by its `out`."""

    server: PrefectServer
    folder: Path
    model: str
    ended: dict[str, dict[str, Any]]

    def annotate(self, out: str, *more: str) -> None:
        command = [
            str(Path(sys.executable).with_name("llmlabel")), "run", "annotate", "--data", str(self.folder / "letters.parquet"),
            "--taxonomy", str(self.folder / "taxonomy.yaml"), "--llm", f"fake-1@{self.model}", "--gold-column", "topic",
            "--set", "embedder=tfidf", "--set", "student=logistic_regression", "--prices", str(self.folder / "prices.yaml"),
            "--cache", str(self.folder / "cache"), "--out", str(self.folder / out), *more,
        ]  # fmt: skip
        env = {**self.server.env, "LLMLABEL_API_KEY": "sk-canary-1234567890"}
        subprocess.run(command, env=env, check=False, capture_output=True, timeout=300)
        newest = sorted(self.server.found("flow_runs"), key=lambda run: run["created"])[-1]
        self.ended[out] = newest

    def artifacts(self, out: str) -> dict[str, dict[str, Any]]:
        wanted = {"flow_run_id": {"any_": [self.ended[out]["id"]]}}
        found = self.server.found("artifacts", artifacts=wanted)
        assert len({one["key"] for one in found}) == len(found), "one of each"
        return {one["key"]: one for one in found}

    def log(self, out: str) -> list[str]:
        wanted = {"flow_run_id": {"any_": [self.ended[out]["id"]]}}
        return [line["message"] for line in self.server.found("logs", logs=wanted, sort="TIMESTAMP_ASC")]


def _answer(body: dict[str, Any]) -> str:
    return HOSTILE if "lost a blue coat near" in body["messages"][-1]["content"] else smart_model.answer(body)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("runs")
    rows = smart_model.letters(ROWS)
    gold = [topic if n % GOLD_EVERY == 0 else None for n, (_, topic) in enumerate(rows)]
    bad = [text.startswith("lost a blue coat near") for text, _ in rows]
    ids = [f"{HOSTILE}{n}" if wrong else f"r{n}" for n, wrong in enumerate(bad)]
    assert any(bad)
    pq.write_table(pa.table({"id": ids, "text": [text for text, _ in rows], "topic": gold}), folder / "letters.parquet")
    labels = [{"id": n.lower().replace(" ", "-"), "name": n, "description": f"Is about: {n}"} for n in smart_model.TOPICS]
    labels[0]["description"] = HOSTILE
    (folder / "taxonomy.yaml").write_text(
        yaml.safe_dump({"version": 1, "use_case": f"why passengers write {HOSTILE}", "labels": labels})
    )
    (folder / "prices.yaml").write_text("date: 2026-11-20\nprices: {fake-1: {input: 2.0, output: 8.0}}\n")
    with prefect_server(folder / "prefect") as server, FakeOpenAI(_answer) as model:
        made = Runs(server, folder, model.url, {})
        made.annotate("partial", "--budget", "5")
        made.annotate("wrong", "--data", str(folder / "nowhere.parquet"))
        made.annotate("dear", "--budget-calls", "0", "--cache", str(folder / "empty"))
        yield made


def test_a_state_says_how_it_ended_and_what_to_do(runs: Runs) -> None:
    partial, wrong, dear = (runs.ended[out]["state"] for out in ("partial", "wrong", "dear"))
    assert (partial["type"], partial["name"]) == ("COMPLETED", "Partial")
    assert f"of {ROWS} rows failed" in partial["message"] and f"llmlabel retry {runs.folder / 'partial'}" in partial["message"]
    assert (wrong["type"], wrong["message"]) == ("FAILED", f"--data: no such file: {runs.folder / 'nowhere.parquet'}")
    assert (dear["type"], dear["name"]) == ("FAILED", "BudgetReached")
    assert "run again with a larger one" in dear["message"]


def test_the_log_holds_a_few_lines_and_no_text_or_key(runs: Runs) -> None:
    lines = runs.log("partial")
    assert 5 < len(lines) < 20
    assert any(line.startswith(f"annotate of {ROWS} rows; run folder") for line in lines)
    assert any(line.startswith("label: ") and f"{ROWS} of {ROWS}; $" in line and "of $5.00" in line for line in lines)
    whole = "\n".join([*lines, *runs.log("wrong")])
    for word in ("httpx", "HTTP", "Traceback", "sk-canary", "blue coat", "<img"):
        assert word not in whole
    assert len(runs.log("wrong")) <= 3


def test_a_run_has_one_artifact_of_each_kind(runs: Runs) -> None:
    before = runs.artifacts("partial")
    assert set(before) == {
        f"llmlabel-annotate-{what}" for what in ("report", "labels", "failures", "cost", "progress", "annotators")
    }
    assert "llmlabel-annotate-cost" in runs.artifacts("dear"), "what was spent until it stopped"


@UIS
def test_the_run(runs: Runs, browser: Any, resize: Any, picture: Any, ui: str) -> None:
    resize(1400)
    browser.get(f"{runs.server.root}{ui}/runs/flow-run/{runs.ended['partial']['id']}")
    for text in ("annotate letters.parquet with fake-1", "Partial", "run folder", "label: "):
        assert _appears(browser, text), text
    picture(f"prefect-run{ui.replace('/', '-')}")
    browser.get(f"{runs.server.root}{ui}/runs/flow-run/{runs.ended['wrong']['id']}?tab=Details")
    assert _appears(browser, "no such file")
    picture(f"prefect-failed{ui.replace('/', '-')}")


@UIS
@pytest.mark.parametrize(
    ("what", "seen"),
    [
        ("report", ("why passengers write <img", "labelled", "llmlabel retry", "report.html", "scp ")),
        ("labels", ("Ticket Refunds", "<img src=x onerror", "[x](javascript:window.ran=2) | a | **b**", "Lost Property")),
        ("failures", ("parse_failed", "<img src=x onerror", "llmlabel retry")),
        ("cost", ("$5.00", "fake-1", "tokens read")),
    ],
)
def test_an_artifact_is_read_as_it_was_written(
    runs: Runs, browser: Any, resize: Any, picture: Any, ui: str, what: str, seen: tuple[str, ...]
) -> None:
    resize(1400)
    found = runs.artifacts("partial")[f"llmlabel-annotate-{what}"]
    browser.get(f"{runs.server.root}{ui}/artifacts/artifact/{found['id']}")
    for text in seen:
        assert _appears(browser, text), text
    picture(f"prefect-{what}{ui.replace('/', '-')}")
    made = browser.execute_script(MADE_OF_TEXT)
    assert made == {"ran": None, "pictures": [], "links": []}
    if what == "report":
        assert browser.execute_script(DRAWN) >= 1, "charts are drawn"


MADE_OF_TEXT = """
const attributes = (selector, name) => [...document.querySelectorAll(selector)].map(e => e.getAttribute(name) || "");
return {
  ran: window.ran ?? null,
  pictures: attributes("img", "src").filter(at => at === "x"),
  links: attributes("a", "href").filter(at => at.startsWith("javascript:") || at.includes("evil.example")),
}"""
DRAWN = """
return [...document.querySelectorAll("img")].filter(e => e.src.startsWith("data:image/svg") && e.naturalWidth > 100).length"""


def _appears(browser: Any, text: str) -> bool:
    from selenium.webdriver.common.by import By

    for _ in range(60):
        body = browser.find_element(By.TAG_NAME, "body").text.replace("\u2060", "")
        if text.lower() in " ".join(body.lower().split()):
            return True
        time.sleep(0.5)
    return False
