"""Rows to fine-tune on, in the forms they come in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmlabel.alignment.sft_rows import read_rows
from llmlabel.errors import DataError
from llmlabel.selection import sft
from llmlabel.selection.answers import Answer, Question

ASKED, SAID = {"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "yes"}


def jsonl(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [ASKED], "completion": [SAID]},
        {"messages": [ASKED, SAID]},
        {"messages": [ASKED, SAID], "prompt": None, "completion": None},
        {"prompt": [ASKED], "completion": "yes"},
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_chats_in_every_form_are_the_same_row(row: dict[str, Any], kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        jsonl(file, {"id": "a", **row}, {"id": "b", **row})
    else:
        pq.write_table(pa.Table.from_pylist([{"id": "a", **row}, {"id": "b", **row}]), file)
    rows, broken = read_rows(str(file))
    assert [(one.id, one.prompt, one.completions) for one in rows] == [(i, (ASKED,), ("yes",)) for i in "ab"] and not broken


def test_texts_stay_texts_and_rows_without_ids_get_some(tmp_path: Path) -> None:
    rows, _ = read_rows(jsonl(tmp_path / "a.jsonl", *[{"prompt": f"Is {n}?", "completion": "yes"} for n in (1, 2, 2)]))
    assert [one.prompt for one in rows] == ["Is 1?", "Is 2?", "Is 2?"]
    assert len({one.id for one in rows}) == 3 and rows[2].id == f"{rows[1].id}-2"
    twice, _ = read_rows(jsonl(tmp_path / "b.jsonl", *[{"id": "x", "prompt": f"Is {n}?", "completion": "yes"} for n in (1, 2)]))
    assert len({one.id for one in twice}) == 2
    with pytest.raises(DataError, match="'x' more than once"):
        read_rows(str(tmp_path / "b.jsonl"), id_column="id")


def test_what_a_selection_writes_is_read(tmp_path: Path) -> None:
    chat = ({"role": "system", "content": "Be brief."}, ASKED)
    sft.write(tmp_path / "sft.parquet", [(Question("q", chat), Answer("q", "short", "yes", model="m"))])
    rows, _ = read_rows(str(tmp_path / "sft.parquet"))
    assert [(one.id, one.prompt, one.completions) for one in rows] == [("q", chat, ("yes",))]


def test_turns_before_the_last_are_the_prompt(tmp_path: Path) -> None:
    rows, _ = read_rows(jsonl(tmp_path / "a.jsonl", {"messages": [ASKED, SAID, ASKED, {**SAID, "content": "still"}]}))
    assert rows[0].prompt == (ASKED, SAID, ASKED) and rows[0].completions == ("still",)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"messages": [ASKED, SAID, ASKED]}, "turn of user"),
        ({"messages": [SAID]}, "at least two messages"),
        ({"messages": [ASKED, {"role": "assistant", "content": None}]}, "role and a content"),
        ({"prompt": "Is it?", "completion": " "}, "answer is empty"),
        ({"prompt": "Is it?", "completion": None}, "completion is null"),
        ({"prompt": "", "completion": "yes"}, "prompt is empty"),
    ],
)
def test_a_bad_row_is_left_out_with_its_reason(row: dict[str, Any], why: str, tmp_path: Path) -> None:
    good = {"messages": [ASKED, SAID]} if "messages" in row else {"prompt": "Is it?", "completion": "yes"}
    rows, broken = read_rows(jsonl(tmp_path / "a.jsonl", good, {"id": "bad", **row}))
    assert len(rows) == 1 and broken[0].row == 2 and broken[0].id == "bad" and why in broken[0].reason
    with pytest.raises(DataError, match=f"no row with a prompt and an answer: row 1: .*{why}"):
        read_rows(jsonl(tmp_path / "b.jsonl", row))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "a", "completions": ["b", "c"]}, "but lists of answers.*llmlabel run align.*It has: prompt, completions"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "but pairs of answers.*`chosen` to `completion`"),
        ({"text": "a"}, "nothing tells the answer.*It has: text"),
        ({"instruction": "a", "output": "b"}, "Wanted: `prompt` and `completion`.*It has: instruction, output"),
    ],
)
def test_a_wrong_file_is_told_by_its_columns(row: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        read_rows(jsonl(tmp_path / "a.jsonl", row))
    with pytest.raises(DataError, match="no column 'key'. It has: prompt, completion"):
        read_rows(jsonl(tmp_path / "b.jsonl", {"prompt": "a", "completion": "b"}), id_column="key")
