"""The report of a selection: its decision, its evidence, and what it says where something is missing."""

from __future__ import annotations

import json
import re
import shlex
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.align_runs import copy
from unit.select_runs import (
    BEST,
    HINTED,
    LAST,
    NEXT,
    PILOT,
    STRATEGIES,
    make_select_run,
    make_whole_run,
    metrics,
    run_info,
    write_json,
)
from unit.test_report import HOSTILE, see

from llmlabel.errors import DataError
from llmlabel.report import render, write_report
from llmlabel.report.account import command
from llmlabel.report.charts import LEFT, RIGHT
from llmlabel.report.files import read_run
from llmlabel.report.select_charts import BOTTOM, TOP, charts, line
from llmlabel.report.select_read import Answers, Measured, answers
from llmlabel.report.select_rest import exemplars, looks, pilot, written
from llmlabel.report.select_sides import questions
from llmlabel.report.select_table import strategies
from llmlabel.report.select_view import SelectSection
from llmlabel.report.view import gather
from llmlabel.selection.answers import OWN

pytestmark = pytest.mark.slow

AGAIN = ["What failed", "What it cost", "How to do it again"]
NATS_PER_TOKEN = Measured("sppl", "nats per token")


def section(folder: Path) -> SelectSection:
    """Its part of the page, which can be drawn, whatever is in it."""
    page = gather(folder, read_run(folder))
    assert page.select is not None
    assert "How to do it again" in render.render(page)
    return page.select


def shown(folder: Path) -> str:
    return see(write_report(folder)).text


def test_everything_stands_there_in_the_order_a_reader_asks(tmp_path: Path) -> None:
    folder = copy(make_whole_run, tmp_path / "run")
    page = write_report(folder)
    text, html = see(page).text, page.read_text(encoding="utf-8")
    assert re.findall(r"<h2>(.*?)</h2>", html) == [
        "Can it be relied on?", "The strategies", "How they compare", "What passed the gates", "What was dropped early",
        "The target's own answers", "Answers side by side", "The pilot", "One strategy for each prompt",
        "Training rows", *AGAIN,
    ]  # fmt: skip
    for wanted in (
        "Selection report", "Which answers to train on", f"Write the answers with {BEST}: the pilot decides.",
        f"Trained on {BEST}, the target is right 4.2 points more often than trained on {NEXT} (95% interval +0.8 to +7.5)",
        "Tested on 200 prompts that it had not learnt from.", "6 ways of writing answers were compared on 60 prompts",
        "has the best sppl", "In the published records", "Train on sft.parquet", "self-aligned perplexity", "at least 79%",
        "Dropped after 20 prompts", "Gate: tells of a hint", "20 of 60 answers that tell of a hint", "reference, no contestant",
        "4 prompts have no gold.", "length may decide more than the way of writing", "gaps below 0.05 nats per token",
        "2 strategies dropped early, which saved 22% of the scored answers.", "concise and codebook_citing dropped, 4 left",
        "14 groups of 3 of them stand before the prompts in turn", "Where the answers differ most", "A question in the middle",
        "The right answer ends in: exchange fee", "5,000 answers were written, by target_rewritten; 4,391 kept", "512", "wrong",
        "For each prompt, the answer the target finds likeliest", "it may not",
    ):  # fmt: skip
        assert wanted in text, wanted
    assert '<span class="badge clear">clear</span>' in html


def test_a_clear_decision_names_the_gap_and_the_command_that_follows(tmp_path: Path) -> None:
    found = section(copy(make_select_run, tmp_path / "run"))
    assert found.decision.answer == (
        f"Write the answers with {BEST}: they fit the target best, 0.24 nats per token (95% interval 0.12 to 0.36) ahead of "
        f"{NEXT}, more than chance and by a wide margin."
    )
    (step,) = found.decision.next
    assert step.command == (
        "llmlabel run select --data tickets.parquet --gold-column label --taxonomy taxonomy.yaml --target models/smollm2-135m "
        "--n 60 --generate-all 5000 --teacher openai:gpt-4.1-mini --set 'looks=[20]' --from runs/select --out runs/select-sft"
    )


