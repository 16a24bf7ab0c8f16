"""The report of an annotate run: what it promises, what it says when it cannot, and that texts stay texts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import combinations, cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.test_report import HOSTILE, TOPICS, make_run, see

from llmlabel.records import Label, Taxonomy
from llmlabel.report import write_report
from llmlabel.report.annotators import annotators
from llmlabel.report.asking import order_bias
from llmlabel.report.charts import Axis, decades, round_share, scale, steps
from llmlabel.report.curves import frontier, reliability, risk
from llmlabel.report.parts import Estimate
from llmlabel.report.shares import label_sets, shares
from llmlabel.report.trust import export_command, people, trust

NAMES = ["openai:gpt-4.1-mini", "openai:gpt-4.1", "nearest", "Qwen3-4B@http://me:canary@gpu1:8000/v1"]


def make_metrics(say: Callable[[str], str] = str) -> dict[str, Any]:
    """metrics.json of an annotate run; every text in it goes through `say`."""
    names = [say(name) for name in NAMES]
    if len(set(names)) < len(names):
        names = [f"{name} {n}" for n, name in enumerate(names)]
    keys = ("way", "kind", "answered", "accuracy", "low", "high", "agreement", "weight", "cost_per_1000", "latency")
    quality = [
        ("classify", "code", 0.99, 0.78, 0.70, 0.84, 0.93, 0.31, 0.12, 0.41),
        ("classify", "code", 1.0, 0.84, 0.77, 0.89, 0.95, 0.42, 1.94, 0.83),
        ("nearest", "vector", 1.0, 0.61, 0.52, 0.69, 0.66, 0.08, 0.0, 0.002),
        ("rank", "vote", 0.97, 0.13, 0.08, 0.20, 0.14, 0.0, 0.02, 0.19),
    ]
    people = [{"name": n, "rows": 1000, **dict(zip(keys, q, strict=True))} for n, q in zip(names, quality, strict=True)]
    people[3]["constant"] = True
    bins = [(0.2, 0.5, 9, 0.41, 0.44), (0.5, 0.8, 31, 0.7, 0.68), (0.8, 1.0, 80, 0.93, 0.95), (0.0, 0.2, 0, None, None)]
    bin_keys = ("low", "high", "rows", "confidence", "accuracy")
    lines: list[dict[str, Any]] = [dict(zip(bin_keys, b, strict=True)) for b in bins]
    for line in lines[:3]:
        line |= {"low95": line["accuracy"] - 0.1, "high95": min(1.0, line["accuracy"] + 0.05)}
    pairs = [{"a": a, "b": b, "agreement": 0.9 - 0.05 * n, "kappa": 0.8} for n, (a, b) in enumerate(combinations(names, 2))]
    share = {"naive": 0.21, "share": 0.24, "low": 0.22, "high": 0.27, "classical_low": 0.18, "classical_high": 0.31}
    proposal = {"name": say("Gift cards"), "description": say("Do not work."), "rows": 18, "examples": [say("My card is empty.")]}
    return {
        "schema": 1,
        "scores": {
            "llmlabel": {"accuracy": 0.85, "accuracy_low": 0.776, "accuracy_high": 0.903, "macro_f1": 0.81, "rows": 120},
            "majority": {"accuracy": 0.82, "accuracy_low": 0.741, "accuracy_high": 0.878, "macro_f1": 0.78, "rows": 120},
        },
        "counts": {"ok": 283},
        "decision": {"method": "stacked", "why": say("it was right more often")},
        "gold": {"rows": 120, "off_list": 3, "from_reviews": 20, "note": say("a random draw")},
        "annotators": people,
        "agreement": {"alpha": 0.81, "pairs": pairs, "effective": 2.1, "warnings": [say("two make the same mistakes")]},
        "calibration": {
            "method": "isotonic", "why": say("enough rows"), "ece_before": 0.12, "ece": 0.04, "rows": 120, "bins": lines,
        },
        "deferral": {
            "target": 0.95, "delta": 0.1, "threshold": 0.83, "coverage": 0.71, "errors": 2, "rows": 90, "why": say("the lowest"),
            "curve": [{"coverage": n / 10, "error": 0.0014 * n**2} for n in range(1, 11)],
        },
        "cascade": {
            "stages": [
                {"name": names[0], "threshold": 0.83, "asked": 1000, "accepted": 640, "cost": 0.12},
                {"name": names[1], "threshold": 0.79, "asked": 360, "accepted": 240, "cost": 0.7},
            ],
            "people": 120, "saving": 0.61, "saving_low": 0.55, "saving_high": 0.66, "why": say("keeps 95%"),
        },
        "shares": {"note": say("of 1,000 texts"), "rows": [share | {"label": t[0], "gold_rows": 20} for t in TOPICS]},
        "alt_test": {"passed": True, "winning_rate": 0.67, "advantage": 0.8, "epsilon": 0.15, "why": say("2 of 3")},
        "order_bias": [
            {"name": names[0], "rows": 100, "flipped": 12, "rate": 0.12, "low": 0.07, "high": 0.2, "codes": {say("A"): 0.3}}
        ],
        "coverage": {
            "rows": 1000, "none_fits": 40, "share": 0.04, "low": 0.03, "high": 0.05, "missing_mass": 0.02, "missing_low": 0.0,
            "missing_high": 0.04, "note": say("one group"), "proposals": [proposal],
        },
        "label_sets": {"epsilon": 0.1, "coverage": 0.92, "rows": 200, "single": 0.4, "mean_size": 3.1, "why": say("held out")},
        "codebook": None,
        "reviews": {"imported": 40, "changed": 12, "confirmed": 28},
    }  # fmt: skip


def annotated(folder: Path, metrics: dict[str, Any], texts: list[str] | None = None) -> Path:
    """An annotate run's folder with its report; the path of the report."""
    make_run(folder, texts=texts)
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    run |= {"flow": "annotate", "config": {**run["config"], "out": "runs/my tickets"}}
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (folder / "steps" / "induction.json").unlink()
    return write_report(folder)


