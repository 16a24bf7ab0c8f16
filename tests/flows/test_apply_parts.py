"""`llmlabel apply` to a folder and `llmlabel run annotate` part by part: on processes, a real Ray and a real Dask cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import prefect.context
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import smart_model
import yaml
from fake_openai import FakeOpenAI
from llmlabel.flows.annotate_parts import annotate_parts
from llmlabel.flows.apply import apply
from llmlabel.flows.running import runners
from llmlabel.flows.steps.annotation.whole import used_by
from prefect.context import SettingsContext
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from llmlabel import load_run
from llmlabel.config import AnnotatePartsConfig, ApplyConfig
from llmlabel.errors import BackendError, BudgetReached, ConfigError, RunMismatch
from llmlabel.events import listening
from llmlabel.runs import lock_folder, read_json

ROWS, IN_PART = 60, 20
flow_file, apply_file = sys.modules[annotate_parts.fn.__module__], sys.modules[apply.fn.__module__]
LETTERS = smart_model.letters(ROWS)


class Place:
    """Data in row groups of 20, a taxonomy, a model that counts, and one run whose classifier is applied."""

    def __init__(self, folder: Path, model: FakeOpenAI, api: str) -> None:
        self.folder, self.model, self.api = folder, model, api
        self.data, self.taxonomy = folder / "letters.parquet", folder / "taxonomy.yaml"
        self.first, self.asked_first = {}, 0
        self.write(self.data)
        labels = [{"id": n.lower().replace(" ", "-"), "name": n, "description": f"about {n}"} for n in smart_model.TOPICS]
        self.taxonomy.write_text(yaml.safe_dump({"version": 1, "use_case": "why passengers write", "labels": labels}))

    def write(self, file: Path, rows: list[tuple[str, str]] = LETTERS, **more: list[Any]) -> None:
        gold = [topic if n % 2 else None for n, (_, topic) in enumerate(rows)]
        table = {"id": [f"r{n}" for n in range(len(rows))], "text": [text for text, _ in rows], "topic": gold, **more}
        pq.write_table(pa.table(table), file, row_group_size=IN_PART)

    def settings(self, out: Path, **more: Any) -> AnnotatePartsConfig:
        given = {
            "data": str(self.data), "taxonomy": self.taxonomy, "out": out, "llm": f"fake-1@{self.model.url}", "embedder": "tfidf",
            "cache": out.parent / "cache", "student": "logistic_regression", "order_sample": 0, "gold_column": "topic",
            "part_rows": IN_PART, "workers": 2, "concurrency": 2,
        }  # fmt: skip
        return AnnotatePartsConfig.model_validate(given | more)

    def annotate(self, out: Path, **more: Any) -> dict[str, Any]:
        return annotate_parts(self.settings(out, **more))

    def apply(self, out: Path | str, **more: Any) -> dict[str, Any]:
        given = {"run": self.run, "data": str(self.data), "out": str(out), "part_rows": IN_PART, "workers": 2}
        return apply(ApplyConfig.model_validate(given | more))

    @property
    def run(self) -> Path:
        """A run with a classifier: that of a part."""
        return self.runs[0]

    @property
    def runs(self) -> list[Path]:
        return sorted((self.folder / "first" / "parts").glob("*/run"))

    def questions(self) -> list[str]:
        return [str(body["messages"]) for body in self.model.bodies if "You sort texts" in str(body["messages"])]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Iterator[Place]:
    given = {PREFECT_API_URL: prefect_server, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}  # a beat holds the end of a run up
    with FakeOpenAI(smart_model.answer) as model, temporary_settings(given), pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefect.context, "GLOBAL_SETTINGS_CONTEXT", SettingsContext.get())  # for threads of Prefect's own
        patch.setenv("PREFECT_API_URL", prefect_server)
        patch.setenv("LLMLABEL_API_KEY", "sk-canary-1234567890")
        made = Place(tmp_path_factory.mktemp("parts"), model, prefect_server)
        with here(patch):
            made.first = made.annotate(made.folder / "first")
        made.asked_first = len(made.questions())
        yield made


@pytest.fixture(autouse=True)
def _calm(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMLABEL_API_KEY", "sk-canary-1234567890")
    place.model.latency = 0.0
    place.model.bodies.clear()


@contextmanager
def here(patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Parts one after the other in this process, without workers. Yields: the names of those that were carried out."""
    names: list[str] = []

    def carried_out(config: Any, task: Any, calls: Any, most: int | None = None) -> Iterator[tuple[int, Any]]:
        for n, call in enumerate(calls):
            names.append(call["name"])
            yield n, task.fn(**call)

    with patch.context() as inner:
        inner.setattr(flow_file, "carried_out", carried_out)
        inner.setattr(apply_file, "carried_out", carried_out)
        yield names