def test_a_weak_decision_offers_a_pilot(tmp_path: Path) -> None:
    found = section(make_select_run(tmp_path / "run", closer=0.6, settings={"choose": "per_prompt"}))
    assert found.decision.badge == "weak"
    assert found.decision.answer.endswith("more than chance, but not by much.")
    assert found.summary[-1].startswith("The training rows hold, for each prompt, the answer")
    trial, scale = (shlex.split(step.command) for step in found.decision.next)
    assert "--pilot" in trial and "--per-prompt" in trial and "--from" not in trial
    assert trial[-1] == "runs/select-pilot"
    assert scale[-4:] == ["--from", "runs/select", "--out", "runs/select-sft"]


def test_a_tie_names_all_of_it_and_why_one_is_taken(tmp_path: Path) -> None:
    found = section(make_select_run(tmp_path / "run", closer=0.1))
    assert found.decision.badge == "tie"
    assert found.decision.answer == (
        f"Write the answers with concise: concise, {BEST}, {NEXT} and imitate_target cannot be told apart by how well they fit, "
        "and it is the cheapest of them."
    )
    marks = {row.key: row.mark for row in found.strategies.rows}
    assert marks == {BEST: "tied", NEXT: "tied", "imitate_target": "tied", "concise": "chosen", LAST: "", HINTED: ""}
    assert [side.name for side in found.questions[0].sides if side.chosen] == ["concise"]


def test_a_score_without_meaning_is_said_to_have_none(tmp_path: Path) -> None:
    only = section(make_select_run(tmp_path / "only", names=["concise"], own=None))
    assert (only.decision.verdict, only.decision.badge) == ("no_meaning", "no meaning")
    assert only.decision.answer == "Write the answers with concise: no other strategy was left to compare it with."
    assert only.exemplars[0].startswith("The target was not asked")
    assert only.strategies.own is None
    evidence = {"chosen_for": "correctness", "reason": ["Too short."]}
    short = {"strategy": "concise", "verdict": "no_meaning", "evidence": evidence}
    told = section(make_select_run(tmp_path / "short", decision=short)).decision.answer
    assert told.endswith("the score says nothing about these answers, and these are surest to be right.")
    none = {"strategy": None, "verdict": "no_meaning", "evidence": {}}
    lost = section(make_select_run(tmp_path / "none", decision=none))
    assert lost.decision.answer.startswith("No strategy is recommended")
    assert lost.decision.next == []


def test_rows_are_in_order_and_the_target_apart(tmp_path: Path) -> None:
    table = section(copy(make_select_run, tmp_path / "run")).strategies
    assert [(row.key, row.place) for row in table.rows] == [
        (BEST, "1"), (NEXT, "2"), ("imitate_target", "3"), ("concise", "4"), (LAST, "5"), (HINTED, ""),
    ]  # fmt: skip
    first, second, *_, dropped, failed = table.rows
    assert (first.score, first.perplex, first.behind, first.chance, first.facts["correctness"]) == (
        "0.62",
        "1.86",
        "–",
        "–",
        "88%",
    )
    assert (second.behind, second.behind_between, second.chance, second.mark) == ("+0.24", "0.12 to 0.36", "<0.001", "")
    assert (dropped.out, dropped.of, dropped.passed) == ("Dropped after 20 prompts", 20, True)
    assert (failed.out, failed.passed) == ("Gate: tells of a hint", False)
    assert table.own is not None
    assert (table.own.name, table.own.place, table.own.score, table.own.passed) == ("The target itself", "", "0.41", True)
    assert [name for name, _, _ in table.others] == ["Perplexity", "IFD"]
    bounds = {gate.gate: (gate.value, gate.bound) for gate in failed.gates}
    assert bounds["leakage"] == ("33%", "< 2%")
    assert bounds["short"] == ("78", "> 5")


def test_questions_that_are_shown_differ_and_the_best_loses_in_one(tmp_path: Path) -> None:
    folder = copy(make_select_run, tmp_path / "run")
    found = section(folder).questions
    assert [q.why for q in found] == [
        "Where the answers differ most", "A question in the middle", "Where the best strategy fits worse than another",
    ]  # fmt: skip
    spreads = [max(v) - min(v) for q in found if (v := [float(s.score) for s in q.sides if s.score and not s.own])]
    assert spreads[0] == max(spreads) > spreads[1]
    best, *others = [float(side.score) for side in found[2].sides if not side.own]
    assert best > min(others)
    assert [side.name for side in found[0].sides][:2] == [BEST, NEXT]
    assert found[0].sides[-1].own
    assert {side.mark for q in found for side in q.sides} <= {"right", "wrong"}


