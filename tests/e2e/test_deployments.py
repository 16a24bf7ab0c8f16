"""Deployments on a real Prefect server: schedules, hand-made starts, wrong settings, secrets, limits, lost workers, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import smart_model
import tiny_policy
import yaml
from fake_openai import FakeOpenAI
from prefect_server import PrefectServer, prefect_server

pytestmark = pytest.mark.slow
LLMLABEL = str(Path(sys.executable).with_name("llmlabel"))
FULL = """
import errno, os
real = os.fsync
def fsync(fd):
    if "/runs/full/" in os.readlink(f"/proc/self/fd/{fd}") and os.path.exists(os.environ["FULL_WHILE"]):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    real(fd)
os.fsync = fsync
"""
KEY, OTHER_KEY = "sk-canary-of-the-environment-7301", "sk-canary-of-the-block-4417"
ROWS = 40


class Site:
    """A server, the folder flows are served from, the model they ask, and the process that serves them."""

    def __init__(self, folder: Path, server: PrefectServer, model: FakeOpenAI) -> None:
        self.folder, self.server, self.model = folder, server, model
        self.env = {**server.env, "LLMLABEL_API_KEY": KEY, "LLMLABEL_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
        self.env |= {"PWD": str(folder), "FULL_WHILE": str(self.full)}  # PWD as after `cd`
        self.env["PYTHONPATH"] = os.pathsep.join([str(folder / "patches"), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process: subprocess.Popen[bytes] | None = None

    def settings(self, out: str, **more: Any) -> dict[str, Any]:
        llm = {"default": f"fake-1@{self.model.url}"}
        found = {"data": "letters.parquet", "taxonomy": "taxonomy.yaml", "out": out, "llm": llm, "embedder": "tfidf"}
        return found | {"student": "logistic_regression", "order_sample": 0} | more

    def serve(self, *deployments: dict[str, Any]) -> None:
        (self.folder / "deployments.yaml").write_text(yaml.safe_dump(list(deployments)))
        command = [LLMLABEL, "serve", "--config", "deployments.yaml"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        self.server.wait(lambda: "Ctrl-C stops" in self.log.read_text() or self.process.poll(), 120, "llmlabel serve")

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=300)

    def python(self, code: str, *words: str) -> None:
        done = self.command(sys.executable, "-c", code, *words)
        assert done.returncode == 0, done.stderr

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        return self.server.found("flow_runs", deployments={"name": {"any_": [deployment]}})

    def kill(self) -> None:
        """kill -9 of what serves, and of the runs it has started."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)

    @property
    def full(self) -> Path:
        """While this file is there, the disk is full under runs/full."""
        return self.folder / "disk-is-full"

    @property
    def log(self) -> Path:
        return self.folder / "serve.log"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    texts = [text for text, _ in smart_model.letters(ROWS)]
    pq.write_table(pa.table({"text": texts}), folder / "letters.parquet")
    labels = [{"id": name.lower().replace(" ", "-"), "name": name, "description": f"about {name}"} for name in smart_model.TOPICS]
    (folder / "taxonomy.yaml").write_text(yaml.safe_dump({"version": 1, "use_case": "why passengers write", "labels": labels}))
    (folder / "patches").mkdir()
    (folder / "patches" / "sitecustomize.py").write_text(FULL)
    with prefect_server(folder / "prefect") as server, FakeOpenAI(smart_model.answer, key=KEY) as model:
        found = Site(folder, server, model)
        try:
            yield found
        finally:
            found.kill()


@pytest.fixture(scope="module")
def served(site: Site) -> Site:
    """Deployments: two to be started by hand, one every two seconds, which takes longer than that."""
    by_hand = {"flow": "annotate", "name": "by-hand", "limit": 5, "config": {"data": "letters.parquet"}}
    often = {"flow": "annotate", "name": "often", "interval": 2, "config": site.settings("runs/often")}
    chain = {"flow": "pipeline", "name": "chain"}
    site.serve(by_hand, often, chain)
    site.server.wait(lambda: any(r["state_type"] == "RUNNING" for r in site.runs("often")), 90, "a scheduled run")
    site.server.wait(lambda: any(r["state_type"] == "CANCELLED" for r in site.runs("often")), 60, "an overlapping run")
    deployment = site.server.deployment("annotate/often")
    site.server.request("PATCH", f"deployments/{deployment['id']}", {"paused": True})
    return site


