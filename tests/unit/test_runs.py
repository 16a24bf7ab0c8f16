"""The run folder: atomic, locked, resumable, and true to its definition."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmlabel.errors import ConfigError, DataError, RunMismatch
from llmlabel.runs import RunFolder, load_run, write_atomic

WHAT = {"flow": "taxonomy", "config": {}}


def test_a_step_is_made_once_and_read_back(tmp_path: Path) -> None:
    made: list[int] = []
    for _ in range(2):
        folder = RunFolder(tmp_path / "r", definition={"seed": 0}, **WHAT)
        assert folder.step("one", lambda: made.append(1) or {"x": "ü"}) == {"x": "ü"}
        folder.close()
    assert made == [1]


def test_another_definition_is_refused_and_named(tmp_path: Path) -> None:
    RunFolder(tmp_path / "r", definition={"seed": 0, "data": "a"}, **WHAT).close()
    with pytest.raises(RunMismatch, match=r"seed: was 0, now 1") as error:
        RunFolder(tmp_path / "r", definition={"seed": 1, "data": "a"}, **WHAT)
    assert "--from" in str(error.value)
    assert "data" not in str(error.value).split("Give back")[0].split("differently")[1]


def test_the_place_where_a_definition_differs_is_named(tmp_path: Path) -> None:
    def tree(*names: str) -> dict[str, object]:
        return {
            "use_case": "why passengers write " * 20,
            "labels": [{"id": n, "name": n, "description": "x" * 200} for n in names],
        }

    RunFolder(tmp_path / "r", definition={"taxonomy": tree("Seats", "Lifts")}, **WHAT).close()
    with pytest.raises(RunMismatch, match=r'taxonomy.labels.2.id: was "Lifts", now "Ramps"'):
        RunFolder(tmp_path / "r", definition={"taxonomy": tree("Seats", "Ramps")}, **WHAT)
    with pytest.raises(RunMismatch, match=r"taxonomy.labels: was 2 entries, now 3"):
        RunFolder(tmp_path / "r", definition={"taxonomy": tree("Seats", "Lifts", "Ramps")}, **WHAT)
    with pytest.raises(RunMismatch, match=r"taxonomy: was \{.*now null"):
        RunFolder(tmp_path / "r", definition={"taxonomy": None}, **WHAT)


def test_two_processes_cannot_work_in_one_folder(tmp_path: Path) -> None:
    first = RunFolder(tmp_path / "r", definition={}, **WHAT)
    with pytest.raises(ConfigError, match="another process"):
        RunFolder(tmp_path / "r", definition={}, **WHAT)
    first.close()
    RunFolder(tmp_path / "r", definition={}, **WHAT).close()


def test_a_finished_run_is_not_rewritten(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "r", definition={}, **WHAT)
    folder.finish(0)
    folder.close()
    before = (tmp_path / "r" / "run.json").read_bytes()
    again = RunFolder(tmp_path / "r", definition={}, **WHAT)
    assert again.finished
    again.close()
    assert (tmp_path / "r" / "run.json").read_bytes() == before


def test_a_run_with_failed_rows_is_opened_for_another_round(tmp_path: Path) -> None:
    """One round for each time it ended with failed rows; a round that was killed, or stopped by a budget, goes on."""

    def rounds(code: int | None) -> int:
        folder = RunFolder(tmp_path / "r", definition={}, **WHAT)
        if code is not None:
            folder.finish(code)
        folder.close()
        return folder.retries

    assert [rounds(code) for code in (None, 4, 3, None, 4, 3, 0, None)] == [0, 0, 0, 1, 1, 1, 2, 2]
    assert load_run(tmp_path / "r").info["retries"] == 2


def test_unwritable_and_damaged_places_say_so(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ConfigError, match="cannot write to --out"):
        RunFolder(file / "r", definition={}, **WHAT)
    folder = RunFolder(tmp_path / "r", definition={}, **WHAT)
    (tmp_path / "r" / "steps").mkdir()
    (tmp_path / "r" / "steps" / "one.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        folder.step("one", dict)
    folder.close()
    with pytest.raises(ConfigError, match="not a run folder"):
        load_run(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