@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), st.lists(st.none() | st.floats(-5, 5), max_size=6), max_size=5))
@settings(deadline=None, max_examples=60)
def test_no_question_is_shown_twice(values: dict[str, list[float | None]]) -> None:
    given_ = Answers({name: {str(n): {"sppl": v, "text": "x"} for n, v in enumerate(row)} for name, row in values.items()})
    table = strategies({}, {}, NATS_PER_TOKEN, given_)
    found = questions(table, given_, NATS_PER_TOKEN)
    known = {n for row in values.values() for n, v in enumerate(row) if v is not None}
    assert len(found) <= min(3, len(known))
    assert len({q.prompt.text for q in found}) == len(found)
    assert bool(found) == bool(known)


finite = st.floats(-50, 50)


@given(st.lists(st.tuples(finite, st.floats(0, 5) | st.none(), st.lists(finite, max_size=5)), max_size=6), st.booleans())
@settings(deadline=None, max_examples=60)
def test_pictures_stay_inside_their_frames(rows: list[tuple[float, float | None, list[float]]], higher: bool) -> None:
    how = Measured("cosine", "cosine") if higher else NATS_PER_TOKEN
    ranking = [
        {"strategy": f"s{n}", "rank": n + 1, "mean": mean, "interval": [mean - 1, mean + 1], "cost": cost, "gap": float(n),
         "gap_interval": [n - 0.5, n + 0.5]}
        for n, (mean, cost, _) in enumerate(rows)
    ]  # fmt: skip
    given_ = Answers({f"s{n}": {str(k): {how.score: v} for k, v in enumerate(values)} for n, (_, _, values) in enumerate(rows)})
    found = charts(strategies({}, {"ranking": ranking}, how, given_), given_, how)
    for scale in (found.scale, found.gap_scale):
        assert all(0 <= at <= 100 for at, _ in scale.ticks)
        assert len(scale.ticks) >= 2
    for spread in found.spreads:
        assert len(spread.dots) == len(rows[int(spread.row.key[1:])][2])
        assert all(0 <= x <= 100 and 0 <= y <= 40 for x, y in spread.dots)
    if found.cost:
        assert all(LEFT <= p.x <= RIGHT and TOP <= p.y <= BOTTOM for p in found.cost.points)


@given(st.lists(st.floats(-1e6, 1e6), max_size=8))
@settings(deadline=None)
def test_an_axis_holds_its_values(values: list[float]) -> None:
    found = line(values)
    assert found.low < found.high
    slack = 1e-6 * max(1.0, *map(abs, values or [0.0]))
    assert all(found.low - slack <= v <= found.high + slack for v in values)


def test_cost_joins_only_what_none_beats(tmp_path: Path) -> None:
    cost = section(copy(make_select_run, tmp_path / "run")).charts.cost
    assert cost is not None
    at = {p.note.split(":")[0]: (p.x, p.y) for p in cost.points}
    lines = dict(cost.lines)
    assert lines["edge"] == [at["concise"], at[NEXT], at[BEST]], "cheapest first; the one that failed a gate is left out"
    assert lines["ideal"][0][1] > at[BEST][1], "the target's own answers fit best, so they stand lowest"
    assert {text for *_, text in cost.words} == {*STRATEGIES, "the target itself"}


def test_the_pilot_is_told_from_the_side_that_is_ahead() -> None:
    turned = PILOT | {"difference": -0.03, "interval": [-0.08, 0.02], "accepted": False}
    found = pilot(turned)
    assert found is not None
    assert found.answer.startswith(
        f"Trained on {NEXT}, the target is right 3.0 points more often than trained on {BEST} "
        "(95% interval -2.0 to +8.0): which may be chance."
    )
    assert [name for name, *_ in found.rows] == [BEST, NEXT]
    assert found.said == ["The interval of the difference does not hold 0."]
    doubtful = pilot(PILOT | {"untrained": 0.7, "failed": 2, "left_out": {BEST: 0, NEXT: 3}})
    assert doubtful is not None
    assert [line.split(" ")[0] for line in doubtful.said[1:]] == ["Neither", "2", "Left"]
    assert pilot({}) is None
    assert pilot({"strategies": ["a"]}) is not None