def test_a_schedule_runs_and_does_not_overlap(served: Site) -> None:
    """The next run of a schedule is cancelled where the last one still goes on; the other ends well."""
    assert [r["state_type"] for r in served.runs("often") if r["state_type"] not in ("CANCELLED", "SCHEDULED")] == ["RUNNING"]
    (first,) = (r for r in served.runs("often") if r["state_type"] == "RUNNING")
    assert served.server.ended(first["id"])["type"] == "COMPLETED"
    assert json.loads((served.folder / "runs/often/run.json").read_text())["counts"] == {"ok": ROWS}
    cancelled = [r["state"]["message"] for r in served.runs("often") if r["state_type"] == "CANCELLED"]
    assert cancelled and set(cancelled) == {"Deployment concurrency limit reached."}


def test_wrong_settings_are_refused_at_the_start(served: Site) -> None:
    for wrong, named in (({"few_shot": "many"}, "few_shot"), ({"few_shots": 2}, "few_shots"), ({"out": None}, "out")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            served.server.launch("annotate/by-hand", served.settings("runs/wrong") | wrong)
        assert refused.value.code == 409
        assert named in refused.value.read().decode()


@pytest.mark.browser
def test_the_form_shows_every_setting(served: Site, browser: Any, resize: Any, picture: Any) -> None:
    from selenium.webdriver.common.by import By

    from llmlabel.config import AnnotateConfig

    resize(1300)
    browser.get(f"{served.server.root}/deployments/deployment/{served.server.deployment('annotate/by-hand')['id']}/run")

    def text() -> str:
        return str(browser.find_element(By.TAG_NAME, "body").text)

    served.server.wait(lambda: "Validate parameters" in text(), 60, "the form")
    picture("prefect-form")
    shown = text()
    for name, field in AnnotateConfig.model_fields.items():
        assert name.replace("_", " ").title() in shown, name
        assert field.description and field.description[:30].replace("`", "") in shown.replace("`", ""), name
    assert shown.index("Multi Label") < shown.index("Budget Calls")  # its own settings come first
    filled = [box.get_property("value") for box in browser.find_elements(By.CSS_SELECTOR, "textarea, input")]
    assert {"letters.parquet", "text", "4000", "LLMLABEL_API_KEY"} <= set(filled)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"taxonomy": None}, "needs labels: --taxonomy FILE"),
        ({"data": "gone.parquet"}, "gone.parquet"),
        ({"api_key_block": "nobody-made-this"}, "no Secret block 'nobody-made-this'"),
    ],
)
def test_what_only_the_run_can_see_becomes_its_state(served: Site, wrong: dict[str, Any], told: str) -> None:
    state = served.server.ended(served.server.launch("annotate/by-hand", served.settings("runs/bad", **wrong)))
    assert state["type"] == "FAILED"
    assert told in state["message"]


def test_a_limit_of_an_endpoint_holds_for_all_runs(served: Site) -> None:
    host = served.model.url.removeprefix("http://").removesuffix("/v1")
    served.server.request("POST", "v2/concurrency_limits/", {"name": f"llmlabel:{host}", "limit": 2})
    served.model.latency, served.model.stats.most_in_flight = 0.05, 0
    runs = [served.server.launch("annotate/by-hand", served.settings(f"runs/limit-{n}", seed=n + 1)) for n in range(2)]
    assert {served.server.ended(run)["type"] for run in runs} == {"COMPLETED"}
    served.model.latency = 0.0
    assert 1 <= served.model.stats.most_in_flight <= 2
    left = served.server.request("GET", f"v2/concurrency_limits/llmlabel:{host}")
    assert left["active_slots"] == 0
    served.server.request("DELETE", f"v2/concurrency_limits/llmlabel:{host}")