def headings(page: Path) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page.read_text(encoding="utf-8"))


def test_sections_answer_in_the_order_a_reader_asks(tmp_path: Path) -> None:
    page = annotated(tmp_path / "run", make_metrics())
    assert headings(page)[:8] == [
        "Can I trust it?", "Who labelled", "How much of the data has each label",
        "Does the order of the labels sway the answer?", "What the labels miss", "Cheap first, then strong, then people",
        "Sets of labels", "Where people should look",
    ]  # fmt: skip
    assert "How the taxonomy grew" not in headings(page)
    text = see(page).text
    for wanted in (
        "Annotation report", "85% of the labels are right (95% interval 78% to 90%)", "0.776 to 0.903",
        "At least 95% of the labels with a confidence of 83% or more are right.", "with 90% certainty",
        "2 were wrong", "4 points of 100 apart", "before calibration 12 points", "alternative annotator test: yes",
        "78% (70% to 84%)", "always the same answer", "Krippendorff's alpha is 0.81", "about 2.1 that err independently",
        "24% (22% to 27%)", "18% to 31%", "12% (7% to 20%)", "1.3×", "No label fits 4% of the texts (40 of 1,000)",
        "Gift cards", "My card is empty.", "61% less", "640 (64%)", "120 (12%)", "28 confirmed and 12 changed",
        "llmlabel review export 'runs/my tickets'",
    ):  # fmt: skip
        assert wanted in text, wanted
    assert "NMI" not in text
    assert "one-to-one match" not in text