def test_a_pilot_that_decides_nothing_stands_beside_the_decision(tmp_path: Path) -> None:
    found = section(make_select_run(tmp_path / "run", closer=0.6, pilot=PILOT | {"accepted": False, "interval": [-0.01, 0.09]}))
    assert found.decision.answer.endswith("but not by much.")
    assert "which may be chance" in found.summary[1]
    assert "--pilot" not in " ".join(step.command for step in found.decision.next)


def test_a_run_that_carries_out_an_earlier_decision_says_so(tmp_path: Path) -> None:
    folder = make_select_run(tmp_path / "run", settings={"from_run": "runs/old", "generate_all": 5000})
    for name in ("answers.parquet", "questions.parquet"):
        (folder / name).unlink()
    found = section(folder)
    assert found.summary[-1] == "That is the decision of an earlier run, runs/old; this one wrote the training rows."
    assert found.charts.spreads == []
    assert [row.key for row in found.strategies.rows][:2] == [BEST, NEXT]
    assert "Training rows" in shown(folder)


def test_small_parts_with_nothing_in_them() -> None:
    empty = strategies({}, {}, NATS_PER_TOKEN, Answers())
    assert empty.rows == empty.checks == empty.others == []
    assert looks({}, empty) is None
    assert written({}) is None
    assert exemplars({}) == []
    found = written({"strategy": "a", "rows": 3, "dropped": {"wrong": 3}})
    assert found is not None and found.said == "3 answers were written, by a; 0 kept as training rows."
    told = looks({"looks": [{"n": 10, "kept": ["a", "b"], "dropped": []}]}, empty)
    assert told is not None and told.said == "No strategy was dropped early." and told.steps[0][1] == "nothing dropped, 2 left"


def test_what_is_missing_is_left_out(tmp_path: Path) -> None:
    for name in ("metrics.json", "answers.parquet", "questions.parquet", "failures.jsonl"):
        folder = copy(make_whole_run, tmp_path / name)
        (folder / name).unlink()
        assert "How to do it again" in shown(folder), name
    (tmp_path / "start").mkdir()
    write_json(tmp_path / "start" / "run.json", {"flow": "select", "config": None, "counts": None, "data": None})
    text = shown(tmp_path / "start")
    assert "The run has not decided yet." in text
    assert "No strategy has answered yet." in text


