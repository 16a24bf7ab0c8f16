"""Corrections: nothing is lost, nothing comes in twice, and what cannot be used is listed."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import people
import pytest
from hypothesis import given
from hypothesis import strategies as st
from people import make_run
from typer.testing import CliRunner

from llmlabel.cli import app
from llmlabel.errors import DataError
from llmlabel.records import Label, Taxonomy
from llmlabel.review import Correction, export, history, import_answers, load_corrections, resolve
from llmlabel.review.corrections import append

ROWS = 12


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", [f"text {i}" for i in range(ROWS)])


def sheet(
    run: Path, said: dict[str, str], name: str = "a.csv", change: Callable[[dict[str, str]], Any] = lambda row: None, **more: str
) -> Path:
    """The exported CSV with `said` filled in by row id; a copy under another name."""
    made = next((run / "review").glob("q*.csv"), None) or Path(export(run, "csv", n=ROWS, vectors=False)["out"])
    rows = list(csv.DictReader(io.StringIO(made.read_text("utf-8-sig"), newline="")))
    for row in rows:
        row |= {"label": said.get(row["id"], ""), **more}
        change(row)
    (run.parent / name).write_text(people.to_csv(rows), encoding="utf-8")
    return run.parent / name


def counted(run: Path, file: Path) -> dict[str, Any]:
    return {k: v for k, v in import_answers(run, file).items() if v}


def rejected(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in (run / "review").glob("rejected-*") for line in path.read_text().splitlines()]


def test_a_summary_says_what_people_said(run: Path) -> None:
    said = {
        "r0": 'refund & "MONEY" <back> ',
        "r1": "praise",
        "r2": "None of these",
        "r3": "-",
        "r4": "ok",
        "r5": "=late / delayed",
    }
    assert counted(run, sheet(run, said, by="Ann")) == {
        "imported": 6, "answers": 6, "confirmed": 2, "changed": 2, "none_fits": 2, "skipped": 6,
    }  # fmt: skip
    found = load_corrections(run)
    assert {i: (c.label, c.labels) for i, c in found.items()} == {
        "r0": ("refund", ["refund"]), "r1": ("praise", ["praise"]), "r2": (None, []), "r3": (None, []),
        "r4": ("refund", ["refund"]), "r5": ("delay", ["delay"]),
    }  # fmt: skip
    assert {c.by for c in found.values()} == {"Ann"} and {c.drawn for c in found.values()} <= {"random", "queue"}
    assert rejected(run) == []


@pytest.mark.parametrize("tool", people.TOOLS)
def test_importing_twice_adds_nothing(run: Path, tool: str) -> None:
    kind, answer = people.TOOLS[tool]
    made = export(run, kind, n=ROWS, vectors=False)
    from llmlabel.review.batch import Batch, Row
    from llmlabel.review.formats import FORMATS

    ids = [row["id"] for row in json.loads(Path(made["manifest"]).read_text())["rows"]]
    batch = Batch([Row(i, f"text {i[1:]}", ["refund"]) for i in ids], people.TAXONOMY)
    content = answer(FORMATS[kind](batch), batch, lambda row: ["delay"], "note").replace(batch.id, made["batch"])
    file = run.parent / "back"
    file.write_bytes(content.encode())
    assert import_answers(run, file)["imported"] == ROWS
    before = (run / "corrections.jsonl").read_bytes()
    again = import_answers(run, file)
    assert again["imported"] == 0 and again["answers"] == again["changed"] == ROWS
    assert (run / "corrections.jsonl").read_bytes() == before
    assert all(
        c.label == "delay" and c.note == "note" and c.batch == made["batch"] and c.drawn for c in load_corrections(run).values()
    )


def test_a_later_word_of_the_same_person_replaces_the_earlier(run: Path) -> None:
    for label, new in (("delay", 1), ("praise", 1), ("praise", 0), ("delay", 1)):
        assert import_answers(run, sheet(run, {"r0": label}, by="Ann"))["imported"] == new
    assert load_corrections(run)["r0"].label == "delay"
    assert [c.label for c in history(run)] == ["delay", "praise", "delay"], "the history is kept"


def test_where_the_tool_tells_the_time_an_old_export_does_not_bring_the_old_answer_back(run: Path) -> None:
    monday, tuesday = (Correction("r0", i, [i], "Ann", at) for i, at in (("delay", "2026-11-16"), ("praise", "2026-11-17")))
    assert append(run, [tuesday]) == [tuesday] and append(run, [monday]) == [monday] and append(run, [monday, tuesday]) == []
    assert load_corrections(run)["r0"].label == "praise"


def test_people_who_differ_are_both_kept_and_the_majority_counts(run: Path) -> None:
    for by, label in (("Ann", "delay"), ("Bob", "praise")):
        found = counted(run, sheet(run, {"r0": label, "r1": "delay"}, f"{by}.csv", by=by))
    assert (found["conflicts"], found["unresolved"]) == (1, 1) and load_corrections(run).keys() == {"r1"}
    found = counted(run, sheet(run, {"r0": "praise"}, "Cem.csv", by="Cem"))
    assert found["conflicts"] == 1 and "unresolved" not in found and load_corrections(run)["r0"].label == "praise"
    assert len(history(run)) == 5


def test_the_same_row_twice_in_a_file(run: Path) -> None:
    file = sheet(run, {"r0": "delay"})
    lines = file.read_text().splitlines()
    row = next(line for line in lines if ",delay," in line)
    file.write_text("\n".join([*lines, row, row.replace("delay", "praise")]))
    assert counted(run, file) == {
        "imported": 2,
        "answers": 2,
        "changed": 2,
        "skipped": 11,
        "duplicates": 1,
        "conflicts": 1,
        "unresolved": 1,
    }
    assert [c.by for c in history(run)] == ["unnamed", "unnamed 2"]
    assert import_answers(run, file)["imported"] == 0
    file.write_text("\n".join([lines[0], row.replace(",,q", ",Ann,q"), row.replace(",,q", ",Ann,q").replace("delay", "praise")]))
    assert counted(run, file) == {"imported": 1, "answers": 1, "changed": 1, "duplicates": 1, "conflicts": 1}
    assert import_answers(run, file)["imported"] == 0 and load_corrections(run)["r0"].label == "praise"


def test_what_cannot_be_used_is_listed_with_the_reason(run: Path) -> None:
    def spoil(row: dict[str, str]) -> None:
        if row["id"] == "r3":
            row |= {"id": "r99", "row": ""}
        if row["id"] == "r4":
            row["text"] = "text 5"

    said = {
        "r0": "praise",
        "r1": "Nonsense",
        "r2": "None of these | praise",
        "r3": "praise",
        "r4": "praise",
        "r5": "delay | gone",
    }
    file = sheet(run, said, change=spoil, note="n")
    found = import_answers(run, file)
    assert {k: found[k] for k in ("imported", "unknown_ids", "off_list", "unusable", "skipped")} == {
        "imported": 1, "unknown_ids": 1, "off_list": 2, "unusable": 2, "skipped": 6,
    }  # fmt: skip
    (listed,) = found["rejected_in"]
    rows = {row["id"]: row for row in rejected(run)}
    assert {i: row["kind"] for i, row in rows.items()} == {
        "r99": "unknown_id", "r1": "off_list", "r2": "unusable", "r4": "unusable", "r5": "off_list",
    }  # fmt: skip
    assert rows["r1"]["choices"] == ["Nonsense"] and rows["r1"]["note"] == "n" and rows["r1"]["where"].startswith("line ")
    assert "text of row 'r5'" in rows["r4"]["reason"] and Path(listed).name == f"rejected-{rows['r1']['batch']}.jsonl"
    other = sheet(run, {"r7": "Rubbish"}, "b.csv")
    import_answers(run, other)
    assert len(rejected(run)) == 6, "another file's list stays"
    import_answers(run, sheet(run, {"r0": "praise", "r1": "delay"}))
    assert [row["file"] for row in rejected(run)] == ["b.csv"], "a mended file takes its own list away"


def test_a_spreadsheet_that_spoils_ids_is_understood_by_the_row(run: Path) -> None:
    file = sheet(run, {"r0": "praise", "r1": "delay"}, change=lambda row: row.update(id="1.2E+15", text=row["text"][:3]))
    assert import_answers(run, file)["imported"] == 2 and load_corrections(run)["r1"].label == "delay"


def test_an_older_taxonomy(run: Path) -> None:
    """Renamed labels are known by what people were shown; labels that are gone are listed."""
    file = sheet(run, {"r0": "=Late / delayed", "r1": "مديح 👍", "r2": "Newcomer"})
    labels = [Label(id="delay", name="Slow"), Label(id="refund", name="Refund"), Label(id="new", name="Newcomer")]
    (run / "taxonomy.yaml").write_text(Taxonomy(labels=labels).dump(), encoding="utf-8")
    assert {k: v for k, v in counted(run, file).items() if k != "rejected_in"} == {
        "imported": 2, "answers": 2, "changed": 2, "skipped": 9, "off_list": 1, "older_taxonomy": ROWS,
    }  # fmt: skip
    assert {i: c.label for i, c in load_corrections(run).items()} == {"r0": "delay", "r2": "new"}
    assert rejected(run)[0]["choices"] == ["مديح 👍"]


def test_groups_of_labels_are_no_answers(tmp_path: Path) -> None:
    labels = [Label(id="top", name="Top"), Label(id="a", name="A", parent="top"), Label(id="b", name="B", parent="top")]
    run = make_run(tmp_path / "run", ["x"] * 3, taxonomy=Taxonomy(labels=labels))
    (tmp_path / "f").write_text("id,label\nr0,Top\nr1,b\n")
    assert counted(run, tmp_path / "f")["off_list"] == 1 and load_corrections(run)["r1"].drawn == ""
    assert "group of labels" in rejected(run)[0]["reason"]


def test_a_batch_of_another_run_is_known_by_the_folder_its_file_lies_in(run: Path, tmp_path: Path) -> None:
    made = Path(export(run, "csv", n=ROWS, vectors=False)["out"])
    made.write_text(made.read_text("utf-8-sig").replace('"","","","q', '"delay","","","q'), encoding="utf-8")
    other = make_run(tmp_path / "other", [f"text {i}" for i in range(ROWS)])
    assert import_answers(other, made)["imported"] == ROWS
    assert {c.drawn for c in history(other)} == {"random", "queue"}
    (tmp_path / "stray.csv").write_text("id,label,batch\nr0,delay,../../etc/passwd\n")
    assert import_answers(other, tmp_path / "stray.csv")["answers"] == 1


def test_line_numbers_point_at_the_broken_row(run: Path) -> None:
    file = sheet(run, {"r0": "praise"})
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], "a,b,praise", *lines[1:]]))
    import_answers(run, file)
    assert rejected(run)[0]["where"] == "line 2" and "3 cells" in rejected(run)[0]["reason"]


corrections = st.builds(
    lambda i, labels, by, at, note: Correction(i, labels[0] if labels else None, labels, by, at, "queue", "q1", note),
    st.sampled_from(["a", "b"]), st.lists(st.sampled_from("xyz"), unique=True, max_size=2),
    st.sampled_from(["", "Ann", "B\u2028"]), st.sampled_from([None, "2025", "2026"]), st.text(st.characters(), max_size=8),
)  # fmt: skip


@given(st.lists(st.lists(corrections, max_size=5), max_size=4))
def test_the_file_holds_what_was_said_and_only_grows(
    tmp_path_factory: pytest.TempPathFactory, imports: list[list[Correction]]
) -> None:
    run, said = tmp_path_factory.mktemp("run"), []
    for part in imports:
        before = (run / "corrections.jsonl").read_bytes() if said else b""
        said += append(run, part)
        assert history(run) == said
        assert not said or (run / "corrections.jsonl").read_bytes().startswith(before)
        assert all(c in said for c in part)
    assert all(c in said for c in load_corrections(run).values())


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("xy")), max_size=8))
def test_the_majority_of_last_words(said: list[tuple[str, str]]) -> None:
    last = dict(said)
    found = resolve(Correction("r", label, [label], by) for by, label in said)
    counts = {label: list(last.values()).count(label) for label in last.values()}
    best = [label for label, n in counts.items() if n == max(counts.values())]
    assert ({c.label for c in found.corrections.values()} or None) == ({best[0]} if len(best) == 1 else None)
    assert found.unresolved == (["r"] if len(best) > 1 else []) and found.disputed == (["r"] if len(counts) > 1 else [])


def test_half_characters_in_a_note_are_kept(run: Path) -> None:
    results = [{"type": "choices", "value": {"choices": ["delay"]}}, {"type": "textarea", "value": {"text": ["\ud83d"]}}]
    (run.parent / "f").write_text(json.dumps([{"data": {"row_id": "r0"}, "annotations": [{"result": results}]}]))
    assert import_answers(run, run.parent / "f")["imported"] == 1
    assert history(run)[0].note == "\ud83d" and import_answers(run, run.parent / "f")["imported"] == 0


def test_damaged_corrections_say_where(run: Path) -> None:
    append(run, [Correction("r0", "delay", ["delay"])])
    with (run / "corrections.jsonl").open("a") as f:
        f.write("{\n")
    with pytest.raises(DataError, match=r"corrections.jsonl, line 2 is damaged"):
        load_corrections(run)
    assert load_corrections(run.parent) == {}


KILL = """
import os, signal, sys
from pathlib import Path
from llmlabel.review import import_answers
replace = Path.replace
def killed(self, to):
    if Path(to).name == "corrections.jsonl":
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, to)
Path.replace = killed
import_answers(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_kill_between_write_and_rename_loses_nothing(run: Path) -> None:
    import_answers(run, sheet(run, {"r0": "delay"}))
    before = (run / "corrections.jsonl").read_bytes()
    file = sheet(run, {"r0": "delay", "r1": "praise", "r2": "praise"})
    done = subprocess.run([sys.executable, "-c", KILL, str(run), str(file)], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert (run / "corrections.jsonl").read_bytes() == before
    assert import_answers(run, file)["imported"] == 2
    assert {i: c.label for i, c in load_corrections(run).items()} == {"r0": "delay", "r1": "praise", "r2": "praise"}


def test_the_command_line(run: Path) -> None:
    out = run.parent / "for people.csv"
    result = CliRunner().invoke(
        app, ["review", "export", str(run), "--format", "csv", "--n", "4", "--no-vectors", "--out", str(out), "--json"]
    )
    assert result.exit_code == 0 and json.loads(result.stdout)["out"] == str(out)
    assert json.loads(result.stdout)["random"] == 1 and json.loads(result.stdout)["queue"] == 3
    text = out.read_text("utf-8-sig")
    out.write_text(text.replace('"","","","q', '"delay","","","q'), encoding="utf-8")
    result = CliRunner().invoke(app, ["review", "import", str(run), str(out)])
    assert result.exit_code == 0 and "imported" in result.stdout
    out.write_text(text.replace('"","","","q', '"rubbish","","","q'), encoding="utf-8")
    result = CliRunner().invoke(app, ["review", "import", str(run), str(out), "--json"])
    assert result.exit_code == 3 and json.loads(result.stdout)["off_list"] == 4
