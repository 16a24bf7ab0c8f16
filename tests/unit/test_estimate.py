"""The estimate: which steps a run will take, and what changes their price."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import smart_model
from llmlabel.flows.estimates.taxonomy import estimate_taxonomy

from llmlabel.config import TaxonomyConfig
from llmlabel.records import Label, Taxonomy

PRICES = {"m": {"input": 1.0, "output": 4.0}, "v": {"input": 0.1}}


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "letters.parquet"
    pq.write_table(pa.table({"text": [text for text, _ in smart_model.letters(300)] + [""]}), path)
    return str(path)


def estimated(data: str, **more: Any) -> dict[str, Any]:
    given = {"out": "x", "use_case": "why passengers write", "llm": "m@http://127.0.0.1:9/v1", "prices": PRICES, **more}
    return estimate_taxonomy(TaxonomyConfig(data=data, **given))


def steps(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["step"]: step for step in found["steps"]}


def test_of_the_chain(data: str) -> None:
    found = estimated(data, batch_size=60, max_labels=10, chains=3, label_with_llm=120)
    by_step = steps(found)
    assert by_step["generate"]["calls"] == by_step["review"]["calls"] == 3
    assert by_step["update"]["calls"] == 3 * 3, "240 texts are left to learn from: 4 minibatches"
    assert by_step["label"]["calls"] == 120
    assert found["money"] == pytest.approx((found["prompt_tokens"] + 4 * found["completion_tokens"]) / 1e6, rel=1e-6)
    assert found["rows"] == 301


def test_clusters_ask_for_keywords_of_every_text(data: str) -> None:
    by_step = steps(estimated(data, method="cluster", max_labels=10))
    assert (by_step["keywords"]["calls"], by_step["name"]["calls"], by_step["describe"]["calls"]) == (300, 10, 10)
    assert "update" not in by_step


def test_batch_jobs_cost_half(data: str) -> None:
    whole, half = estimated(data), estimated(data, batch=True)
    assert half["money"] == pytest.approx(whole["money"] / 2, rel=0.001)
    assert half["prompt_tokens"] == whole["prompt_tokens"]


@pytest.mark.slow
def test_more_work_costs_more(data: str) -> None:
    usual = estimated(data, max_labels=10)["money"]
    assert estimated(data, max_labels=10, levels=2)["money"] > 1.2 * usual
    assert estimated(data, max_labels=25)["money"] > usual
    assert estimated(data, max_labels=10, label_with_llm=10)["money"] < 0.8 * usual
    votes = steps(estimated(data, max_labels=10, label_probs="vote", samples=3))["label"]["calls"]
    assert votes == 3 * 300


def test_vectors_from_an_endpoint_are_in_it(data: str) -> None:
    found = estimated(data, embedder="v@http://127.0.0.1:9/v1")
    embed = steps(found)["embed"]
    assert 2000 < embed["prompt_tokens"] < 6000
    assert embed["money"] == pytest.approx(embed["prompt_tokens"] * 0.1 / 1e6, rel=0.01)


def test_a_given_taxonomy_is_not_induced(data: str, tmp_path: Path) -> None:
    labels = [Label(id=i, name=f"Label {i}", description="Letters about something.") for i in "abc"]
    (tmp_path / "t.yaml").write_text(Taxonomy(labels=labels).dump())
    by_step = steps(estimated(data, taxonomy=tmp_path / "t.yaml"))
    assert by_step.keys() == {"probe", "exercise", "label", "judge", "relevance"}
    assert by_step["relevance"]["calls"] == 3


def test_long_texts_are_summarised_and_an_unknown_price_is_said(tmp_path: Path) -> None:
    texts = [" ".join([text] * 12) for text, _ in smart_model.letters(80)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "d.parquet")
    found = estimated(str(tmp_path / "d.parquet"), prices={}, summary_words=20)
    assert steps(found)["summarise"]["calls"] == 80
    assert found["money"] is None
