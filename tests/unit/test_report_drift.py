"""The report of a daily round: the verdict in words, what is missing, and that texts stay texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmlabel.report import write_report

HOSTILE = "<script>document.title='pwned'</script> {{ 7*7 }} ```"


def share(before: float, now: float) -> dict[str, float]:
    return {
        "before": before, "before_low": max(before - 0.02, 0), "before_high": before + 0.02, "now": now, "now_low": now - 0.01,
        "now_high": now + 0.03, "difference": now - before, "low": now - before - 0.03, "high": now - before + 0.03,
    }  # fmt: skip


def make_round(folder: Path, decision: dict[str, Any] | None, found: dict[str, Any] | None = None, text: str = "a letter") -> str:
    folder.mkdir(parents=True)
    config = {"data": "inbox", "out": str(folder), "extend": "auto"}
    run = {"flow": "daily", "exit": 0, "counts": {"ok": 90, "none_fits": 10}, "config": config, "data": {"rows": 100}}
    drift = {"found": found or {}, "rows": [{"id": "1", "text": text, "label": text}], "reference": "0001-2026-11-23"}
    about = {"new": 40, "edited": True, "corrected": 3, "notes": [text]}
    metrics = {"drift": drift, "decision": decision, "round": about} if decision else {}
    for name, value in (("run", run), ("metrics", metrics)):
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "taxonomy.yaml").write_text(json.dumps({"version": 1, "labels": [{"id": "a", "name": text}]}))
    (folder / "annotate").mkdir()
    (folder / "annotate" / "report.html").write_text("")
    return write_report(folder).read_text()


FOUND = {
    "enough": True, "rows_before": 200, "rows_now": 40, "by": "the labels themselves", "p": {"none_fits": 0.001, "texts": 0.1},
    "none_fits": share(0.02, 0.3), "texts": share(0.1, 0.14), "labels": [{"label": "a", **share(0.5, 0.4), "p": 0.4}],
    "apart": {"auc": 0.7, "low": 0.6, "high": 0.8},
}  # fmt: skip
ACT = {"verdict": "act", "reasons": ["More texts fit no label"], "todo": ["Extend the taxonomy"], "extended": False}


def test_the_verdict_stands_on_top_with_its_reasons_and_what_to_do(tmp_path: Path) -> None:
    page = make_round(tmp_path / "rounds" / "0002-2026-11-24", ACT, FOUND)
    lead = page[page.index('<p class="lead">') : page.index("Has anything changed?")]
    assert ">act<" in lead and "needs attention" in lead and "40 rows new or changed" in lead
    assert page.index("More texts fit no label.") < page.index("Extend the taxonomy") < page.index("Share of each label")
    assert "<b>changed</b>" in page and "perhaps" in page and "+28.0 (+25.0 to +31.0)" in page
    assert 'href="annotate/report.html"' in page and "AUC 0.70 (0.60 to 0.80)" in page
    command = page[page.index("llmlabel run daily") :].split("</pre>")[0]
    assert f"--out {tmp_path}</code>" in command and "extend=auto" in command, "the folder of all rounds, not the round's"


@pytest.mark.parametrize("decision", [None, {"verdict": "steady", "reasons": ["the first round"], "todo": []}])
def test_a_round_that_compared_nothing_says_so(tmp_path: Path, decision: dict[str, Any] | None) -> None:
    page = make_round(tmp_path / "r" / "0001", decision)
    assert ("Nothing could be compared yet" if decision else "This round has not ended") in page


def test_texts_of_users_stay_texts(tmp_path: Path) -> None:
    page = make_round(tmp_path / "r" / "0001", {**ACT, "reasons": [HOSTILE]}, FOUND, HOSTILE)
    assert "<script>document" not in page and "49" not in page[page.index("Has anything") : page.index("More of this round")]
    assert "&lt;script&gt;document" in page
