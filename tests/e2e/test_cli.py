"""The command line as a user meets it: help, small commands, and what it says of bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import smart_model

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
        start = time.perf_counter()
        done = llmlabel("--help")
        times.append(time.perf_counter() - start)
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
    assert {s["step"] for s in said["steps"]} == {"summarise", "chains", "choose", "label", "judge"}
    assert 0 < said["money"] < 5
    assert sum(s["calls"] for s in said["steps"]) == said["calls"]
    assert not (tmp_path / "r").exists()
    unknown = json.loads(llmlabel(*args, "--llm", "nobody@http://127.0.0.1:9/v1").stdout)
    assert unknown["money"] is None


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