def test_a_taxonomy_run_looks_as_before(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run"))
    assert headings(page)[:3] == ["The labels", "A map of the texts", "How the taxonomy grew"]
    assert "Taxonomy report" in see(page).text
    assert "the NMI is 0.74" in see(page).text


@pytest.mark.parametrize("gold", [None, {"rows": 0}, {"rows": None, "note": "none"}])
def test_without_gold_nothing_is_promised(tmp_path: Path, gold: Any) -> None:
    metrics = make_metrics() | {"gold": gold, "scores": {}}
    for row in metrics["annotators"]:
        row |= dict.fromkeys(("accuracy", "low", "high"))
    for row in metrics["shares"]["rows"]:
        row |= dict.fromkeys(("share", "low", "high", "classical_low", "classical_high", "gold_rows"))
    page = annotated(tmp_path / "run", metrics)
    text = see(page).text
    assert "nothing can be promised" in text
    assert "llmlabel review export 'runs/my tickets' --n 100 --random 1" in text
    assert "At least 95%" not in text
    assert "need no second look" not in text
    assert "Without known labels nobody can say" in text
    assert "agreement with the label chosen" in text


@pytest.mark.parametrize("part", [key for key in make_metrics() if key != "schema"])
@pytest.mark.parametrize("value", [None, {}, [], "odd", 7])
def test_any_part_may_be_missing_or_odd(part: str, value: Any) -> None:
    metrics = make_metrics() | {part: value}
    tree = Taxonomy(labels=[Label(id=t[0], name=t[1]) for t in TOPICS])
    if part != "scores":
        assert trust(metrics, "x").known == (0 if part == "gold" else 120)
    assert (annotators(metrics) is None) is False
    assert (shares(metrics, tree) is None) == (part == "shares")
    assert (order_bias(metrics) is None) == (part == "order_bias")


def test_all_numbers_may_be_null(tmp_path: Path) -> None:
    def nulled(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: nulled(v) for k, v in value.items()}
        if isinstance(value, list):
            return [nulled(v) for v in value]
        return None if isinstance(value, int | float) else value

    page = annotated(tmp_path / "run", nulled(make_metrics()))
    text = see(page).text
    assert "nothing can be promised" in text
    assert "None" not in text
    assert "nan" not in text.lower().split()


def test_empty_parts_leave_no_section(tmp_path: Path) -> None:
    page = annotated(tmp_path / "run", {"schema": 1, "gold": {"rows": 5}})
    assert headings(page)[:3] == ["Can I trust it?", "Where people should look", "The labels"]


def test_texts_stay_texts(tmp_path: Path) -> None:
    turn = cycle(HOSTILE)
    page = annotated(tmp_path / "run", make_metrics(lambda _: next(turn)), HOSTILE)
    seen, html = see(page), page.read_text(encoding="utf-8")
    assert "document.title" not in "".join(seen.code)
    assert html.count("<script") == html.count("</script") == 1
    assert {tag for tag, _ in seen.tags}.isdisjoint({"img", "iframe", "object", "embed", "base", "form", "a"})
    assert not [a for _, attrs in seen.tags for a in attrs if a.startswith("on")]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe]", html)
    assert "x" * 650 not in html
    body = html[html.index("<main>") :]
    for match in re.finditer("\u202e", body):
        tag = body[body.rindex("<", 0, match.start()) : match.start()]
        assert re.match(r'<(bdi|title|desc|text|[a-z0-9]+ [^>]*dir="auto"|g [^>]*data-name=)', tag), tag[:200]


def test_it_names_no_password_and_fetches_nothing(tmp_path: Path) -> None:
    html = annotated(tmp_path / "run", make_metrics()).read_text(encoding="utf-8")
    assert "gpu1:8000/v1" in html
    assert "canary" not in html
    assert not re.search(r'(src|href)="(?!#|data:,)', html)
    assert "url(" not in html


def test_every_chart_has_a_name_and_says_what_it_shows(tmp_path: Path) -> None:
    page = annotated(tmp_path / "run", make_metrics())
    seen, html = see(page), page.read_text(encoding="utf-8")
    charts = [attrs for tag, attrs in seen.tags if tag == "svg" and "aria-labelledby" in attrs]
    assert [c["aria-labelledby"] for c in charts] == ["reliability-title", "risk-title", "frontier-title"]
    for chart in charts:
        for key in ("aria-labelledby", "aria-describedby"):
            assert re.search(f'id="{chart[key]}">[^<]+<', html), chart[key]
    bare = [a for tag, a in seen.tags if tag == "svg" and not {"aria-label", "aria-labelledby", "aria-hidden"} & a.keys()]
    assert not bare
    tables = re.findall(r"<table.*?</table>", html, re.S)
    assert all("<th" in table and "<thead" in table for table in tables)


def test_why_there_is_no_promise() -> None:
    none = {"target": 0.95, "delta": 0.1, "threshold": None, "coverage": 0.0, "errors": 9, "rows": 40, "why": "9 of 40 wrong"}
    view = trust(make_metrics() | {"deferral": none}, "x")
    said = dict(view.said)["The promise"]
    assert said == [
        "That 95% of the labels are right cannot be promised, however many unsure ones are left out.",
        "9 of 40 wrong.",
    ]
    assert not [figure for figure, says in view.facts if "second look" in says]
    assert "--target-precision" in dict(trust(make_metrics() | {"deferral": None}, "x").said)["The promise"][0]


def test_the_command_can_be_typed() -> None:
    assert export_command({"config": {"out": "runs/a b; rm -rf /"}}, "x") == "llmlabel review export 'runs/a b; rm -rf /'"
    assert export_command({}, "run-1") == "llmlabel review export run-1"
    assert people({}, {"low_confidence": 1, "none_fits": 2}, "x").said == [
        "1 text was left open as too unsure.", "2 texts fit no label.",
    ]  # fmt: skip


def test_reliability_stands_where_the_numbers_say() -> None:
    chart = reliability([{"confidence": 0.5, "accuracy": 1.0, "rows": 4, "low": 0.0, "high": 1.0}, {"confidence": 0.2}])
    assert chart is not None
    assert [(p.x, p.y) for p in chart.points] == [((chart.left + chart.right) / 2, chart.top)]
    assert chart.bars[0].name == "4"
    assert reliability([{"confidence": 0.5, "accuracy": 0.5, "rows": 0}]) is None