def labels(out: Path) -> list[dict[str, Any]]:
    return [dict(row) for row in pq.read_table(out / "labels").to_pylist()]


def whole(out: Path) -> bool:
    """Every row once, with its own id and the label it should have."""
    wanted = {f"r{n}": topic.lower().replace(" ", "-") for n, (_, topic) in enumerate(LETTERS)}
    rows = labels(out)
    return len(rows) == ROWS and {row["id"]: row["label"] for row in rows} == wanted


def killed_once(until: Callable[[], bool], pids: Callable[[], list[int]]) -> threading.Thread:
    """A thread that kills one of the processes once `until` holds."""

    def kill() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if until() and (found := pids()):
                os.kill(found[0], signal.SIGKILL)
                return
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def titled(title: str) -> list[int]:
    """Processes by what they call themselves."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if one.read_bytes().startswith(title.encode()):
                found.append(int(one.parent.name))
        except OSError:
            continue
    return found


# -- one Ray and one Dask cluster -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray_cluster(place: Place) -> Iterator[str]:
    import ray

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**runners.QUIET, "RAY_AUTH_MODE": "disabled"}.items():
            patch.setenv(name, value)
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
        yield "auto"
        ray.shutdown()


@pytest.fixture(scope="module")
def dask_cluster(place: Place) -> Iterator[str]:
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        yield cluster.scheduler_address


def test_on_ray_and_a_worker_that_is_killed(place: Place, ray_cluster: str, tmp_path: Path) -> None:
    """Ray gives the part of a worker that dies to another one, which goes on in the part's folder."""
    place.model.latency = 0.1
    given = {"runner": "ray", "address": ray_cluster, "publish": f"file://{tmp_path}/published"}
    killer = killed_once(lambda: len(place.questions()) > 6, lambda: titled("ray::annotate a part"))
    found = place.annotate(tmp_path / "out", **given)
    killer.join()
    assert found["exit"] == 0 and whole(tmp_path / "out")
    again = Counter(place.questions())
    assert len(again) == ROWS and sum(again.values()) <= ROWS + 2, "asked again: only what was in flight"
    parts = sorted((tmp_path / "out" / "parts").iterdir())
    assert len(parts) == 3 and all((part / "cache" / "ledger.sqlite").is_file() for part in parts)
    assert pq.read_table(tmp_path / "published").num_rows == ROWS
    assert place.apply(f"file://{tmp_path}/applied", runner="ray", address=ray_cluster)["counts"] == {"ok": ROWS}


def test_on_dask(place: Place, dask_cluster: str, tmp_path: Path) -> None:
    found = place.annotate(tmp_path / "out", runner="dask", address=dask_cluster)
    assert found["exit"] == 0 and whole(tmp_path / "out") and len(place.questions()) == ROWS
    assert place.apply(tmp_path / "applied", runner="dask", address=dask_cluster)["rows"] == ROWS


# -- processes of this machine ------------------------------------------------------------------------------------------


