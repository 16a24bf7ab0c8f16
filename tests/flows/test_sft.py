"""`llmlabel run sft` with a policy of a few thousand weights: from a file to a model that others load, estimate, wrong input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_policy
from llmlabel.flows.estimates.sft import estimate_sft
from llmlabel.flows.sft import sft
from prefect.settings import PREFECT_API_URL, temporary_settings

from llmlabel.config import SftConfig
from llmlabel.errors import ConfigError, RunMismatch
from llmlabel.llm import connect
from llmlabel.llm.requests import Request, ScoreRequest
from llmlabel.runs import RunFolder, read_json

pytest.importorskip("trl")
BAD = "<script>alert(1)</script>"


def rows(count: int) -> list[dict[str, Any]]:
    asked = [{"role": "user", "content": f"Is {n} odd? {'' if n else BAD}"} for n in range(count)]
    said = {"role": "assistant", "content": "yes"}
    return [{"id": f"q{n}", "prompt": [turn], "completion": [said], "correct": True} for n, turn in enumerate(asked)]


@pytest.fixture
def run(prefect_server: str) -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs the flow in this process, with settings."""
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield lambda **settings: dict(sft.fn(SftConfig.model_validate(settings)))


@pytest.fixture
def selected(tmp_path: Path) -> Path:
    """A run folder like that of a selection."""
    config = {"target": tiny_policy.save(tmp_path / "policy")}
    folder = RunFolder(tmp_path / "selected", flow="select", definition={}, config=config)
    folder.close()
    table = rows(40)
    table[3]["completion"] = [{"role": "assistant", "content": " "}]
    table[4]["completion"] = [{"role": "assistant", "content": "x" * 400}]
    pq.write_table(pa.Table.from_pylist(table), folder.path / "sft.parquet")
    return folder.path


def test_from_a_selection_to_a_model_that_others_load(cli: Any, run: Any, selected: Path, tmp_path: Path) -> None:
    command = ["run", "sft", "--from", str(selected), "--learning-rate", "0.01", "--held-out-share", "0.25"]
    code, events, stderr = cli.other(*command, "--out", str(tmp_path / "run"))
    assert code == 0, stderr
    done = events[-1]
    dropped = done["counts"]["rows_dropped"] + done["counts"]["held_out_rows_dropped"]
    assert done["counts"]["rows_broken"] == 1 and dropped == 1
    assert done["counts"]["rows"] + done["counts"]["held_out_rows"] == 38
    assert done["scores"]["policy"]["loss"] < done["scores"]["reference"]["loss"] - 1 and done["change"]["loss_interval"][1] < 0
    assert any(e.get("step") == "train" and e["done"] == e["total"] == 12 for e in events if e["event"] == "progress")
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert {one["reason"] for one in metrics["dropped"]} == {
        "the answer is empty", "longer than 256 tokens, prompt and answer together"
    }  # fmt: skip
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Fine-tuning report" in page and "held-out rows" in page and "nats a token" in page and "alert(1)" not in page
    client = connect(f"embedded:{tmp_path / 'run' / 'model'}")
    try:
        asked = [{"role": "user", "content": "Is 99 odd? "}]
        assert client.ask(Request(asked, max_tokens=4)).text.strip() == "yes"
        yes, no = client.ask(ScoreRequest(asked, ["yes", "no!"])).scores
        assert yes > no
    finally:
        client.close()
    settings = read_json(tmp_path / "run" / "run.json")["config"]
    told = estimate_sft(SftConfig.model_validate(settings))
    assert (told["rows"], told["held_out"], told["rows_broken"], told["optimiser_steps"]) == (29, 10, 1, 12)
    before = (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns
    assert run(**settings)["scores"] == done["scores"]
    assert (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(RunMismatch, match="seed: was 0, now 1"):
        run(**{**settings, "seed": 1})


def test_what_a_run_to_start_from_lacks_is_told(selected: Path, tmp_path: Path) -> None:
    from llmlabel.commands.run import _rows_of, _target_of

    assert _rows_of(selected, {"data": None})["data"] == str(selected / "sft.parquet")
    assert _target_of(selected) == str(tmp_path / "policy")
    with pytest.raises(ConfigError, match="leave out --data, or --from"):
        _rows_of(selected, {"data": "rows.parquet"})
    (selected / "sft.parquet").unlink()
    with pytest.raises(ConfigError, match="has no training rows"):
        _rows_of(selected, {})
    with pytest.raises(ConfigError, match="is not a run folder"):
        _rows_of(tmp_path, {})


def test_a_model_that_is_not_there_is_told(run: Any, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows(4)), tmp_path / "rows.parquet")
    with pytest.raises(ConfigError, match="/nowhere: no such folder"):
        run(data=str(tmp_path / "rows.parquet"), out=tmp_path / "run", policy="/nowhere", cache=tmp_path / "cache")
    assert read_json(tmp_path / "run" / "run.json")["exit"] == 2