def test_started_by_hand_with_a_key_from_a_block(served: Site) -> None:
    """What the form sends: null for every setting left empty, also for every role of a model. No key is in the database."""
    code = "import sys; from prefect.blocks.system import Secret; Secret(value=sys.argv[1]).save('model-key')"
    served.python(code, OTHER_KEY)
    empty = {"from_run": None, "budget": None, "cache": None}
    config = served.settings("runs/hand", api_key_block="model-key", **empty)
    config["llm"] |= dict.fromkeys(("label", "judge", "name"))
    served.model.key = OTHER_KEY
    state = served.server.ended(served.server.launch("annotate/by-hand", config))
    served.model.key = KEY
    assert state["type"] == "COMPLETED", state["message"]
    assert pq.read_table(served.folder / "runs/hand/labels.parquet").num_rows == ROWS
    assert (served.folder / "cache").is_dir()  # from the environment of the worker
    for file in [*served.server.home.rglob("*"), *(served.folder / "runs").rglob("*"), served.log]:
        if file.is_file():
            content = file.read_bytes()
            assert KEY.encode() not in content and OTHER_KEY.encode() not in content, file
    assert b"letters.parquet" in b"".join(f.read_bytes() for f in served.server.home.glob("prefect.db*"))  # it is the right file


def test_a_run_that_had_to_stop_says_why_and_goes_on(served: Site) -> None:
    """Its key expires, then the disk is full, then its time is up: three states that say what to do, and nothing asked twice."""
    model, config = served.model, served.settings("runs/full", seed=21)
    model.reset()

    def attempt(**more: Any) -> dict[str, Any]:
        return served.server.ended(served.server.launch("annotate/by-hand", config | more))

    model.fail("401", times=10_000, after=10)
    refused = attempt()
    assert refused["type"] == "FAILED" and "LLMLABEL_API_KEY" in refused["message"], refused["message"]
    model.faults.clear()
    served.full.touch()
    full = attempt()
    assert full["type"] == "FAILED" and "Free some space" in full["message"], full["message"]
    served.full.unlink()
    model.latency = 30.0
    late = attempt(time_limit=6 / 3600)
    model.latency = 0.0
    assert (late["type"], late["name"]) == ("FAILED", "TimedOut"), late
    assert "same settings" in late["message"], late["message"]
    done = attempt()
    assert done["type"] == "COMPLETED", done["message"]
    assert json.loads((served.folder / "runs/full/run.json").read_text())["counts"] == {"ok": ROWS}
    assert model.stats.answered <= model.stats.distinct + model.stats.most_in_flight