def test_nulls_and_nonsense_everywhere(tmp_path: Path) -> None:
    folder = copy(make_whole_run, tmp_path / "run")
    whole = json.loads((folder / "metrics.json").read_text())
    evidence = whole["decision"]["evidence"]
    broken: tuple[Any, ...] = (None, "x", [None], 3, {"a": None}, {"a": {"b": "c"}})
    changed = [whole | {key: value} for key in whole for value in broken]
    changed += [whole | {"decision": whole["decision"] | {"evidence": evidence | {key: v}}} for key in evidence for v in broken]
    row = evidence["ranking"][1]
    for key in row:
        rows = [evidence["ranking"][0], *({**row, key: value} for value in broken)]
        changed.append(whole | {"decision": whole["decision"] | {"evidence": evidence | {"ranking": rows}}})
    for one in changed:
        write_json(folder / "metrics.json", one)
        gather(folder, read_run(folder))
    for one in changed[:: len(changed) // 12]:
        write_json(folder / "metrics.json", one)
        assert "How to do it again" in render.render(gather(folder, read_run(folder)))


@pytest.mark.parametrize("file", ["answers.parquet", "questions.parquet", "metrics.json"])
def test_a_damaged_file_is_named(tmp_path: Path, file: str) -> None:
    folder = copy(make_select_run, tmp_path / "run")
    (folder / file).write_text("{half", encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(file)):
        write_report(folder)


@pytest.mark.parametrize("first", range(3))
def test_texts_of_users_stay_texts(tmp_path: Path, first: int) -> None:
    bad = cycle([text for text in HOSTILE[first:] + HOSTILE[:first] if "\ud800" not in text])  # parquet refuses half a pair
    page = write_report(make_whole_run(tmp_path / "run", lambda text: f"{next(bad)} {text}"))
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
        assert re.match(r'<(bdi|title|text|desc|[a-z0-9]+ [^>]*dir="auto")', tag), tag[:200]


def test_a_name_with_html_in_it_is_shown_as_it_is(tmp_path: Path) -> None:
    name = "<b onclick=x>bold</b> & more"
    page = write_report(make_select_run(tmp_path / "run", lambda text: name if text == BEST else text))
    assert f"Write the answers with {name}: they fit the target best" in see(page).text
    assert "&lt;b onclick=x&gt;bold" in page.read_text(encoding="utf-8")


def test_long_answers_are_cut_and_said_to_be(tmp_path: Path) -> None:
    text = shown(
        make_select_run(tmp_path / "run", lambda text: text + "x" * 3000 if text.startswith("The customer says") else text)
    )
    assert "characters in all" in text
    assert "x" * 701 not in text


def test_answers_are_read_by_strategy_and_question(tmp_path: Path) -> None:
    found = answers(copy(make_select_run, tmp_path / "run"))
    assert {name: len(rows) for name, rows in found.of.items()} == {
        BEST: 60, NEXT: 60, "imitate_target": 60, HINTED: 60, "concise": 20, LAST: 20, OWN: 60,
    }  # fmt: skip
    assert len(found.values(BEST, "sppl")) == 59, "one was refused"
    assert OWN not in found.strategies


@pytest.mark.parametrize(
    ("settings_", "wanted"),
    [
        ({}, "llmlabel run select --data tickets.parquet --gold-column label --taxonomy taxonomy.yaml "
             "--target models/smollm2-135m --n 60 --teacher openai:gpt-4.1-mini --set 'looks=[20]' --out runs/select-again"),
        ({"data": "a.parquet", "responses": "a.parquet", "gold_column": None, "taxonomy": None, "llm": {}, "n": 100,
          "score": "all", "looks": [10, 20, 40, 60, 80, 100],
          "strategies": "s.yaml", "choose": "per_prompt", "pilot": True, "verify": "numeric",
          "generate_all": 9, "lora_rank": 4, "learning_rate": 1e-4, "use_case": "why they call", "keep": "all"},
         "llmlabel run select --responses a.parquet --use-case 'why they call' --strategies s.yaml --target models/smollm2-135m "
         "--score all --verify numeric --pilot --generate-all 9 --per-prompt --set keep=all --set learning_rate=0.0001 "
         "--set lora_rank=4 --out runs/select-again"),
        ({"responses": "a.parquet", "n": 100, "llm": "embedded", "looks": []},
         "llmlabel run select --data tickets.parquet --responses a.parquet --gold-column label --taxonomy taxonomy.yaml "
         "--target models/smollm2-135m --llm embedded --set 'looks=[]' --out runs/select-again"),
    ],
)  # fmt: skip
def test_the_command_says_the_same_again(settings_: dict[str, Any], wanted: str) -> None:
    config = run_info(**settings_)["config"]
    assert command(config, "select") == wanted
    assert command(config, "select", out="else").endswith("--out else")


def test_passwords_in_urls_stay_out(tmp_path: Path) -> None:
    folder = make_select_run(tmp_path / "run", settings={"target": "m@http://me:canary@host/v1", "data": "https://u:canary@h/x"})
    assert "canary" not in write_report(folder).read_text(encoding="utf-8")


def test_the_fixture_is_like_what_it_stands_for() -> None:
    """The decision comes from the room itself: keys the report reads are there."""
    evidence = metrics()["decision"]["evidence"]
    assert {
        "score",
        "unit",
        "reason",
        "best",
        "runner_up",
        "gap",
        "gap_interval",
        "tied",
        "chosen_for",
        "looks",
    } <= evidence.keys()
    assert {"strategy", "rank", "mean", "interval", "n", "gap", "p_holm", "gates", "dropped"} <= evidence["ranking"][0].keys()