def test_a_worker_process_is_killed_and_the_next_attempt_goes_on(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.model.latency = 0.15
    before = {child.pid for child in active_children()}  # Dask's
    killer = killed_once(
        lambda: len(place.questions()) > 6, lambda: [c.pid for c in active_children() if c.pid and c.pid not in before]
    )
    with pytest.raises(BackendError, match="a worker was lost"):
        place.annotate(tmp_path / "out")
    killer.join()
    assert read_json(tmp_path / "out" / "run.json")["exit"] == 1
    assert not [c for c in active_children() if c.pid not in before]
    place.model.latency = 0.0
    with here(monkeypatch):
        assert place.annotate(tmp_path / "out")["exit"] == 0 and whole(tmp_path / "out")
    asked = Counter(place.questions())
    assert len(asked) == ROWS and sum(asked.values()) <= ROWS + 2


def test_the_command_is_killed_and_leaves_nobody_behind(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.model.latency = 0.15
    command = [
        str(Path(sys.executable).with_name("llmlabel")), "run", "annotate", "--data", str(place.data), "--taxonomy",
        str(place.taxonomy), "--out", str(tmp_path / "out"), "--llm", f"fake-1@{place.model.url}", "--gold-column", "topic",
        "--cache", str(tmp_path / "cache"), "--concurrency", "2", "--runner", "processes", "--workers", "2",
        "--part-rows", str(IN_PART), "--set", "embedder=tfidf", "--set", "student=logistic_regression", "--set", "order_sample=0",
    ]  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        started = subprocess.Popen(command, start_new_session=True, stdout=log, stderr=log)
    end = time.monotonic() + 90
    while len(place.questions()) < 8 and started.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    started.kill()  # not its group: workers have to see for themselves
    started.wait()
    place.model.latency = 0.0
    with here(monkeypatch):
        assert place.annotate(tmp_path / "out")["exit"] == 0 and whole(tmp_path / "out")
    asked = Counter(place.questions())
    assert len(asked) == ROWS and sum(asked.values()) <= ROWS + 2
    assert "Traceback" not in (tmp_path / "log").read_text(), "workers go quietly"


def test_apply_goes_on_with_what_is_missing_new_or_changed(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox, out = tmp_path / "inbox", tmp_path / "applied"
    inbox.mkdir()
    place.write(inbox / "a.parquet", LETTERS[:20])
    place.write(inbox / "b.parquet", LETTERS[20:40])
    given = {"data": str(inbox), "workers": 1}
    assert place.apply(out, **given)["labelled_now"] == 40
    with here(monkeypatch) as names:
        assert place.apply(out, **given)["labelled_now"] == 0 and not names
        min(out.glob("a-*.parquet")).unlink()
        place.write(inbox / "b.parquet", LETTERS[20:45])
        place.write(inbox / "c.parquet", LETTERS[45:])
        found = place.apply(out, **given)
        assert found["rows"] == found["labelled_now"] == ROWS and [name[0] for name in names] == ["a", "b", "b", "c"]
        with pytest.raises(ConfigError, match="another classifier"):
            place.apply(out, **given, run=place.runs[1])


def test_a_runner_that_is_not_installed(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "find_spec", lambda name: None if "ray" in name else find_spec(name))
    for call in (place.annotate, place.apply):
        with pytest.raises(ConfigError, match=r"pip install 'llmlabel\[ray\]'"):
            call(tmp_path / "out", runner="ray")
    with pytest.raises(ConfigError, match="name runner ray or dask"):
        place.apply(tmp_path / "other", address="auto")
    with pytest.raises(ConfigError, match="budget_calls: shared by the parts"):
        place.annotate(tmp_path / "third", runner="ray", address="auto", workers=None, concurrency=None, budget_calls=5)


# -- what parts come to, in this process ----------------------------------------------------------------------------------


def test_what_the_whole_says(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    out, found = place.folder / "first", place.first
    assert place.asked_first == ROWS
    with here(monkeypatch) as names:
        assert place.annotate(out) == found and not names and not place.questions(), "a finished run is not opened again"
    assert found["exit"] == 0 and found["counts"] == {"ok": ROWS} and sum(found["labels"].values()) == ROWS
    assert whole(out) and [row["id"] for row in labels(out)] == [f"r{n}" for n in range(ROWS)]
    info, metrics = load_run(out).info, load_run(out).metrics
    parts = [load_run(out / "parts" / name / "run") for name in info["parts"]]
    assert [one["exit"] for one in info["parts"].values()] == [0, 0, 0]
    assert metrics["scores"]["llmlabel"] == {
        "accuracy": 1.0, "accuracy_low": 0.886487, "accuracy_high": 1.0, "rows": ROWS // 2, "parts": 3,
    }  # fmt: skip
    for name in ("calls", "prompt_tokens", "completion_tokens"):
        assert info["cost"][name] == sum(part.info["cost"][name] for part in parts)
    assert info["cost"]["calls"] == sum(line["calls"] for line in info["cost"]["by_step"]) >= ROWS
    assert len({line["step"] for line in info["cost"]["by_step"]}) == len(info["cost"]["by_step"])
    assert f"{ROWS} texts, 5 labels, 100% labelled" in (out / "report.html").read_text()


def test_one_part_fails_and_the_others_go_on(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    inbox.mkdir()
    place.write(inbox / "a.parquet", LETTERS[:20])
    place.write(inbox / "b.parquet", [("", topic) for _, topic in LETTERS[20:40]])
    place.write(inbox / "c.parquet", LETTERS[40:])
    with here(monkeypatch) as names:
        with pytest.raises(BackendError, match=r"1 of 3 parts failed; .* b-\w+-00000: .* is empty"):
            place.annotate(out, data=str(inbox))
        assert len(names) == 3 and len(labels(out)) == 40
        info = read_json(out / "run.json")
        assert info["exit"] == 1 and info["counts"] == {"ok": 40}
        names.clear()
        with pytest.raises(BackendError):
            place.annotate(out, data=str(inbox))
        assert [name[0] for name in names] == ["b"], "only what is missing"
        place.write(inbox / "b.parquet", LETTERS[20:40])
        with pytest.raises(RunMismatch, match=r"data\.parts\.b-"):
            place.annotate(out, data=str(inbox))
        names.clear()
        before = len(place.questions())
        new = place.annotate(tmp_path / "new", data=str(inbox), from_run=out)
        assert new["counts"] == {"ok": ROWS} and len(place.questions()) - before == 20


def test_failed_rows_are_asked_again_in_their_parts(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = tmp_path / "some.parquet", tmp_path / "out"
    place.write(data, [*LETTERS[:39], ("", "")])
    with here(monkeypatch) as names:
        found = place.annotate(out, data=str(data), gold_column=None)
        assert found["exit"] == 3 and found["counts"] == {"ok": 39, "error": 1}
        names.clear()
        assert place.annotate(out, data=str(data), gold_column=None)["retries"] == 1
        assert len(names) == 1, "and no other part is opened"


def test_caps_hold_for_all_parts_together(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    with here(monkeypatch) as names:
        with pytest.raises(BudgetReached, match=r"the cap of 50 calls, which holds for all parts .* \(2 of 3 have ended\)"):
            place.annotate(out, budget_calls=50)
        calls = read_json(out / "run.json")["cost"]["calls"]
        assert 40 <= calls <= 50 and len(place.model.bodies) == calls, "what two parts left went to the third"
        names.clear()
        assert place.annotate(out, budget_calls=200)["exit"] == 0 and len(names) == 1
    assert whole(out) and len(place.questions()) == ROWS, "nothing was asked twice"


def test_a_part_that_somebody_is_at_counts_with_all_it_may_use(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = out / "parts" / "a" / "run"
    run.mkdir(parents=True)
    config = {"budget_calls": 30, "budget": 0.5, "cache": str(out)}
    (run / "run.json").write_text(json.dumps({"id": "x", "exit": None, "config": config}))
    assert used_by(out, "a")["budget_calls"] == 0
    with lock_folder(run):
        assert used_by(out, "a") == {"budget": 500_000_000, "budget_calls": 30, "budget_tokens": 0}


def test_events_tell_how_far_it_is(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[dict[str, Any]] = []
    with here(monkeypatch), listening(events.append):
        place.annotate(tmp_path / "out", label_with_llm=30, gold_column=None)
    mine = [e for e in events if e["event"] == "progress" and e["step"] == "annotate"]
    assert [e["done"] for e in mine] == [20, 40, 60] and {e["total"] for e in mine} == {ROWS}
    assert 15 < len(place.questions()) <= 30, "texts that are asked are shared by the parts"