def test_a_chain_runs_its_flows_as_subflows(served: Site) -> None:
    pytest.importorskip("trl")
    (served.folder / "strategies.yaml").write_text("version: 1\nstrategies: [{name: short, prompt: respond/concise@1.0.0}]\n")
    config = served.settings("runs/chain", seed=33) | {
        "target": tiny_policy.save(served.folder / "tiny", max_position_embeddings=2048),
        "stages": ["annotate", "select", "sft"], "test_rows": 10,
        "annotate": {"taxonomy": "taxonomy.yaml", "student": "logistic_regression", "order_sample": 0},
        "select": {"strategies": "strategies.yaml", "n": 10, "own_samples": 1, "max_answer_tokens": 32, "verify": "none"},
        "sft": {"max_steps": 2},
    }  # fmt: skip
    for name in ("taxonomy", "student", "order_sample"):
        del config[name]
    served.model.latency = 30.0
    late = served.server.ended(served.server.launch("pipeline/chain", config | {"time_limit": 8 / 3600}))
    served.model.latency = 0.0
    assert late["name"] == "TimedOut" and "same settings" in late["message"], late
    whole = served.server.launch("pipeline/chain", config)
    state = served.server.ended(whole)
    assert state["type"] == "COMPLETED", state["message"]
    parts = served.server.found("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [whole]}})
    assert sorted(p["name"].split()[0] for p in parts) == ["annotate", "select", "sft"]
    assert {p["state_type"] for p in parts} == {"COMPLETED"}
    assert (served.folder / "runs/chain/sft/model/model.safetensors").is_file()


def test_a_run_whose_worker_is_gone_crashes_and_gives_way(served: Site) -> None:
    """kill -9 of the worker and its run: the state says so by itself, the slot is free, and the same settings go on."""
    served.python("from llmlabel.flows.deployed.automations import mark_lost_runs; mark_lost_runs(10)")
    ended = served.server.launch("annotate/by-hand", served.settings("runs/capped", seed=19, budget_calls=2))
    assert served.server.ended(ended)["name"] == "BudgetReached"
    served.model.latency = 30.0
    lost = served.server.launch("annotate/by-hand", served.settings("runs/lost", seed=20))
    served.server.wait(lambda: served.server.run(lost)["state_type"] == "RUNNING", 90, "the run to begin")
    time.sleep(4)  # its first sign of life is on its way
    served.kill()
    served.model.latency = 0.0
    state = served.server.ended(lost, 60)
    assert state["type"] == "CRASHED"
    assert "it goes on from there" in state["message"]
    assert served.server.run(ended)["state"]["name"] == "BudgetReached"  # what has ended gives no sign of life, and is not lost
    assert served.server.deployment("annotate/by-hand")["global_concurrency_limit"]["active_slots"] == 0


def test_ctrl_c_cancels_pauses_and_leaves_nothing(served: Site) -> None:
    served.kill()
    daily = {"flow": "annotate", "name": "daily", "cron": "0 6 * * *", "config": served.settings("runs/daily", seed=30)}
    served.serve(daily)
    assert served.process is not None
    assert served.server.deployment("annotate/daily")["paused"] is False
    served.model.latency = 30.0
    going_on = served.server.launch("annotate/daily", daily["config"])
    served.server.wait(lambda: served.server.run(going_on)["state_type"] == "RUNNING", 90, "the run to begin")
    os.killpg(served.process.pid, signal.SIGINT)  # as a terminal does it
    assert served.process.wait(60) == 0
    served.model.latency = 0.0
    assert served.server.ended(going_on, 10)["type"] == "CANCELLED"
    assert served.server.deployment("annotate/daily")["paused"] is True
    assert "Traceback" not in served.log.read_text()
    with pytest.raises(ProcessLookupError):
        os.killpg(served.process.pid, 0)


def test_a_worker_runs_what_was_deployed_both_ways(site: Site) -> None:
    """`llmlabel deploy` and `prefect deploy` of prefect.yaml: paths are relative to the folder they were called in."""
    site.kill()
    for refused in (site.command(LLMLABEL, "deploy", "--pool", "labelling"),):
        assert refused.returncode == 2 and "--create" in refused.stderr
    file = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())
    file["deployments"] = [d | {"name": "from-yaml"} for d in file["deployments"] if d["name"] == "annotate"]
    (site.folder / "prefect.yaml").write_text(yaml.safe_dump(file))
    (site.folder / "pool.yaml").write_text(yaml.safe_dump([{"flow": "annotate", "name": "from-command"}]))
    done = site.command(LLMLABEL, "deploy", "--pool", "labelling", "--create", "--config", "pool.yaml")
    assert done.returncode == 0, done.stderr
    done = site.command(str(Path(sys.executable).with_name("prefect")), "--no-prompt", "deploy", "--all")
    assert done.returncode == 0, done.stdout
    names = ("from-command", "from-yaml")
    runs = [site.server.launch(f"annotate/{name}", site.settings(f"runs/{name}")) for name in names]
    worker = [str(Path(sys.executable).with_name("prefect")), "worker", "start", "--pool", "labelling", "--run-once"]
    elsewhere = site.folder / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(worker, cwd=elsewhere, env=site.env, check=True, capture_output=True, timeout=300)
    for name, run in zip(names, runs, strict=True):
        assert site.server.run(run)["state"]["type"] == "COMPLETED", site.server.run(run)["state"]["message"]
        assert (site.folder / "runs" / name / "labels.parquet").is_file()


def test_no_server_is_told(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {"PREFECT_HOME": str(tmp_path)}
    for address, told in ((None, "none is named"), ("http://127.0.0.1:9/api", "no Prefect server answers")):
        here = env | ({"PREFECT_API_URL": address} if address else {})
        done = subprocess.run([LLMLABEL, "serve"], env=here, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2
        assert told in done.stderr and "prefect server start" in done.stderr