def test_the_chosen_point_lies_on_the_risk_curve() -> None:
    chart = risk([(0.0, 0.0), (1.0, 0.2)], 0.5, 0.9)
    assert chart is not None
    (kind, curve), point = chart.lines[-1], chart.points[0]
    assert kind == "main"
    assert point.x == pytest.approx((curve[0][0] + curve[1][0]) / 2, abs=0.1)
    assert point.y == pytest.approx((curve[0][1] + curve[1][1]) / 2, abs=0.1)
    assert "chosen: 50% of the texts, 10% wrong" in point.note
    assert risk([(0.5, 0.1)], 0.5, 0.9) is None


def test_the_frontier_joins_what_nothing_beats() -> None:
    found = [("1", "a", 1.0, Estimate(0.8)), ("2", "b", 2.0, Estimate(0.7)), ("3", "c", 100.0, Estimate(0.9))]
    chart = frontier(found, "t", "x", "y", str)
    assert chart is not None
    by_name = {p.name: (p.x, p.y) for p in chart.points}
    assert chart.lines == [("edge", [by_name["1"], by_name["3"]])]
    free = frontier([*found, ("4", "d", 0.0, Estimate(0.5, 0.4, 0.6))], "t", "x", "y", str)
    assert free is not None
    assert free.points[-1].x == min(p.x for p in free.points) == free.ticks_x[0][0]
    assert len({p.x for p in free.points}) == 4
    assert frontier(found[:1], "t", "x", "y", str) is None


def test_cost_then_time_then_no_chart() -> None:
    rows = [{"name": n, "accuracy": 0.5, "cost_per_1000": 0, "latency": 0.1 * k} for k, n in enumerate("ab", 1)]
    timed = annotators({"annotators": rows})
    assert timed is not None
    assert timed.chart is not None
    assert timed.chart.label_x == "seconds per answer"
    unknown = annotators({"annotators": [{"name": n, "accuracy": 0.5} for n in "ab"]})
    assert unknown is not None
    assert unknown.chart is None


def test_many_annotators_and_labels_are_cut_and_counted() -> None:
    pairs = [{"a": f"m{i}", "b": f"m{j}", "agreement": 0.5, "kappa": 0.1} for i, j in combinations(range(15), 2)]
    view = annotators({"agreement": {"pairs": pairs}})
    assert view is not None
    assert view.agreement is not None
    assert (len(view.agreement.rows), view.agreement.hidden) == (12, 3)
    many = shares({"shares": {"rows": [{"label": f"l{n}", "naive": n / 100} for n in range(70)]}}, Taxonomy())
    assert many is not None
    assert (len(many.rows), many.hidden, many.rows[0].name) == (60, 10, "l69")


def test_a_promise_about_all_texts_is_not_one_about_some() -> None:
    assert "among these alone it may be wrong more often" in " ".join(label_sets(make_metrics()))
    assert label_sets({}) == []


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@settings(deadline=None)
@given(st.lists(st.tuples(finite, finite), max_size=20), st.none() | finite, st.none() | st.floats(0.5, 0.99))
def test_risk_takes_any_numbers(curve: list[tuple[float, float]], coverage: float | None, target: float | None) -> None:
    chart = risk(curve, coverage, target)
    for _, line in chart.lines if chart else []:
        assert all(chart.left <= x <= chart.right and chart.top <= y <= chart.bottom for x, y in line)  # type: ignore[union-attr]


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8))
def test_frontier_takes_any_costs(rows: list[tuple[float, float, float]]) -> None:
    found = [(str(n), "m", cost, Estimate(v, min(v, w), max(v, w))) for n, (cost, v, w) in enumerate(rows)]
    chart = frontier(found, "t", "x", "y", str)
    assert chart is not None
    for p in chart.points:
        assert chart.left <= p.x <= chart.right
        assert chart.top <= p.y <= chart.bottom
    assert all(chart.left <= x <= chart.right for x, _ in chart.ticks_x)


def test_axes() -> None:
    assert steps(0, 1, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert steps(0, 0.3, 4) == [0, 0.1, 0.2, 0.3]
    assert decades(0.02, 2) == [0.1, 1]
    assert decades(3, 30) == [5, 10, 20]
    assert [round_share(v) for v in (0.0, 0.03, 0.41, 2)] == [0.01, 0.04, 0.5, 1]
    assert scale([None]).at(0.5) == 50
    assert Axis(1, 100, 0, 10, log=True).at(10) == 5
    assert Axis(1, 100, 0, 10, log=True).at(0) == 0
