"""What a person sees of a run in Prefect's own UI, in a real browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import smart_model
from fake_openai import FakeOpenAI

from llmlabel.llm.process import free_port

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def prefect(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    root = f"http://127.0.0.1:{port}"
    env = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_UI_API_URL": f"{root}/api"}
    env |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{root}/api/health", timeout=2)
            break
        except OSError:
            time.sleep(0.5)
    yield root
    server.terminate()
    server.wait(30)


def test_the_run_its_artifacts_and_no_error(browser, picture, resize, prefect: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [t for t, _ in smart_model.letters(120)]}), tmp_path / "letters.parquet")
    with FakeOpenAI(smart_model.answer) as server:
        command = [
            str(Path(sys.executable).with_name("llmlabel")),
            "run",
            "taxonomy",
            "--data",
            str(tmp_path / "letters.parquet"),
        ]
        command += ["--use-case", "why passengers write", "--llm", f"fake-1@{server.url}", "--set", "embedder=tfidf"]
        command += ["--label-with-llm", "60", "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run")]
        env = {**os.environ, "PREFECT_API_URL": f"{prefect}/api"}
        subprocess.run(command, env=env, check=True, capture_output=True, timeout=300)
    resize(1400)
    browser.get(f"{prefect}/runs/flow-run/{_only_run(prefect)}")
    for text in ("taxonomy of", "letters.parquet", "Completed", "induce", "apply"):
        assert _appears(browser, text), text
    picture("prefect-run")
    browser.get(f"{prefect}/artifacts")
    for text in ("taxonomy", "counts", "cost", "report"):
        assert _appears(browser, text)
    picture("prefect-artifacts")
    table = next(a for a in _posted(prefect, "artifacts") if a["key"] == "taxonomy")
    browser.get(f"{prefect}/artifacts/artifact/{table['id']}")
    assert _appears(browser, "Ticket Refunds")
    picture("prefect-taxonomy")


def _only_run(prefect: str) -> str:
    (run,) = _posted(prefect, "flow_runs")
    return str(run["id"])


def _posted(prefect: str, kind: str) -> list[dict[str, object]]:
    request = urllib.request.Request(f"{prefect}/api/{kind}/filter", b"{}", {"Content-Type": "application/json"})
    return list(json.load(urllib.request.urlopen(request, timeout=30)))


def _appears(browser: object, text: str) -> bool:
    from selenium.webdriver.common.by import By

    for _ in range(60):
        if text.lower() in browser.find_element(By.TAG_NAME, "body").text.lower():  # type: ignore[attr-defined]
            return True
        time.sleep(0.5)
    return False
