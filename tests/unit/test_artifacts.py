"""What Prefect's UI is given to show: texts stay texts, charts stand alone, states and logs say what a person needs."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from llmlabel.flows.running import artifacts, states

from llmlabel.errors import BudgetReached, ConfigError
from llmlabel.report.curves import reliability
from llmlabel.report.pictures import picture

HOSTILE = (
    '<img src=x onerror="a()"> [x](javascript:b()) | a | `c` **d** https://evil.example www.evil.example e@evil.example\n# f'
)


def test_no_mark_of_a_text_is_left_to_markdown() -> None:
    said = artifacts.plain(HOSTILE, 500)
    unescaped = said.replace("\\\\", "")
    for mark in '<>[]()|`*"#@.:':
        assert all(unescaped[n - 1] == "\\" for n, char in enumerate(unescaped) if char == mark), mark
    assert "\n" not in said


def test_addresses_do_not_become_links() -> None:
    shown = artifacts.plain(HOSTILE, 500).replace("\\", "")
    assert not any(address in shown for address in ("https://", "www.", "e@evil"))
    assert shown.replace("\u2060", "") == " ".join(HOSTILE.split()), "what is read is what was written"
    assert artifacts.plain("a@b, 3 @ 4") == r"a\@b\, 3 \@ 4", "nothing without width is put where no link would come of it"


def test_a_box_is_not_left_by_what_is_in_it() -> None:
    first, *_, last = artifacts.verbatim("a\n~~~~~\n# b").splitlines()
    assert first == last == "~" * 6


def test_a_table_has_a_row_for_each_and_says_what_is_hidden() -> None:
    rows = [{"first_name": f"a|{n}", "n": n, "more": None} for n in range(5)]
    head, rule, *body = artifacts.table(rows, most=3).splitlines()
    assert head == r"| first name | n | more |" and rule == "| --- | ---: | --- |"
    assert body[0] == r"| a\|0 | 0 | – |" and body[-1] == "2 rows more."
    assert artifacts.table([]) == "none"


def test_a_chart_stands_alone() -> None:
    chart = reliability([{"low": 0.0, "high": 1.0, "rows": 5, "confidence": 0.9, "accuracy": 0.8, "low95": 0.5, "high95": 1.0}])
    assert chart
    root = ElementTree.fromstring(picture(chart))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    style = root.find("{http://www.w3.org/2000/svg}style")
    assert style is not None and style.text is not None
    assert style.text.count("--page:") == 1 and ".chart polyline" in style.text, "the light colours, and no others"


@pytest.fixture
def in_a_run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """As if inside a flow run of Prefect's; yields the flow."""
    flow = SimpleNamespace(retries=0)
    logger = logging.getLogger("a test's run")
    monkeypatch.setattr(states, "FlowRunContext", SimpleNamespace(get=lambda: SimpleNamespace(flow=flow)))
    monkeypatch.setattr(states, "get_run_logger", lambda: logger)
    return flow


def _ends(outcome: Any) -> Any:
    def run(config: Any) -> dict[str, Any]:
        if isinstance(outcome, BaseException):
            raise outcome
        return {"out": "/runs/a b", "exit": outcome, "counts": {"ok": 988, "parse_failed": 11, "error": 1}, "cost": 0.12}

    return states.watched(run)


def test_failed_rows_are_seen_in_the_state(in_a_run: Any) -> None:
    state = _ends(3)(None)
    assert (state.name, state.type.value) == ("Partial", "COMPLETED")
    assert "12 of 1,000 rows failed" in state.message and "llmlabel retry '/runs/a b'" in state.message
    assert state.data["exit"] == 3
    done = _ends(0)(None)
    assert done.name == "Completed" and done.message == "988 ok, 11 parse failed and 1 error; $0.12; /runs/a b."


@pytest.mark.parametrize(
    ("error", "name", "said"),
    [
        (ConfigError("do this"), "Failed", "do this"),
        (BudgetReached("the cap of 5 calls"), "BudgetReached", "larger"),
        (OSError(28, "No space left on device"), "Failed", "Free some space"),
    ],
)
def test_an_error_that_says_what_to_do_is_the_message(in_a_run: Any, error: Exception, name: str, said: str) -> None:
    state = _ends(error)(None)
    assert (state.name, state.type.value) == (name, "FAILED")
    assert said in state.message
    in_a_run.retries = 2
    with pytest.raises(type(error)):
        _ends(error)(None)


def test_a_fault_is_left_to_prefect_and_what_happens_next_is_logged(in_a_run: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError):
        _ends(ZeroDivisionError())(None)
    with pytest.raises(KeyboardInterrupt):
        _ends(KeyboardInterrupt())(None)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "goes on from there" in caplog.text


def test_a_step_is_one_line_with_its_figures(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(states.time, "monotonic", lambda: now.seconds)
    log = states.RunLog(logging.getLogger("a test's run"))
    monkeypatch.setattr(states, "_logs", [log])
    caplog.set_level(logging.INFO)
    log({"event": "start", "flow": "annotate", "out": "/r", "rows": 1000})
    log({"event": "step", "step": "label"})
    for done in range(1, 1001):
        now.seconds += 0.5
        log({"event": "progress", "step": "m", "done": done, "total": 1000, "cost": done / 1000, "budget": 5.0, "retries": 2})
    log({"event": "note", "text": "see http://me:secret@host/"})
    log({"event": "step", "step": "write"})
    assert [record.getMessage() for record in caplog.records] == [
        "annotate of 1,000 rows; run folder /r",
        "label goes on; m 600 of 1,000; $0.60 of $5.00; 2 retries",
        "see http://…@host/",
        "label: 8 min 20 s; m 1,000 of 1,000; $1.00 of $5.00; 2 retries",
    ]


def test_events_of_a_subflow_are_in_its_own_log_only(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    outer, inner = (states.RunLog(logging.getLogger(name)) for name in ("outer", "inner"))
    monkeypatch.setattr(states, "_logs", [outer, inner])
    caplog.set_level(logging.INFO)
    for log in (outer, inner):
        log({"event": "note", "text": "x"})
    assert [record.name for record in caplog.records] == ["inner"]


def test_noise_is_kept_out_of_the_log() -> None:
    def passes(name: str, text: str, error: Exception | None = None) -> bool:
        info = (type(error), error, None) if error else None
        return states._QUIET.filter(logging.LogRecord(name, logging.INFO, "", 0, text, (), info))

    assert not passes("prefect.task_runs", "Finished in state Completed()")
    assert not passes("prefect.task_runs", "Task run failed with exception", ConfigError("x"))
    assert passes("prefect.task_runs", "Task run failed with exception", ZeroDivisionError())
    assert passes("prefect.flow_runs", "Finished in state Completed()")
