"""Out to each tool and back: what a person answers is what arrives, whatever the texts hold."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import people
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.errors import ConfigError, DataError
from llmlabel.records import Label, Taxonomy
from llmlabel.review import read
from llmlabel.review.batch import Batch, Row, options
from llmlabel.review.csv_file import escape, unescape
from llmlabel.review.formats import FORMATS, write
from llmlabel.review.importing import check

NASTY = [
    "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'=1", "''=1", "'tis", "＝1", '"', '","', "a;b\tc,d",
    "<View><Choices/></View>", "]]>", "&amp; &#10;", "$text", "\u202egpj.exe", "e\u0301", "\ufeffmark", "\u2028line",
    "a\r\nb\rc\n", "\x00\x1b",
    "007", "1e5", "{{ x }}", '{"choices":["x"]}', "🙂" * 50, " edge ",
]  # fmt: skip
text = st.one_of(st.sampled_from(NASTY), st.text(max_size=30), st.text("=+-@'\t\r\n\",;| ", max_size=8))
ANSWERS = {
    False: [["refund"], ["delay"], ["praise"], ["other"], []],
    True: [["refund", "praise"], ["other", "delay", "refund"], ["praise"], []],
}


def a_batch(texts: list[str], ids: list[str] | None = None, multi: bool = False, taxonomy: Taxonomy = people.TAXONOMY) -> Batch:
    ids = ids or [f"r{i}" for i in range(len(texts))]
    rows = [Row(i, t, ["refund"], 0.5, "random" if n % 2 else "queue") for n, (i, t) in enumerate(zip(ids, texts, strict=True))]
    return Batch(rows, taxonomy, multi)


def came_back(batch: Batch, content: str, folder: Path, manifest: bool = True) -> dict[str, tuple[frozenset[str], str]]:
    """Row id -> labels and note, as the import understands the file; nothing may be rejected."""
    from llmlabel.review.batch import _manifest

    (folder / "back").write_bytes(content.encode())
    known = {batch.id: _manifest(json.loads(json.dumps(batch.manifest())), folder) if manifest else None}
    checked = check(read(folder / "back"), batch.taxonomy, {row.id: None for row in batch.rows}, known)
    assert checked.rejected == []
    if manifest:
        assert {c.id: c.drawn for c in checked.corrections}.items() <= {r.id: r.drawn for r in batch.rows}.items()
    return {c.id: (frozenset(c.labels), c.note) for c in checked.corrections}


@pytest.mark.parametrize("tool", people.TOOLS)
@pytest.mark.parametrize("multi", [False, True])
@settings(max_examples=25)
@given(
    st.lists(text, min_size=1, max_size=4),
    st.lists(st.text(min_size=1, max_size=9).filter(str.strip), min_size=4, unique=True),
    text,
    st.data(),
)
def test_a_persons_answers_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    tool: str,
    multi: bool,
    texts: list[str],
    ids: list[str],
    note: str,
    data: st.DataObject,
) -> None:
    batch = a_batch(texts, ids[: len(texts)], multi)
    said = {row.id: data.draw(st.sampled_from([None, *ANSWERS[multi]])) for row in batch.rows}
    kind, answer = people.TOOLS[tool]
    content = answer(FORMATS[kind](batch), batch, said.get, note)
    if content in ("[]", "[\n]"):
        return  # JSON-MIN leaves skipped tasks out
    found = came_back(batch, content, tmp_path_factory.mktemp("f"), manifest=data.draw(st.booleans()))
    assert found == {row: (frozenset(labels), note) for row, labels in said.items() if labels is not None}


@given(st.lists(text, min_size=1, max_size=5))
def test_texts_stand_in_every_file_exactly(texts: list[str]) -> None:
    batch = a_batch(texts)
    files = {kind: write(batch) for kind, write in FORMATS.items()}
    assert [task["data"]["text"] for task in json.loads(files["label-studio"][".json"])] == texts
    assert [record["fields"]["text"] for record in json.loads(files["argilla"]["/records.json"])] == texts
    rows = list(csv.DictReader(io.StringIO(files["csv"][".csv"].removeprefix("\ufeff"), newline="")))
    assert [unescape(row["text"]) for row in rows] == texts
    assert not any(cell[:1] in tuple("=+-@\t\r\n＝＋－＠") and cell for row in rows for cell in row.values())


@given(text)
def test_cells_are_made_harmless_and_restored(cell: str) -> None:
    assert unescape(escape(cell)) == cell
    assert not re.match("[=+\\-@\t\r\n＝＋－＠]", escape(cell))
    assert unescape("'tis") == "'tis"


def test_predictions_carry_score_and_model_unless_blind() -> None:
    task = json.loads(FORMATS["label-studio"](a_batch(["x"]))[".json"])[0]
    assert task["predictions"] == [{
        "model_version": "llmlabel", "score": 0.5, "result": [{
            "from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ['Refund & "money" <back>']}}],
    }]  # fmt: skip
    record = json.loads(FORMATS["argilla"](a_batch(["x"]))["/records.json"])[0]
    assert record["suggestions"] == {"label": {"value": "refund", "score": 0.5, "agent": "llmlabel"}}
    blind = Batch(a_batch(["x"]).rows, people.TAXONOMY, blind=True)
    assert json.loads(FORMATS["label-studio"](blind)[".json"])[0]["predictions"] == []
    assert json.loads(FORMATS["argilla"](blind)["/records.json"])[0]["suggestions"] == {}
    assert "Refund" not in FORMATS["csv"](blind)[".csv"]
    failed = Batch([Row("a", "x", None), Row("b", "x", [])], people.TAXONOMY)
    assert [failed.suggested(row) for row in failed.rows] == [[], ["None of these"]]


@given(st.lists(st.text(min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=6))
def test_the_labelling_interface_is_xml_with_every_choice(names: list[str]) -> None:
    taxonomy = Taxonomy(use_case=names[0], labels=[Label(id=f"l{i}", name=n, description=n) for i, n in enumerate(names)])
    for multi in (False, True):
        view = ET.fromstring(FORMATS["label-studio"](a_batch(["x"], multi=multi, taxonomy=taxonomy))[".xml"])
        assert [c.get("value") for c in view.iter("Choice")] == list(options(taxonomy)), (
            "as the predictions and answers have them"
        )
        assert view.find("Choices").get("choice") == ("multiple" if multi else "single")  # type: ignore[union-attr]


def test_choices_that_could_be_mistaken_have_their_id() -> None:
    labels = [("a", "Other"), ("b", "other "), ("c", "A"), ("d", "none of These"), ("e", "-"), ("f", "x\n|\ty")]
    found = options(Taxonomy(labels=[Label(id=i, name=n) for i, n in labels]))
    assert found == {
        "Other": "a", "other (b)": "b", "A (c)": "c", "none of These (d)": "d", "- (e)": "e", "x / y": "f", "None of these": "-"
    }  # fmt: skip


def test_many_labels_are_a_list_to_search() -> None:
    taxonomy = Taxonomy(labels=[Label(id=f"l{i}", name=f"Label {i}") for i in range(40)])
    assert 'layout="select"' in FORMATS["label-studio"](a_batch(["x"], taxonomy=taxonomy))[".xml"]
    assert 'layout="vertical"' in FORMATS["label-studio"](a_batch(["x"]))[".xml"]


def test_a_file_with_answers_is_not_overwritten(tmp_path: Path) -> None:
    batch = a_batch(["x"])
    (file,) = write(batch, "csv", tmp_path / "q")
    assert write(batch, "csv", tmp_path / "q") == [file]
    file.write_text("answers")
    with pytest.raises(ConfigError, match="maybe answers"):
        write(batch, "csv", tmp_path / "q")
    assert file.read_text() == "answers"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"[{", "line 1, column 3: broken JSON"),
        (b'[\n{"data": {}},\n{"a" 1}]', "line 3, column 6: broken JSON"),
        (b'{"data": {}}', "no list of tasks"),
        (b'[{"data": {}}, 3]', "entry 2: not a task or record but int"),
        (b'[{"x": 1}]', "entry 1: neither a Label Studio task .* It has: x"),
        (b"id,text\n1,a\n", "line 1: no column `label`. It has: id, text"),
        (b"label,text\n1,a\n", "line 1: no column `id` or `row`"),
        (b'id,label\n1,a\n2,"b\n3,c\n', "the row from line 3 on"),
        ("id,label\n1,Gr\u00fc\u00dfe\n".encode("latin-1"), "not UTF-8.*iconv"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_spoilt_files_say_where(content: bytes, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        read(tmp_path / "f")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read(tmp_path / "none")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_spreadsheet_may_change_separator_order_and_columns(separator: str, tmp_path: Path) -> None:
    batch = a_batch(NASTY)
    filled = people.spreadsheet(FORMATS["csv"](batch), batch, lambda row: ["delay"], separator=separator)
    assert came_back(batch, filled, tmp_path) == {row.id: (frozenset(["delay"]), "") for row in batch.rows}
    rows = [
        {"Label": "Praise (x)", "ID": "r0", "mine": ""},
        {"Label": "", "ID": "", "mine": ""},
        {"Label": "delay", "ID": "r1", "mine": "1"},
    ]
    (tmp_path / "f").write_text(people.to_csv(rows, separator))
    assert [(a.id, a.choices, a.where) for a in read(tmp_path / "f")] == [
        ("r0", ["Praise (x)"], "line 2"),
        ("r1", ["delay"], "line 4"),
    ]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"annotations": []}, (None, "")),
        ({}, (None, "")),
        ({"annotations": [{"result": [], "was_cancelled": False, "completed_by": 1}]}, (None, "")),
        ({"annotations": [{"result": [{"type": "textarea", "value": {"text": ["n"]}}]}]}, (None, "")),
        ({"annotations": [{"result": [{"type": "labels", "value": {"labels": ["n"]}}]}]}, (None, "labelling interface changed")),
        ({"annotations": [{"result": [{"type": "choices", "value": {}}]}]}, (None, "not of the tool's form")),
        ({"annotations": ["7"]}, (None, "not of the tool's form")),
        ({"annotations": [{"result": [{"type": "choices", "value": {"choices": ["x"]}}]}]}, (["x"], "")),
    ],
)  # fmt: skip
def test_label_studio_tasks_of_every_kind(entry: dict[str, object], expected: tuple[object, str], tmp_path: Path) -> None:
    (tmp_path / "f").write_text(json.dumps([{"data": {"row_id": 7, "batch": None}, **entry}]))
    (answer,) = read(tmp_path / "f")
    assert answer.choices == expected[0] and expected[1] in answer.problem and answer.id == "7" and answer.batch == ""


def test_label_studios_own_csv(tmp_path: Path) -> None:
    rows = [
        {"annotation_id": 1, "annotator": 3, "batch": "q", "label": "=x", "note": "n", "row_id": "r1", "updated_at": "26"},
        {"annotation_id": 2, "annotator": "a@b", "batch": "q", "label": '{"choices":["x","y"]}', "row_id": "r2"},
    ]  # fmt: skip
    (tmp_path / "f").write_text(people.to_csv([rows[0], {**dict.fromkeys(rows[0], ""), **rows[1]}]))
    first, second = read(tmp_path / "f")
    assert (first.id, first.choices, first.by, first.at, first.note) == ("r1", ["=x"], "label-studio:3", "26", "n")
    assert (second.id, second.choices, second.by, second.at) == ("r2", ["x", "y"], "a@b", None)


def test_argilla_drafts_and_discarded_answers_are_no_answers(tmp_path: Path) -> None:
    batch = a_batch(["a", "b", "c"])
    flat = json.loads(people.argilla_flat(FORMATS["argilla"](batch), batch, lambda row: ["delay"]))
    for record, status in zip(flat, ("submitted", "draft", "discarded"), strict=True):
        record["label.responses.status"] = [status]
    (tmp_path / "f").write_text(json.dumps(flat))
    assert [a.choices for a in read(tmp_path / "f")] == [["delay"], None, None]
    nested = json.loads(people.argilla(FORMATS["argilla"](batch), batch, lambda row: ["delay"]))
    nested[0]["status"] = "pending"
    nested[1]["responses"]["label"][0]["status"] = "discarded"
    (tmp_path / "f").write_text(json.dumps(nested))
    first, second, third = read(tmp_path / "f")
    assert "does not call the record completed" in first.problem and second.choices is None and third.choices == ["delay"]


def test_an_argilla_folder_is_written_and_read(tmp_path: Path) -> None:
    batch = a_batch(["a"])
    (folder,) = write(batch, "argilla", tmp_path / "q")
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*.json")) == [
        ".argilla/dataset.json", ".argilla/settings.json", "records.json"
    ]  # fmt: skip
    settings = json.loads((folder / ".argilla/settings.json").read_text())
    assert settings["questions"][0]["settings"]["options"][-1] == {"value": "-", "text": "None of these"}
    assert [a.choices for a in read(folder)] == [None]
