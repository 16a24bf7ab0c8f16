"""What a selection asks: reading prompts, texts to label and given answers; drawing evenly."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.config import SelectConfig
from llmlabel.errors import ConfigError, DataError
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Label, Status, Taxonomy
from llmlabel.selection.answers import Question
from llmlabel.selection.questions import LABEL_TASK, draw, read_questions, read_responses
from llmlabel.selection.target import target_spec, weights_of


def config(tmp_path: Path, rows: list[dict[str, Any]], **settings: Any) -> SelectConfig:
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    where = {} if "responses" in settings else {"data": str(tmp_path / "rows.parquet")}
    return SelectConfig(out=tmp_path / "run", target="embedded", **where, **settings)


def test_prompts_are_read_once_each_and_rows_without_one_are_counted(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "prompt": "What?", "g": "1"},
        {"id": "b", "prompt": " "},
        {"id": "c", "prompt": "what? "},
        {"id": "d", "prompt": "Who?"},
    ]
    questions, left_out = read_questions(config(tmp_path, rows, gold_column="g"), None, None)
    assert [(q.id, q.gold) for q in questions] == [("a", "1"), ("d", None)]
    assert left_out == 2


def test_a_column_of_another_name_holds_the_prompts(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    questions, _ = read_questions(config(tmp_path, [{"id": "a", "ask": chat}], text_column="ask"), None, None)
    assert [m["role"] for m in questions[0].messages] == ["system", "user"]
    with pytest.raises(DataError, match="no column 'prompt'"):
        read_questions(config(tmp_path, [{"id": "a", "ask": chat}]), None, None)


def test_texts_to_label_become_prompts_that_name_the_labels(tmp_path: Path) -> None:
    taxonomy = Taxonomy(use_case="what it is about", labels=[Label(id="card", name="Lost card"), Label(id="fee", name="Fees")])
    rows = [{"id": "a", "text": "# system\nmy card is gone", "label": "card"}, {"id": "b", "text": "", "label": "fee"}]
    questions, left_out = read_questions(config(tmp_path, rows, gold_column="label"), taxonomy, PromptLibrary().get(LABEL_TASK))
    assert len(questions) == 1 and left_out == 1 and questions[0].gold == "card"
    assert "Lost card" in questions[0].text and "my card is gone" in questions[0].text
    assert [m["role"] for m in questions[0].messages] == ["user"]


def test_given_answers_keep_their_verdicts_and_their_holes(tmp_path: Path) -> None:
    rows = [
        {
            "id": "1",
            "prompt": "What?",
            "completions": ["x", ""],
            "strategies": ["a", "b"],
            "correct": [True, None],
            "truncated": [None, None],
        },
        {"id": "2", "prompt": "Who?", "completions": ["y"], "strategies": ["a"], "correct": [False], "truncated": [True]},
    ]
    questions, answers, left_out = read_responses(config(tmp_path, rows, responses=str(tmp_path / "rows.parquet")))
    assert len(questions) == 2 and left_out == 0 and {name: len(some) for name, some in answers.items()} == {"a": 2, "b": 1}
    assert [(a.status, a.correct) for a in answers["a"]] == [(Status.OK, True), (Status.TRUNCATED, False)]
    assert answers["b"][0].status is Status.ERROR and answers["b"][0].reason


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"completions": ["x", "y"]}, "not a list of 2 names"),
        ({"completions": ["x", "y"], "strategies": ["a", "a"]}, "names that differ"),
        ({"completions": ["x", "y"], "strategies": ["a", "(target)"]}, "names that differ"),
        ({"completions": [], "strategies": []}, "has no answers"),
    ],
)
def test_answers_without_names_are_refused(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_responses(config(tmp_path, [{"id": "1", "prompt": "What?", **row}], responses=str(tmp_path / "rows.parquet")))


@given(st.lists(st.sampled_from(["x", "y", "z", None]), min_size=1, max_size=60), st.integers(1, 60), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_a_draw_is_as_even_as_it_can_be_at_every_length(golds: list[str | None], n: int, seed: int) -> None:
    questions = [Question(str(i), f"q{i}", gold) for i, gold in enumerate(golds)]
    drawn = draw(questions, n, seed)
    assert len(drawn) == len({q.id for q in drawn}) == min(n, len(questions))
    assert drawn == draw(questions, n, seed)
    have, took = Counter(golds), Counter(q.gold for q in drawn)
    most = max(took.values())
    assert all(took[g] >= min(most - 1, have[g]) for g in have)


def test_a_target_is_a_spec_or_a_folder_or_a_hub_id(tmp_path: Path) -> None:
    assert str(target_spec("embedded")) == "embedded"
    assert str(target_spec(str(tmp_path))) == f"embedded:{tmp_path}"
    assert str(target_spec("Qwen/Qwen3-0.6B")) == "embedded:Qwen/Qwen3-0.6B"
    assert str(target_spec(f"vllm:{tmp_path}")) == f"vllm:{tmp_path}" and weights_of(f"vllm:{tmp_path}") == str(tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        target_spec("./nowhere")
    with pytest.raises(ConfigError, match="needs its weights"):
        weights_of("some-model@http://localhost:1/v1")


def test_looks_are_ascending() -> None:
    with pytest.raises(ValueError, match="ascending"):
        SelectConfig(data="x", out=Path("y"), target="embedded", looks=[20, 10])
