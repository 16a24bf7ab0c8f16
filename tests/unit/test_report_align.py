"""The reports about lists of answers: what they say of a training, of cycles, of a judge, and of what is missing."""

from __future__ import annotations

import json
import re
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.align_runs import (
    STEPS,
    copy,
    lists_of,
    log_lines,
    make_align_run,
    make_comparisons,
    make_cycle_run,
    make_evaluation,
    make_rank_run,
    measured,
)
from unit.test_report import HOSTILE, see

from llmlabel.alignment.measures import changes, means
from llmlabel.errors import DataError
from llmlabel.lists import RankedList, write_lists
from llmlabel.report import render, words, write_report
from llmlabel.report.account import command
from llmlabel.report.align_curves import MOST, curves
from llmlabel.report.align_judge import judge
from llmlabel.report.align_lists import lists
from llmlabel.report.align_measures import change
from llmlabel.report.align_wins import SHOWN, wins
from llmlabel.report.charts import Chart
from llmlabel.report.files import read_run
from llmlabel.report.view import gather

pytestmark = pytest.mark.slow

MAKERS = {"align": make_align_run, "cycle": make_cycle_run, "rank": make_rank_run, "evaluate": make_evaluation}
AGAIN = ["What failed", "What it cost", "How to do it again"]


def shown(folder: Path) -> str:
    return see(write_report(folder)).text


def headings(folder: Path) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", write_report(folder).read_text(encoding="utf-8"))


