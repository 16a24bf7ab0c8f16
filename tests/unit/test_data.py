"""One door for data: what it reads, and what it says when it cannot."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmlabel.data import environment, files_of, fingerprint, labels_table, read_examples, stream
from llmlabel.errors import DataError
from llmlabel.records import Annotation, Status

ROWS = [
    {"text": "one", "topic": "a"},
    {"text": None, "topic": None},
    {"text": "ثلاثة", "topic": "b"},
    {"text": "one", "topic": "a"},
]


def write(folder: Path, kind: str) -> str:
    path = folder / f"data.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "csv":
        path.write_text("text,topic\none,a\n,\nثلاثة,b\none,a\n", encoding="utf-8")
    else:
        body = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in ROWS).encode()
        path.write_bytes(gzip.compress(body) if kind.endswith("gz") else body)
    return str(path)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "jsonl.gz"])
def test_every_format_gives_the_same_examples(kind: str, tmp_path: Path) -> None:
    examples = read_examples(write(tmp_path, kind), text_column="text", gold_column="topic")
    assert [e.text for e in examples] == ["one", "", "ثلاثة", "one"]
    assert [e.gold for e in examples] == ["a", None, "b", "a"]
    assert len({e.id for e in examples}) == 4
    assert examples[3].id == f"{examples[0].id}-2", "equal texts are told apart by their occurrence number"


def test_ids_come_from_the_id_column_where_it_is_unique(tmp_path: Path) -> None:
    path = str(tmp_path / "d.parquet")
    pq.write_table(pa.table({"id": [7, 8], "text": ["a", "b"], "same": ["x", "x"]}), path)
    assert [e.id for e in read_examples(path, text_column="text")] == ["7", "8"]
    with pytest.raises(DataError, match="more than once"):
        read_examples(path, text_column="text", id_column="same")


@pytest.mark.parametrize(
    ("make", "column", "complaint"),
    [
        (lambda p: pq.write_table(pa.table({"a": ["x"]}), p), "text", "no such column. It has: a"),
        (lambda p: pq.write_table(pa.table({"text": pa.array([], pa.string())}), p), "text", "no rows"),
        (lambda p: pq.write_table(pa.table({"text": ["", None]}), p), "text", "is empty"),
        (lambda p: pq.write_table(pa.table({"text": [[1]]}), p), "text", "not text"),
        (lambda p: p.write_bytes(b"PAR1 nonsense"), "text", "cannot (open|read)"),
        (lambda p: None, "text", "no such file"),
    ],
)
def test_bad_files_say_what_is_wrong(make: object, column: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    make(path)  # type: ignore[operator]
    with pytest.raises(DataError, match=complaint):
        read_examples(str(path), text_column=column)


def test_a_csv_in_another_encoding_says_how_to_convert_it(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes("text\ncafé crème\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8.*iconv"):
        read_examples(str(path), text_column="text")


def test_unknown_kinds_name_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"Known: .*parquet.*env:"):
        read_examples("data.xlsx", text_column="text")


def test_the_fingerprint_sees_every_part(tmp_path: Path) -> None:
    examples = read_examples(write(tmp_path, "parquet"), text_column="text", gold_column="topic")
    assert fingerprint(examples) == fingerprint(list(examples))
    assert fingerprint(examples) != fingerprint(examples[::-1])


def test_env_is_real_text_with_gold_and_edges() -> None:
    rows = {r["id"]: r for r in environment().to_pylist()}
    assert "data structures" in rows["pandas"]["text"].lower()
    assert "numpy" in rows["pandas"]["requires"]
    assert sum(r["label"] is not None for r in rows.values()) > len(rows) / 4


def test_labels_round_trip(tmp_path: Path) -> None:
    row = Annotation("1", "a", Status.OK, ["a"], 0.5, {"a": 0.5, "b": 0.5}, "code", "llm", "m", "p@1.0.0", "h")
    pq.write_table(labels_table([row, Annotation("2", None, Status.REFUSED)]), tmp_path / "l.parquet")
    first, second = pq.read_table(tmp_path / "l.parquet").to_pylist()
    assert first["probs"] == [{"label": "a", "p": 0.5}, {"label": "b", "p": 0.5}]
    assert (second["label"], second["status"], second["confidence"]) == (None, "refused", None)


def test_nobody_is_told_that_a_file_is_read(tmp_path, monkeypatch):
    import socket

    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: asked.append(host) or [])
    (tmp_path / "texts.csv").write_text("text\nhello\n")
    for _ in range(3):
        assert [table.num_rows for table in stream(str(tmp_path / "texts.csv"))] == [1]
    assert asked == []


def test_a_folder_and_a_pattern_stand_for_the_files_in_them(tmp_path: Path) -> None:
    for name, text in (("b", "two"), ("a", "one"), (".c", "hidden"), ("_d", "half")):
        pq.write_table(pa.table({"text": [text]}), tmp_path / f"{name}.parquet")
    (tmp_path / "README").write_text("not data")
    for spec in (str(tmp_path), f"{tmp_path}/", f"{tmp_path}/*.parquet", f"{tmp_path}/[ab].parquet"):
        assert [e.text for e in read_examples(spec, text_column="text")] == ["one", "two"], spec
    (tmp_path / "deep").mkdir()
    pq.write_table(pa.table({"text": ["three"]}), tmp_path / "deep" / "e.parquet")
    assert files_of(f"{tmp_path}/**/*.parquet")[-1].endswith("deep/e.parquet")
    (tmp_path / "f.csv").write_text("text\nfour\n")
    with pytest.raises(DataError, match="several kinds"):
        read_examples(str(tmp_path), text_column="text")
    with pytest.raises(DataError, match="no file of a known kind"):
        files_of(f"{tmp_path}/deep/*.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no file of a known kind"):
        files_of(str(tmp_path / "empty"))


def test_rows_that_were_delivered_again_count_once(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["1", "2"], "text": ["one", "two"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": ["2", "3"], "text": ["two", "three"]}), tmp_path / "b.parquet")
    found = read_examples(str(tmp_path), text_column="text", repeats=True)
    assert [(e.id, e.text) for e in found] == [("1", "one"), ("2", "two"), ("3", "three")]
    pq.write_table(pa.table({"id": ["1"], "text": ["uno"]}), tmp_path / "c.parquet")
    by_id = read_examples(str(tmp_path), text_column="text", id_column="id", repeats=True)
    assert {e.id: e.text for e in by_id} == {"1": "uno", "2": "two", "3": "three"}, "the last one counts"
    assert len(read_examples(str(tmp_path), text_column="text", repeats=True)) == 4, "no id column is named: nothing is lost"
