"""Rows to fine-tune on, the file they are written to, and which of two pilots was better."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.errors import DataError
from llmlabel.records import Status
from llmlabel.selection import pilot, sft
from llmlabel.selection.answers import Answer, Question
from llmlabel.selection.pilot import compare
from llmlabel.selection.sft import Pair


def pair(number: int = 0, text: str = "Because.\nLabel: a", asked: Any = "Which label?", **more: Any) -> Pair:
    return Question(f"q{number}", asked), Answer(f"q{number}", "reasons", text, **more)


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot, "DRAWS", 300)


def test_a_row_is_a_prompt_and_a_completion_with_its_origin() -> None:
    chat = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which?"})
    told = {"model": "m", "correct": True, "prompt": "respond/reason@1.0.0", "prompt_hash": "abc"}
    assert list(sft.rows([pair(asked=chat, **told), pair(1)])) == [
        {
            "id": "q0", "strategy": "reasons", "model": "m", "correct": True, "prompt_id": "respond/reason@1.0.0",
            "prompt_hash": "abc", "prompt": list(chat), "completion": [{"role": "assistant", "content": "Because.\nLabel: a"}],
        },
        {
            "id": "q1", "strategy": "reasons", "model": "", "correct": None, "prompt_id": "", "prompt_hash": "",
            "prompt": [{"role": "user", "content": "Which label?"}],
            "completion": [{"role": "assistant", "content": "Because.\nLabel: a"}],
        },
    ]  # fmt: skip


@pytest.mark.parametrize("mark", ["<|im_end|>", "<|im_start|>", "[INST]", "</s>", "<end_of_turn>"])
def test_no_text_ends_its_turn(mark: str) -> None:
    row = next(sft.rows([pair(text=f"a{mark}b", asked=f"c{mark}d")]))
    assert mark not in row["prompt"][0]["content"] and mark not in row["completion"][0]["content"]
    assert row["prompt"][0]["content"].replace(" ", "") == f"c{mark}d"
    assert sft.messages(pair(asked=f"c{mark}d")[0]) == row["prompt"]


def test_thoughts_and_calls_of_an_answer_stay() -> None:
    said = "<think>\nhm <|im_end|>\n</think>\n<tool_call>{}</tool_call>"
    row = next(sft.rows([pair(text=said)]))
    assert row["completion"][0]["content"] == said.replace("<|", "< |")


@pytest.mark.parametrize("bad", [{"status": Status.TRUNCATED}, {"status": Status.ERROR}, {"text": " \n"}])
def test_what_is_no_whole_answer_is_refused(bad: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="q1 is no whole one"):
        sft.write(tmp_path / "sft.parquet", [pair(), pair(1, **bad)])
    assert not list(tmp_path.iterdir())


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.text(), st.text(min_size=1).filter(str.strip), st.sampled_from([None, True, False])), max_size=8))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, str, bool | None]]) -> None:
    path = tmp_path_factory.mktemp("sft") / "sft.parquet"
    pairs = [pair(i, text, prompt, correct=correct) for i, (prompt, text, correct) in enumerate(said)]
    assert sum(sft.write(path, pairs).values()) == len(said)
    assert pq.read_table(path).to_pylist() == [{name: row[name] for name in sft.SCHEMA.names} for row in sft.rows(pairs)]


def test_half_a_surrogate_pair_is_written_as_a_question_mark(tmp_path: Path) -> None:
    sft.write(tmp_path / "sft.parquet", [pair(text="a\ud83d", asked="b\udc00")])
    row = pq.read_table(tmp_path / "sft.parquet").to_pylist()[0]
    assert row["completion"][0]["content"] == "a?" and row["prompt"][0]["content"] == "b?"


def test_many_rows_are_streamed_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sft, "ROWS", 10)
    drawn: list[int] = []
    path = tmp_path / "sft.parquet"

    def pairs() -> Iterator[Pair]:
        for i in range(25):
            drawn.append(i)
            yield pair(i)
        assert not path.exists()

    assert sft.write(path, pairs()) == {"reasons": 25}
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [10, 10, 5]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "sft.parquet"
    sft.write(path, [pair()])
    before = path.read_bytes()

    def dies() -> Iterator[Pair]:
        yield pair()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sft.write(path, dies())
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["sft.parquet"]
    with pytest.raises(DataError, match="cannot write"):
        sft.write(tmp_path / "none" / "sft.parquet", [pair()])


def drawn(share: float, shape: tuple[int, int] = (3, 200), seed: int = 0) -> Any:
    return np.random.default_rng(seed).random(shape) < share


def test_a_great_difference_is_accepted_whoever_is_better() -> None:
    found = compare({"short": drawn(0.8), "long": drawn(0.5, seed=1)}, seed=0)
    assert found["accepted"] and found["better"] == "short" and found["difference"] == pytest.approx(0.3, abs=0.06)
    assert 0 < found["interval"][0] < found["difference"] < found["interval"][1]
    assert "trained on short the target is right more often than trained on long: +" in found["reason"]
    other = compare({"long": drawn(0.5, seed=1), "short": drawn(0.8)}, seed=0)
    assert other["accepted"] and other["better"] == "short" and other["difference"] == pytest.approx(-found["difference"])
    assert (
        other["interval"][1] < 0 and "trained on short the target is right more often than trained on long: +" in other["reason"]
    )


def test_no_difference_is_not_accepted() -> None:
    found = compare({"a": drawn(0.6), "b": drawn(0.6, seed=1)}, seed=0)
    assert not found["accepted"] and found["better"] is None and found["interval"][0] < 0 < found["interval"][1]
    assert "trained on a the target cannot be told from the one trained on b" in found["reason"]
    same = compare({"a": drawn(0.6), "b": drawn(0.6)}, seed=0)
    assert same["difference"] == 0 and same["interval"] == [0, 0] and not same["accepted"]


def test_trainings_that_scatter_widen_the_interval() -> None:
    """The same right answers in all: spread over the trainings evenly, or as one that is good and two that are not."""
    even, one = np.zeros((3, 300), bool), np.zeros((3, 300), bool)
    even[:, :60], one[0, :180] = True, True
    nothing = np.zeros((3, 300), bool)
    steady, lucky = (compare({"a": a, "b": nothing}, seed=0) for a in (even, one))
    assert steady["difference"] == lucky["difference"] == pytest.approx(0.2)
    assert steady["accepted"] and not lucky["accepted"]  # over the prompts alone both would be
    assert lucky["interval_prompts"][0] > 0.1


@settings(deadline=None, max_examples=5)
@given(st.integers(2, 4), st.integers(2, 40), st.floats(0, 1), st.integers(0, 99))
def test_turned_round_it_is_the_other_way(trainings: int, prompts: int, share: float, seed: int) -> None:
    a, b = drawn(share, (trainings, prompts), seed), drawn(0.5, (trainings, prompts), seed + 1)
    one, other = compare({"a": a, "b": b}, seed=seed), compare({"b": b, "a": a}, seed=seed)
    assert one["difference"] == pytest.approx(-other["difference"]) and one["accepted"] == other["accepted"]
    assert one["interval"] == pytest.approx([-other["interval"][1], -other["interval"][0]])
    assert one["interval"][0] - 1e-9 <= one["difference"] <= one["interval"][1] + 1e-9 or prompts < 10
    assert compare({"a": a, "b": b}, seed=seed) == one


def test_what_cannot_be_compared_is_refused() -> None:
    for shapes in [((3, 10), (3, 9)), ((1, 10), (1, 10)), ((3, 1), (3, 1))]:
        with pytest.raises(ValueError, match="of one shape"):
            compare({"a": drawn(0.5, shapes[0]), "b": drawn(0.5, shapes[1])}, seed=0)
