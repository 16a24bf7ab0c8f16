"""The main job with real models: embedded SmolLM2 and MiniLM on `env:`, and a real vLLM on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import smart_model

from llmlabel import load_run
from llmlabel.taxonomy.diff import problems

SCRIPT = str(Path(sys.executable).with_name("llmlabel"))


def llmlabel(*args: str) -> tuple[int, list[dict[str, object]]]:
    done = subprocess.run([SCRIPT, *args], capture_output=True, text=True, timeout=900, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_embedded_from_texts_to_classifier(tmp_path: Path) -> None:
    out, again = tmp_path / "run", tmp_path / "again"
    common = ("run", "taxonomy", "--data", "env:", "--gold-column", "label", "--use-case", "what the package is for")
    common += ("--llm", "embedded", "--cache", str(tmp_path / "cache"), "--json")
    code, _ = llmlabel(*common, "--out", str(out))
    assert code == 0
    run = load_run(out)
    assert 3 <= len(run.taxonomy.labels) <= 25
    assert not problems(run.taxonomy), "no duplicate and no vague names"
    assert run.metrics["scores"]["student"]["accuracy"] > 0.6
    assert run.info["cost"]["calls"] > 0
    assert llmlabel(*common, "--out", str(again))[0] == 0
    assert (again / "taxonomy.yaml").read_bytes() == (out / "taxonomy.yaml").read_bytes()
    assert load_run(again).labels.to_list() == run.labels.to_list()
    assert load_run(again).info["cost"]["calls"] == 0, "the second run asks nothing"

    labelled = tmp_path / "labelled.parquet"
    code, events = llmlabel("apply", str(out), "--data", "env:", "--out", str(labelled), "--json")
    assert code == 0
    rows = pq.read_table(labelled).to_pylist()
    assert events[-1]["rows"] == len(rows) == len(run.labels)
    assert {"input_label", "label", "label_name", "confidence", "probs", "status", "requires"} <= rows[0].keys()
    same = sum(row["label"] == label for row, label in zip(rows, run.labels["label"], strict=True))
    assert same > 0.8 * len(rows)
    assert abs(sum(p["p"] for p in rows[0]["probs"]) - 1) < 1e-5


@pytest.mark.vllm
@pytest.mark.slow
def test_a_vllm_is_started_used_and_stopped(tmp_path: Path, smollm2_dir: Path) -> None:
    if not os.environ.get("LLMLABEL_VLLM_PYTHON"):
        assert not os.environ.get("CI"), "CI must name a vLLM in LLMLABEL_VLLM_PYTHON"
        pytest.skip("set LLMLABEL_VLLM_PYTHON to the python of an environment with vLLM")
    pq.write_table(pa.table({"text": [t for t, _ in smart_model.letters(48)]}), tmp_path / "d.parquet")
    args = ("run", "taxonomy", "--data", str(tmp_path / "d.parquet"), "--use-case", "why passengers write", "--json")
    args += ("--llm", f"vllm:{smollm2_dir}", "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run"))
    code, events = llmlabel(*args)
    assert code == 0, events[-1]
    run = load_run(tmp_path / "run")
    assert len(run.labels) == 48
    assert not problems(run.taxonomy)
    (model,) = run.info["models"].values()
    assert model["backend"] == "vllm"
    assert run.info["cost"]["calls"] > 48, "keywords of every text, names of every group"
    left = subprocess.run(["pgrep", "-f", f"served-model-name {smollm2_dir.name}"], capture_output=True, text=True, check=False)
    assert left.stdout == "", "no server is left behind"