def test_a_training_from_its_lists_to_its_worth(tmp_path: Path) -> None:
    folder = copy(make_align_run, tmp_path / "run")
    text = shown(folder)
    assert headings(folder) == [
        "What training changed", "How training went", "The data, and what it was trained with",
        "Against the model it started from", "Can the judge be trusted?", *AGAIN,
    ]  # fmt: skip
    first, last = measured()
    moved, share = changes(first, last, 0), words.percent(means(last)["pair_accuracy_mean_logp"])
    for wanted in (
        "Alignment report", "HuggingFaceTB/SmolLM2-135M-Instruct was trained on 58 lists with 232 ranked answers with the loss",
        f"lambda: {STEPS} steps, 3 min 7 s.", f"On 24 held-out lists {share} of the pairs of answers are in order",
        f"{100 * moved['pair_accuracy_mean_logp']:+.1f} points (95% interval", "likelihood displacement",
        f"{moved['best_logp']:.2f} nats, {moved['best_logp_interval'][0]:.2f} to {moved['best_logp_interval'][1]:.2f})",
        "before training all scores are equal, so it starts at chance", "The check of the data has 1 error and 4 warnings.",
        "the prompt is empty", "Lists that teach nothing", "all its answers are as good as each other",
        "11 answers too long and cut", "Held out: 3 answers too long and cut",
        "kv (one cache for all answers)", "134,515,008", "5e-06",
        "On 23 prompts the judge prefers the trained model's answer in 66% of the cases",
        "On 2 prompts both gave the same answer, which counts as a tie. 1 prompt could not be judged.",
        "If both were equally long it would win 62%", "Of the judged pairs 15 were won, 6 lost and 2 tied.",
        "The judge leans to the answer shown first", "openai:gpt-4.1-mini", "Nothing failed.",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_without_a_judge_the_worth_is_not_known(tmp_path: Path) -> None:
    folder = make_align_run(tmp_path / "run", judge=False)
    text = shown(folder)
    assert text.count("No judge was named (--judge), so what the answers it writes are worth is not known.") == 2
    assert "Can the judge be trusted?" not in headings(folder)


def scores_of(order: float, best: float, lists: int = 60, spread: float = 1.0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Held-out scores whose pair accuracy and best log-probability moved so far, with intervals of `spread`."""
    before = {"lists": lists, "pair_accuracy_mean_logp": 0.5, "best_logp": -100.0}
    after = {"lists": lists, "pair_accuracy_mean_logp": 0.5 + order, "best_logp": -100 + best}
    paired = {
        "pair_accuracy_mean_logp": order, "pair_accuracy_mean_logp_interval": [order - 0.02 * spread, order + 0.02 * spread],
        "best_logp": best, "best_logp_interval": [best - 2 * spread, best + 2 * spread],
    }  # fmt: skip
    return {"policy": after, "reference": before}, paired


@pytest.mark.parametrize(
    ("order", "best", "spread", "wanted"),
    [
        (0.1, -9.0, 1, "order got better (+10.0 points, +8.0 to +12.0), but the best answers became less likely (-9.00 nats"),
        (0.1, -1.0, 1, "which may be chance): likelihood displacement."),
        (0.01, -9.0, 1, "and the order got no better beyond chance: likelihood displacement."),
        (0.01, -1.0, 1, ""), (0.1, 9.0, 1, ""), (-0.1, 9.0, 1, ""),
    ],
)  # fmt: skip
def test_displacement_is_told_where_it_is_and_only_there(order: float, best: float, spread: float, wanted: str) -> None:
    found = change(*scores_of(order, best, spread=spread))
    assert found is not None
    assert wanted in " ".join(found.displaced)
    assert bool(found.displaced) == bool(wanted)


def test_a_change_is_chance_only_where_its_interval_holds_zero() -> None:
    sure, unsure, worse = (change(*scores_of(order, 1.0)) for order in (0.1, 0.01, -0.1))
    assert sure and unsure and worse
    assert sure.answer == (
        "On 60 held-out lists 60% of the pairs of answers are in order by their likelihood per token, 50% before training: "
        "+10.0 points (95% interval +8.0 to +12.0), more than chance."
    )
    assert sure.said == ["Changes that may be chance: Best answer, log p."]
    assert unsure.answer.endswith("+1.0 points (95% interval -1.0 to +3.0), which may be chance.")
    assert worse.warnings == ["The order got worse: Pairs in order (-10.0 points, -12.0 to -8.0)."]
    few = change(*scores_of(0.1, 1.0, lists=6))
    assert few and few.warnings == ["Only 6 lists were held out: all but large changes are hidden by chance."]
    assert few.answer.endswith("whether by chance is not known."), "an interval drawn from six lists is too narrow"
    fallen = change(*scores_of(0.1, -9.0, lists=6))
    assert fallen and "as far as can be told): likelihood displacement" in fallen.displaced[0]
    bare = change(scores_of(0.1, 1.0)[0], {})
    assert bare and bare.answer.endswith("+10.0 points, whether by chance is not known.")
    assert change({}, {}) is None


def test_cycles_are_told_one_by_one_and_compared_with_themselves_only(tmp_path: Path) -> None:
    folder = copy(make_cycle_run, tmp_path / "run")
    text = shown(folder)
    for wanted in (
        "The packaged small model went through 3 cycles", "The loop ended: no list passed the gate",
        "Cycle 2 trained on 58 lists",
        "In cycle 2: on 24 held-out lists", "those of two cycles cannot be compared", "In 20 of 114 judged lists",
        "of rankings drawn at random 4.8 would", "The judge was asked 1,440 questions.",
        "The figures are those of the last cycle.",
        "Do judge and model agree?", "The run did not get as far as comparing answers.",
    ):  # fmt: skip
        assert wanted in text, wanted
    assert "may be noise" not in text, "a cycle that trained nothing learned no noise"
    page = (folder / "report.html").read_text(encoding="utf-8")
    loss = re.search(r'<svg[^>]*"curve-loss-title".*?</svg>', page, re.S)
    assert loss
    assert loss[0].count('class="raw"') == 2, "a line breaks where another cycle begins"
    assert "cycle 1" in loss[0] and "cycle 2" in loss[0]


def test_a_gate_that_lets_no_more_through_than_chance_is_loud(tmp_path: Path) -> None:
    folder = copy(make_cycle_run, tmp_path / "run")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["cycles"][1]["passed"] = 3  # two rankings of four answers are the same in 1 of 24 cases: 1.6 of 38 lists
    (folder / "metrics.json").write_text(json.dumps(metrics))
    told = "Chance may have let through what was trained on in cycle 2 (3 passed, 1.6 expected): it may be noise."
    assert told in shown(folder)


def test_a_ranking_says_what_to_think_of_its_judge(tmp_path: Path) -> None:
    folder = copy(make_rank_run, tmp_path / "run")
    text = shown(folder)
    assert headings(folder) == ["Can the judge be trusted?", "Does it agree with the order in the data?", "The lists", *AGAIN]
    for wanted in (
        "Ranking report", "59 lists of answers put in order by openai:gpt-4.1-mini, 1 failed.",
        "Before you rely on the order, read the 3 warnings about the judge below.", "chance would 50%",
        "Where the data has an order of its own, the judge", "It was shown 60 lists two answers at a time",
        "The judge leans to the answer shown first: it won 92% of",
        "Kendall's tau-b", "61 lists in", "put in order", "fewer than two answers, so nothing to put in order", "given score 1",
        "neither A nor B", "1 answer in 1 list looks like an attack on the judge",
    ):  # fmt: skip
        assert wanted in text, wanted
    bare = shown(make_rank_run(tmp_path / "bare", people=False))
    assert "The data has no order of its own, so whether the judge is right was not measured." in bare


def test_agreement_like_that_of_chance_is_said_to_be_so(tmp_path: Path) -> None:
    folder = copy(make_rank_run, tmp_path / "run")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert 'warn">cannot be told' not in write_report(folder).read_text(encoding="utf-8")
    metrics["agreement"]["top1"] |= {"value": 0.3, "low": 0.2, "high": 0.4, "chance": 0.28}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert write_report(folder).read_text(encoding="utf-8").count('warn">cannot be told') == 1


def test_examples_are_spread_over_the_file_and_in_the_order_of_the_judge(tmp_path: Path) -> None:
    found = lists(copy(make_rank_run, tmp_path / "run"), {"counts": {"ok": 59, "parse_failed": 1, "none_fits": 1}}, {})
    assert [e.id for e in found.examples] == ["q0 0", "q13 13", "q24 24", "q36 36", "q7 47", "q19 59"]
    assert [(name, n) for name, n, _ in found.sizes] == [("1 answer", 1), ("3 answers", 20), ("4 answers", 40)]
    for example in found.examples:
        places = [float(a.place) for a in example.answers]
        values = [a.score for a in example.answers if a.score is not None]
        assert places == sorted(places)
        assert values == sorted(values, reverse=True)
        assert len(values) == len(places)
    assert [o.kind for o in found.outcomes] == ["ok", "abstained", "failed"]


def test_an_evaluation_begins_with_the_win_rate(tmp_path: Path) -> None:
    folder = copy(make_evaluation, tmp_path / "run")
    assert headings(folder)[:2] == ["Against the model it started from", "The order of ranked answers"]
    text = shown(folder)
    assert "The model of runs/aligned against the one it started from. On 23 prompts the judge prefers" in text
    assert "The order of ranked answers" not in headings(make_evaluation(tmp_path / "prompts", ranked=False))


@pytest.mark.parametrize(
    ("low", "high", "wanted"), [(0.52, 0.7, "more than half and more than chance"), (0.4, 0.7, "which may be chance"),
                                (0.2, 0.4, "less than half and no chance")],
)  # fmt: skip
def test_a_win_rate_says_whether_it_may_be_chance(tmp_path: Path, low: float, high: float, wanted: str) -> None:
    raw = {"prompts": 200, "win_rate": {"value": (low + high) / 2, "low": low, "high": high}}
    raw |= {"length_controlled": {"value": 0.45, "low": 0.3, "high": 0.5}, "sign_test_p": 0.00001}
    found = wins(tmp_path, raw)
    assert found is not None
    assert wanted in found.answer
    told = " ".join(found.said)
    assert "p < 0.001" in told
    assert "If both were equally long it would win 45% (30% to 50%)" in told
    assert ("length alone decides who is ahead" in told) == (low + high > 1)


def test_pairs_to_look_at_are_half_won_and_half_lost(tmp_path: Path) -> None:
    make_comparisons(tmp_path, count=40)
    found = wins(tmp_path, {})
    assert found is not None
    assert [side.verdict for side in found.sides] == ["won"] * 4 + ["lost"] * 4
    assert [re.search(r"\d+", s.policy.text)[0] for s in found.sides] == ["0", "2", "4", "5", "1", "6", "9", "14"]  # type: ignore[index]
    assert found.kinds == {"won": 25, "lost": 10, "tied": 4}, "one has a verdict in one order only, and counts for nothing"
    turned = RankedList("a", "?", ("old", "new"), win_matrix=((0.5, 0.0), (1.0, 0.5)), models=("reference", "policy"))
    write_lists(tmp_path / "comparisons.parquet", [turned, RankedList("b", "?", ("x", "y"), models=("policy", "reference"))])
    found = wins(tmp_path, {})
    assert found is not None
    assert [(s.verdict, s.policy.text, s.reference.text) for s in found.sides] == [("won", "new", "old")]


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=30))
@settings(deadline=None, max_examples=15)
def test_no_more_pairs_than_fit_and_none_twice(tmp_path_factory: Any, shares: list[float]) -> None:
    folder = tmp_path_factory.mktemp("pairs")
    rows = [
        RankedList(str(n), f"prompt {n}", ("a", "b"), win_matrix=((0.5, s), (1 - s, 0.5)), models=("policy", "reference"))
        for n, s in enumerate(shares)
    ]
    write_lists(folder / "comparisons.parquet", rows)
    found = wins(folder, {})
    assert found is not None
    assert len(found.sides) == min(SHOWN, len(shares))
    assert len({side.prompt.text for side in found.sides}) == len(found.sides)


@given(
    st.lists(
        st.tuples(st.integers(1, 500), st.floats(-1e4, 1e4), st.none() | st.floats(0, 1)), max_size=80, unique_by=lambda x: x[0]
    )
)
@settings(deadline=None, max_examples=25)
def test_curves_stay_inside_their_frame(rows: list[tuple[int, float, float | None]]) -> None:
    log = [{"step": n, "loss": v, "eval_best_logp": v, "pair_accuracy": p} for n, v, p in sorted(rows)]
    for chart in curves([("one", log), ("two", log)]):
        assert len(chart.ticks_y) >= 2
        for _, points in chart.lines:
            assert len(points) <= MOST + 1
            assert all(chart.left <= x <= chart.right and chart.top - 0.1 <= y <= chart.bottom + 0.1 for x, y in points)


def test_curves_show_what_was_logged() -> None:
    by_name: dict[str, Chart] = {chart.name: chart for chart in curves([("", log_lines())])}
    assert list(by_name) == ["curve-loss", "curve-pair-accuracy", "curve-best-logp", "curve-log-ratio"]
    assert [kind for kind, _ in by_name["curve-pair-accuracy"].lines] == ["raw", "main"]
    assert len(by_name["curve-best-logp"].points) == 5, "one dot for each look at held-out lists"
    assert by_name["curve-best-logp"].says == "held-out lists: -90 at step 0, -99 at step 24"
    alone = [{k: v for k, v in line.items() if not k.startswith("eval_")} for line in log_lines()]
    assert [chart.title for chart in curves([("", alone)])][2] == "How likely the best answers are"
    assert curves([("", log_lines()[:1])]) == []


def test_figures_that_are_not_there_are_not_made_up() -> None:
    assert judge({}) is None
    found = judge({"judge": "x", "first": None, "flips": {}, "problems": None, "by": None, "suspect": None})
    assert found is not None
    assert found.rows == found.problems == found.said == []


@pytest.mark.parametrize("name", list(MAKERS))
def test_what_is_missing_is_left_out(tmp_path: Path, name: str) -> None:
    whole = copy(MAKERS[name], tmp_path / "whole")
    for n, file in enumerate(sorted(p for p in whole.rglob("*") if p.is_file() and p.name != "run.json")):
        folder = copy(MAKERS[name], tmp_path / str(n))
        (folder / file.relative_to(whole)).unlink()
        assert "How to do it again" in render.render(gather(folder, read_run(folder))), file


@pytest.mark.parametrize("flow", ["align", "rank", "evaluate"])
def test_only_the_start_of_a_run(tmp_path: Path, flow: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"flow": flow, "config": {"policy": "embedded"}}), encoding="utf-8")
    text = shown(tmp_path)
    wanted = {
        "align": "The training of the packaged small model has not ended.",
        "rank": "No list has been put in order yet.",
        "evaluate": "The run did not get as far as comparing answers.",
    }
    assert wanted[flow] in text
    assert "Nothing failed." in text
    (tmp_path / "run.json").write_text(json.dumps({"flow": flow, "config": None, "counts": None, "data": None}), encoding="utf-8")
    assert "How to do it again" in shown(tmp_path)


@pytest.mark.parametrize("name", list(MAKERS))
def test_nulls_and_nonsense_everywhere(tmp_path: Path, name: str) -> None:
    folder = copy(MAKERS[name], tmp_path / "run")
    metrics = json.loads((folder / "metrics.json").read_text())
    for key in metrics:
        for broken in (None, "x", [None], dict.fromkeys(metrics[key]) if isinstance(metrics[key], dict) else 0):
            (folder / "metrics.json").write_text(json.dumps(metrics | {key: broken}), encoding="utf-8")
            assert "How to do it again" in render.render(gather(folder, read_run(folder))), (key, broken)


def test_a_log_that_a_kill_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    folder = copy(make_align_run, tmp_path / "run")
    with (folder / "log.jsonl").open("a") as file:
        file.write('{"step": 99, "lo')
    assert "How training went" in shown(folder)


@pytest.mark.parametrize(
    ("name", "file"), [("align", "comparisons.parquet"), ("rank", "ranked.parquet"), ("align", "trained.json")]
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, file: str) -> None:
    folder = copy(MAKERS[name], tmp_path / "run")
    (folder / file).write_text("{half", encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(file)):
        write_report(folder)


@pytest.mark.parametrize("name", list(MAKERS))
@pytest.mark.parametrize("first", range(3))
def test_texts_of_users_stay_texts(tmp_path: Path, name: str, first: int) -> None:
    bad = cycle([text for text in HOSTILE[first:] + HOSTILE[:first] if "\ud800" not in text])  # parquet refuses half a pair
    page = write_report(MAKERS[name](tmp_path / "run", lambda text: f"{next(bad)} {text}"))
    html, seen = page.read_text(encoding="utf-8"), see(page)
    assert html.count("<script") == html.count("</script") == 1
    assert "document.title" not in "".join(seen.code)
    assert {tag for tag, _ in seen.tags}.isdisjoint({"img", "iframe", "object", "embed", "base", "form", "a"})
    assert not [a for _, attrs in seen.tags for a in attrs if a.startswith("on")]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe]", html)
    assert not re.search(r'(src|href)="(?!#|data:,)', html)
    body = html[html.index("<main>") :]
    for match in re.finditer("\u202e", body):
        tag = body[body.rindex("<", 0, match.start()) : match.start()]
        assert re.match(r'<(bdi|title|text|[a-z0-9]+ [^>]*dir="auto")', tag), tag[:200]


def test_long_answers_are_cut_and_said_to_be(tmp_path: Path) -> None:
    long = RankedList("a", "p" * 5000, ("x" * 9000, "y"), win_matrix=((0.5, 1.0), (0.0, 0.5)), models=("policy", "reference"))
    write_lists(tmp_path / "comparisons.parquet", [long])
    (tmp_path / "run.json").write_text(json.dumps({"flow": "evaluate", "config": {}}), encoding="utf-8")
    text = shown(tmp_path)
    assert "9,000 characters in all" in text
    assert "x" * 899 + "…" in text
    assert "x" * 900 not in text
    assert "p" * 701 not in text


@given(st.text(max_size=300), st.integers(2, 80))
@settings(deadline=None, max_examples=40)
def test_a_passage_keeps_lines_and_nothing_that_browsers_refuse(text: str, most: int) -> None:
    found = words.passage(text, most)
    assert len(found) <= most
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f]", found)
    assert words.passage("one \n\n  two", 80) == "one\ntwo"


@pytest.mark.parametrize(
    ("flow", "config", "wanted"),
    [
        ("rank", {"data": "r.parquet", "judge_by": "pairwise", "comparisons": 4, "orders": 1, "out": "ranked.run"},
         "llmlabel rank --data r.parquet --judge-by pairwise --comparisons 4 --set orders=1 --out ranked.run-again"),
        ("align", {"data": "r.parquet", "method": "cyclealign", "policy": "DIR", "lora": True, "cycles": 2, "temperature": 1.0,
                   "llm": {"judge": "embedded"}, "out": "R"},
         "llmlabel run align --data r.parquet --method cyclealign --policy DIR --lora --cycles 2 --set llm.judge=embedded"
         " --set temperature=1.0 --out R-again"),
        ("evaluate", {"data": "h.parquet", "run": "runs/a b", "orders": 2, "llm": {"judge": "openai:m"}, "out": "E"},
         "llmlabel align evaluate 'runs/a b' --data h.parquet --set llm.judge=openai:m --out E-again"),
    ],
)  # fmt: skip
def test_the_command_says_the_same_again(flow: str, config: dict[str, Any], wanted: str) -> None:
    assert command(config, flow) == wanted
    defaults: dict[str, Any] = {
        "criteria": "Which answer is the better one: more correct, more helpful, closer to what was asked?"
    }
    assert command(config | defaults, flow) == wanted


def test_lists_of_messages_are_shown_as_a_dialogue(tmp_path: Path) -> None:
    talk = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"})
    first = lists_of(1)[0]
    write_lists(tmp_path / "ranked.parquet", [first, RankedList("t", talk, ("Yes.", "No."), scores=(1.0, 0.0), ranks=(1.0, 2.0))])
    found = lists(tmp_path, {}, {})
    assert found.examples[1].prompt.text == "system: Be brief.\nuser: Hello?"
