"""`llmlabel run pipeline`: vectors that label, a teacher with a rule, and a tiny model that is really trained."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rule_target
import tiny_policy

from llmlabel.config import PipelineConfig
from llmlabel.errors import ConfigError, DataError
from llmlabel.lists import read_lists
from llmlabel.runs import load_run, read_json

pytest.importorskip("trl")
TAXONOMY = """
version: 1
use_case: what is asked for
labels:
  - {id: fruit, name: fruit, description: "my apple, my pear, my plum"}
  - {id: tool, name: tool, description: "my saw, my drill, my axe"}
"""
STRATEGIES = "version: 1\nstrategies:\n  - {name: short, prompt: respond/concise@1.0.0}\n"
STAGES = ["annotate", "select", "sft", "sample", "rank", "align", "evaluate"]
ROWS = 90
Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    words = [(word, label) for label, many in rule_target.THINGS.items() for word in many]
    texts = [f"where is my {words[i % 6][0]} number {i}" for i in range(ROWS)]
    gold = [words[i % 6][1] if i < 30 else None for i in range(ROWS)]
    pq.write_table(pa.table({"text": texts, "topic": gold}), tmp_path / "texts.parquet")
    (tmp_path / "taxonomy.yaml").write_text(TAXONOMY)
    (tmp_path / "strategies.yaml").write_text(STRATEGIES)


@pytest.fixture
def run(prefect_server: str, tmp_path: Path) -> Iterator[Run]:
    """Runs the flow in this process, with settings; None takes one away."""
    from llmlabel.flows.pipeline import pipeline
    from prefect.settings import PREFECT_API_URL, temporary_settings

    def start(out: str = "run", **settings: Any) -> dict[str, Any]:
        given = {
            "data": str(tmp_path / "texts.parquet"), "out": tmp_path / out, "cache": tmp_path / "cache", "gold_column": "topic",
            "embedder": "tfidf", "llm": {"teacher": "scripted:rule_target:labeller"}, "stages": STAGES, "test_rows": 20,
            "annotate": {"taxonomy": str(tmp_path / "taxonomy.yaml"), "annotators": ["nearest"]},
            "select": {"strategies": str(tmp_path / "strategies.yaml"), "n": 12, "own_samples": 1, "max_answer_tokens": 48},
            "sft": {"max_steps": 4, "learning_rate": 1e-3}, "sample": {"samples": 2, "most": 6, "max_completion_tokens": 8},
            "align": {"max_steps": 2}, "evaluate": {"max_completion_tokens": 8}, **settings,
        }  # fmt: skip
        return dict(pipeline(PipelineConfig.model_validate({k: v for k, v in given.items() if v is not None})))

    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield start


def test_from_texts_to_a_tested_model(run: Run, tmp_path: Path) -> None:
    tiny = tiny_policy.save(tmp_path / "tiny", max_position_embeddings=1024)
    found = run(target=tiny)
    out = tmp_path / "run"
    assert list(found["stages"]) == ["annotate", "select", "sft", "sample", "evaluate"], "a tiny model is never right: no lists"
    rows = pq.read_table(out / "rows" / "tests.parquet").to_pylist()
    learnt = pq.read_table(out / "rows" / "train.parquet").to_pylist()
    assert len(rows) == 18 and len(learnt) == ROWS - 18 and not {r["id"] for r in rows} & {r["id"] for r in learnt}
    assert all(int(re.search(r"number (\d+)", r["prompt"])[1]) < 30 for r in rows), "rows with gold are tested on first"
    sft = pq.read_table(out / "select" / "sft.parquet").to_pylist()
    assert len(sft) == len(learnt) and sft[0]["completion"][0]["content"].startswith("Number ")
    assert len(read_lists(str(out / "sample" / "responses.parquet"))) == 6
    assert set(found["accuracy"]) == {"policy", "reference", tiny} and found["accuracy"]["policy"]["tests"] == 18
    cost = load_run(out).info["cost"]
    assert cost["calls"] == sum(load_run(out / s).info["cost"]["calls"] for s in found["stages"]) > len(learnt)
    assert {line["step"].split(":")[0] for line in cost["by_step"]} >= {"select", "sample", "evaluate"}
    page = (out / "report.html").read_text()
    assert "Right answers" in page and 'href="sft/report.html"' in page

    again = run(target=tiny)
    assert again["stages"] == found["stages"] and load_run(out).info["cost"]["calls"] == cost["calls"]


def test_stages_that_ended_are_not_done_again(run: Run, tmp_path: Path) -> None:
    late = tmp_path / "late.yaml"
    tiny = tiny_policy.save(tmp_path / "t", max_position_embeddings=1024)
    wanted = {"stages": ["annotate", "select"], "target": tiny, "select": {"strategies": str(late), "n": 12}}
    with pytest.raises(ConfigError, match="cannot read --strategies"):
        run(**wanted)
    first = read_json(tmp_path / "run" / "annotate" / "run.json")
    assert first["exit"] == 0
    late.write_text(STRATEGIES)
    assert run(**wanted)["exit"] == 0 and read_json(tmp_path / "run" / "annotate" / "run.json") == first


def test_a_cap_holds_for_all_stages_together(run: Run, tmp_path: Path) -> None:
    from llmlabel.errors import BudgetReached

    with pytest.raises(BudgetReached):
        run(stages=["annotate", "select"], target=tiny_policy.save(tmp_path / "t", max_position_embeddings=1024), budget_calls=30)
    info = read_json(tmp_path / "run" / "run.json")
    assert info["exit"] == 4 and 0 < info["cost"]["calls"] <= 30


def test_too_few_labelled_rows_are_told(run: Run, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["where is my saw", "my plum"], "topic": ["tool", None]}), tmp_path / "texts.parquet")
    with pytest.raises((DataError, ConfigError), match="too few"):
        run(stages=["annotate", "select"], target=tiny_policy.save(tmp_path / "t", max_position_embeddings=1024))


def test_labels_go_on_from_the_taxonomys_run(run: Run, tmp_path: Path) -> None:
    """Which has no annotators' answers to take over."""
    found = run(
        stages=["taxonomy", "annotate"], use_case="what is asked for", llm={"default": "scripted:rule_target:labeller"},
        taxonomy={"taxonomy": str(tmp_path / "taxonomy.yaml"), "label_by": "vectors", "label_with_llm": 40},
        annotate={"annotators": ["nearest"], "label_with_llm": 40, "student": "logistic_regression"}, select=None, sft=None,
        sample=None, align=None, evaluate=None,
    )  # fmt: skip
    assert found["exit"] == 0 and sum(found["counts"].values()) == ROWS
    assert load_run(tmp_path / "run" / "annotate").info["config"]["from_run"] == str(tmp_path / "run" / "taxonomy")
