"""The command line as a user meets it: help, small commands, and what it says of bad input."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import smart_model
from fake_openai import FakeOpenAI

from llmlabel.records import Label, Taxonomy

SCRIPT = str(Path(sys.executable).with_name("llmlabel"))
RUN = ("run", "taxonomy", "--use-case", "why passengers write", "--llm", "embedded", "--set", "embedder=tfidf")


def llmlabel(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *args], capture_output=True, text=True, timeout=300, check=False, env={**os.environ, **env})


def table(path: Path, texts: list[object]) -> str:
    pq.write_table(pa.table({"text": texts}), path)
    return str(path)


def test_help_is_quick_and_teaches() -> None:
    times = []
    for _ in range(3):
        start = sum(os.times()[2:4])  # of children, so that other work on the machine does not count
        done = llmlabel("--help")
        times.append(sum(os.times()[2:4]) - start)
    assert done.returncode == 0
    assert min(times) < 0.7
    text = llmlabel("run", "taxonomy", "--help").stdout
    for word in ("Example:", "Exit codes", "--estimate", "vllm:MODEL_OR_DIR", "[default: 25]"):
        assert word in text


def test_prompts_can_be_looked_at() -> None:
    listed = llmlabel("prompts", "list").stdout
    assert "annotate/classify@1.0.0" in listed
    assert "# user" in llmlabel("prompts", "show", "annotate/classify@1.0.0").stdout
    assert llmlabel("prompts", "show", "annotate/nothing@1.0.0").returncode == 2
    assert "+summary" in llmlabel("prompts", "diff", "annotate/classify@1.0.0", "taxonomy/choose@1.0.0").stdout


def test_taxonomies_can_be_compared_and_checked(tmp_path: Path) -> None:
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text(Taxonomy(labels=[Label(id="x", name="Other", description="d"), Label(id="y", name="Y", description="d")]).dump())
    b.write_text(Taxonomy(labels=[Label(id="y", name="Years", description="d"), Label(id="z", name="Z", description="d")]).dump())
    done = llmlabel("taxonomy", "diff", str(a), str(b))
    assert done.returncode == 1
    assert "- x" in done.stdout
    assert "~ y  name: Y -> Years" in done.stdout
    assert llmlabel("taxonomy", "diff", str(a), str(a)).returncode == 0
    assert "vague" in llmlabel("taxonomy", "check", str(a)).stdout
    assert llmlabel("taxonomy", "check", str(b)).returncode == 0
    b.write_text("version: 1\nlabels: [{id: a, name: A, parent: nobody}]\n")
    broken = llmlabel("taxonomy", "check", str(b))
    assert broken.returncode == 2
    assert "nobody" in broken.stderr


def test_an_estimate_asks_nothing(tmp_path: Path) -> None:
    data = table(tmp_path / "d.parquet", [t for t, _ in smart_model.letters(300)])
    args = ("run", "taxonomy", "--data", data, "--use-case", "why", "--out", str(tmp_path / "r"), "--estimate", "--json")
    done = llmlabel(*args, "--llm", "openai:gpt-4.1-mini", "--method", "tnt", OPENAI_API_KEY="sk-none")
    said = json.loads(done.stdout)
    assert done.returncode == 0
    steps = {"probe", "exercise", "generate", "update", "review", "choose", "label", "judge", "relevance"}
    assert {s["step"] for s in said["steps"]} == steps, "short texts are not summarised"
    assert 0 < said["money"] < 5
    assert sum(s["calls"] for s in said["steps"]) == said["calls"]
    assert not (tmp_path / "r").exists()
    unknown = json.loads(llmlabel(*args, "--llm", "nobody@http://127.0.0.1:9/v1").stdout)
    assert unknown["money"] is None


def test_shared_options_reach_the_settings(tmp_path: Path) -> None:
    given = (
        "--data", "env:", "--out", str(tmp_path), "--seed", "3", "--llm", "embedded", "--judge", "openai:x",
        "--batch", "--mask-pii", "regex", "--no-store-text", "--concurrency", "7",
        "--rpm", "60", "--tpm", "9000", "--timeout", "5", "--set", "chains=2",
    )  # fmt: skip
    code = (
        "import sys, llmlabel.commands.run as run, llmlabel.cli as cli;"
        "run.run_flow = lambda path, config, as_json: print(path, config.model_dump_json());"
        "sys.argv[0] = 'llmlabel'; cli.main()"
    )
    command = [sys.executable, "-c", code, "run", "taxonomy", "--use-case", "why", *given]
    path, _, settings = subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition(" ")
    assert path == "taxonomy:taxonomy"
    found = json.loads(settings)
    wanted = {"seed": 3, "batch": True, "mask_pii": "regex", "store_text": False, "concurrency": 7, "rpm": 60.0, "tpm": 9000.0}
    assert {k: found[k] for k in wanted} == wanted
    assert (found["timeout"], found["chains"], found["llm"]["default"], found["llm"]["judge"]) == (5.0, 2, "embedded", "openai:x")


def test_what_a_run_cost_and_what_is_stored(tmp_path: Path) -> None:
    run, cache = tmp_path / "run", tmp_path / "cache"
    run.mkdir()
    line = {"step": "label", "model": "m", "outcome": "ok", "calls": 7, "prompt_tokens": 1, "completion_tokens": 2, "cost": 0.5}
    info = {"id": "r", "flow": "taxonomy", "config": {"budget": 2.0}, "cost": {"money": 0.5, "calls": 7, "by_step": [line]}}
    (run / "run.json").write_text(json.dumps(info))
    shown = llmlabel("cost", str(run), "--cache", str(cache))
    assert shown.returncode == 0
    assert "run.json" in shown.stdout and "$0.500000" in shown.stdout
    assert json.loads(llmlabel("cost", str(run), "--cache", str(cache), "--json").stdout)["left"] == {"money": 1.5}
    assert llmlabel("cost", str(tmp_path)).returncode == 2
    missing = llmlabel("cache", "stats", "--cache", str(cache))
    assert (missing.returncode, "--cache DIR" in missing.stderr) == (2, True)

    from llmlabel.llm.ledger import Ledger

    Ledger(cache).close()
    assert json.loads(llmlabel("cache", "stats", "--cache", str(cache), "--json").stdout)["answers"] == []
    assert "settled" not in llmlabel("cache", "stats", "--cache", str(cache)).stdout
    for args, complaint in (((), "--older-than DAYS"), (("--older-than", "3"), "--yes")):
        done = llmlabel("cache", "prune", "--cache", str(cache), *args)
        assert (done.returncode, complaint in done.stderr) == (2, True)
    assert json.loads(llmlabel("cache", "prune", "--model", "m", "--cache", str(cache), "--yes", "--json").stdout)["answers"] == 0


def test_retry_says_what_it_cannot_do(tmp_path: Path) -> None:
    assert "not a run folder" in llmlabel("retry", str(tmp_path)).stderr
    (tmp_path / "run.json").write_text(json.dumps({"id": "r", "flow": "sonnet", "config": {}}))
    done = llmlabel("retry", str(tmp_path))
    assert (done.returncode, "'sonnet'" in done.stderr) == (2, True)


def test_the_doctor_asks_anew_and_knows_the_price(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("date: 2026-11-20\nprices: {fake-1: {input: 0.10, output: 0.40}}\n")
    with FakeOpenAI() as server:
        args = ("doctor", "--llm", f"fake-1@{server.url}", "--cache", str(tmp_path), "--json")
        model = json.loads(llmlabel(*args, "--prices", str(prices)).stdout)["model"]
        assert (model["schemas"], model["logprobs"]) == (True, True)
        price = {"known": True, "input": 0.1, "output": 0.4, "from": "prices.yaml of 2026-11-20"}
        assert model["price"] == price
        server.schema, server.logprobs = None, False
        model = json.loads(llmlabel(*args).stdout)["model"]
        assert (model["schemas"], model["logprobs"]) == (False, False), "what was true before is not taken for granted"
        assert "--prices FILE" in model["price"]["to_do"]
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        assert db.execute("SELECT DISTINCT value FROM facts").fetchall() == [("no",)], "and runs know it"


@pytest.mark.parametrize(
    ("texts", "code", "complaint"),
    [
        (["a", "b", "c"], 2, "at least 4 different texts"),
        (["same"] * 50, 2, "at least 4 different texts"),
        ([None, ""], 2, "is empty"),
    ],
)
def test_too_little_text(texts: list[object], code: int, complaint: str, tmp_path: Path) -> None:
    done = llmlabel(*RUN, "--data", table(tmp_path / "d.parquet", texts), "--out", str(tmp_path / "r"), "--cache", str(tmp_path))
    assert done.returncode == code
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "complaint"),
    [
        (("--data", "nowhere.parquet"), 2, "no such file"),
        (("--data", "env:", "--text-column", "nope"), 2, "It has: id, text"),
        (("--data", "env:", "--llm", "gpt:4"), 2, "no such kind of model"),
        (("--data", "env:", "--llm", "openai:gpt-4.1-mini"), 2, "OPENAI_API_KEY"),
        (("--data", "env:", "--method", "magic"), 2, "method"),
        (("--data", "env:", "--max-labels", "1"), 2, "max_labels"),
        (("--data", "env:", "--out", "/proc/nowhere"), 2, "cannot write"),
        (("--data", "env:", "--llm", "m@http://127.0.0.1:9/v1"), 1, "is the server running"),
        (("--no-such-option",), 2, "No such option"),
    ],
)
def test_wrong_options_say_what_to_do(args: tuple[str, ...], code: int, complaint: str, tmp_path: Path) -> None:
    out = () if "--out" in args else ("--out", str(tmp_path / "r"))
    done = llmlabel(*RUN, *out, "--cache", str(tmp_path), *args, OPENAI_API_KEY="", OPENAI_BASE_URL="")
    assert complaint in done.stderr
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_nothing_is_left_of_a_run_that_was_killed(tmp_path: Path) -> None:
    """Its temporary Prefect server ends with it."""
    env = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    data = table(tmp_path / "d.parquet", [t for t, _ in smart_model.letters(40)])
    with FakeOpenAI(smart_model.answer) as model:
        model.latency = 60.0
        command = [SCRIPT, *RUN, "--llm", f"fake-1@{model.url}", "--data", data, "--out", str(tmp_path / "r")]
        run = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not model.stats.most_in_flight:
            assert run.poll() is None
            time.sleep(0.1)
        started = psutil.Process(run.pid).children(recursive=True)
        assert any("uvicorn" in process.cmdline() for process in started)
        run.kill()
        run.wait()
        _, left = psutil.wait_procs(started, 30)
    assert not left


def test_the_wheel_has_everything(tmp_path: Path) -> None:
    """Built, unpacked elsewhere, and imported without the checkout."""
    root = Path(__file__).parents[2]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "site"), str(root)]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    code = (
        "import llmlabel, llmlabel.flows.taxonomy, llmlabel.report; from llmlabel.prompting import PromptLibrary;"
        "print(llmlabel.__file__, len(PromptLibrary().ids()))"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path, check=True)
    where, count = done.stdout.split()
    assert where.startswith(str(tmp_path))
    assert int(count) == len(list((root / "prompts").glob("*/*/*.md")))
    assert (tmp_path / "site" / "llmlabel" / "py.typed").exists()
    assert list((tmp_path / "site" / "llmlabel" / "report").glob("*.j2"))
