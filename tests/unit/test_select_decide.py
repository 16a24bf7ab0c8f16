"""What is recommended, and with how much confidence."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel
from selection_tables import table

from llmlabel.errors import DataError
from llmlabel.selection.answers import Table
from llmlabel.selection.decide import decide
from llmlabel.selection.elimination import Elimination
from llmlabel.stats import holm


def decided(made: Table, score: str = "sppl", **more: Any) -> dict[str, Any]:
    found = decide(made, score=score, **more).to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def rows(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["strategy"]: row for row in found["evidence"]["ranking"]}


def said(found: dict[str, Any]) -> str:
    return " ".join(found["evidence"]["reason"])


@pytest.mark.parametrize(("gap", "verdict"), [(0.6, "clear"), (0.12, "weak"), (0.02, "tie")])
@pytest.mark.parametrize("score", ["sppl", "ppl"])
def test_the_gap_makes_the_verdict(gap: float, verdict: str, score: str) -> None:
    found = decided(table([1.0 + gap, 1.0], sd=0.02, score=score, cost=[1.0, 2.0]), score)
    assert (found["verdict"], found["strategy"]) == (verdict, "s0" if verdict == "tie" else "s1")
    evidence = found["evidence"]
    assert (evidence["best"], evidence["runner_up"], evidence["unit"]) == ("s1", "s0", "nats per token")
    assert evidence["gap"] == pytest.approx(gap, abs=0.01)
    assert evidence["gap_interval"][0] < evidence["gap"] < evidence["gap_interval"][1]
    assert evidence["chosen_for"] == ("cost" if verdict == "tie" else "fit") and "about 70 %" in said(found)


def test_a_gap_that_is_not_significant_is_a_tie_however_large() -> None:
    found = decided(table([1.0, 1.15], n=12, sd=0.6, seed=3, cost=[2.0, 1.0]))
    other = found["evidence"]["ranking"][1]
    assert other["gap"] > 0.15 and other["p_holm"] > 0.05
    assert found["verdict"] == "tie" and found["evidence"]["tied"] == [other["strategy"]]


def test_the_tests_are_paired_and_adjusted() -> None:
    made = table([1.0, 1.06, 1.08, 1.5], sd=0.2)
    found = rows(decided(made))
    scores = made.scores["sppl"]
    p = [float(ttest_rel(scores[s], scores[0]).pvalue) for s in (1, 2, 3)]
    assert [found[f"s{s}"]["p"] for s in (1, 2, 3)] == pytest.approx(p)
    assert [found[f"s{s}"]["p_holm"] for s in (1, 2, 3)] == pytest.approx(holm(p).tolist())
    assert (found["s0"]["p"], found["s0"]["gap"], found["s0"]["gap_interval"]) == (None, 0.0, [0.0, 0.0])
    assert [found[f"s{s}"]["gap"] for s in (1, 2, 3)] == pytest.approx((scores[1:] - scores[0]).mean(axis=1).tolist())
    assert sum(row["first_share"] for row in found.values()) == pytest.approx(1)
    assert found["s0"]["perplexity"] == pytest.approx(np.exp(scores[0].mean()))


@pytest.mark.parametrize("score", ["ifd", "cosine"])
def test_other_scores_are_weak_at_most_and_higher_is_better(score: str) -> None:
    found = decided(table([0.9, 0.2], score=score), score)
    assert (found["strategy"], found["verdict"]) == ("s0", "weak")
    row = rows(found)["s1"]
    assert row["gap"] > 0.5 and row["perplexity"] is None and row["interval"][0] < row["mean"] < row["interval"][1] < 1.0
    assert any("do not hold" in note for note in found["evidence"]["notes"]) and "70 %" not in said(found)
    assert any("reverse" in note for note in found["evidence"]["notes"]) is (score == "ifd")


def test_equal_answers_are_a_tie_of_the_cheapest() -> None:
    made = table([1.0, 1.0, 1.8], cost=[3.0, 2.0, 1.0])
    made.scores["sppl"][1] = made.scores["sppl"][0]
    found = decided(made)
    assert (found["verdict"], found["strategy"], found["evidence"]["tied"]) == ("tie", "s1", ["s1"])
    assert "s1 and s0 have the same score on every prompt" in said(found)
    assert rows(found)["s0"]["first_share"] == rows(found)["s1"]["first_share"] == 0.5


def test_prices_that_are_missing() -> None:
    made = table([1.0, 1.0, 1.0], sd=0.01)
    made.scores["sppl"][:] += np.array([0, 0.01, 0.02])[:, None]
    made.tokens[2] = 20
    none = decided(made)
    assert (none["strategy"], none["evidence"]["chosen_for"]) == ("s2", "cost") and "No price is known" in said(none)
    made.cost[:] = [np.nan, 5.0, 9.0]
    some = decided(made)
    assert some["strategy"] == "s1" and "The price of s0 is not known" in said(some)
    assert rows(some)["s0"]["cost"] is None
    made.cost[:] = 0.0
    same = decided(made)
    assert (same["strategy"], same["evidence"]["chosen_for"]) == ("s2", "cost") and "All cost the same" in said(same)
    made.tokens[2] = made.tokens[0]
    alike = decided(made)
    assert (alike["strategy"], alike["evidence"]["chosen_for"]) == ("s0", "fit") and "as far as is known" in said(alike)


def test_who_fails_a_gate_is_shown_and_not_ranked() -> None:
    made = table([0.5, 1.0, 1.5])
    made.truncated[0, :5] = 1
    found = decided(made)
    assert (found["strategy"], found["verdict"]) == ("s1", "clear")
    row = rows(found)["s0"]
    assert row["rank"] is None and not row["passed"] and row["gap"] < 0 and row["p"] is None and row["mean"] < 2
    assert found["evidence"]["ranking"][-1] is row and "s0 is not ranked: truncation (5 of 60" in said(found)


def test_nobody_passes() -> None:
    made = table([0.5, 1.0])
    made.leaks[:, :5] = 1
    found = decided(made)
    assert (found["strategy"], found["verdict"], found["evidence"]["best"]) == (None, "no_meaning", None)
    assert len(rows(found)) == 2 and rows(found)["s0"]["mean"] is not None and "No strategy passes" in said(found)


def test_only_one_passes() -> None:
    made = table([0.5, 1.0])
    made.leaks[0, :5] = 1
    found = decided(made)
    assert (found["strategy"], found["verdict"], found["evidence"]["chosen_for"]) == ("s1", "no_meaning", "")
    assert (
        found["evidence"]["best"] == "s1" and found["evidence"]["runner_up"] is None and "the only one that passes" in said(found)
    )


def test_only_one_strategy() -> None:
    found = decided(table([1.0]))
    assert (found["strategy"], found["verdict"]) == ("s0", "no_meaning") and "nothing to compare it with" in said(found)


def test_labels_alone_go_by_correctness() -> None:
    made = table([0.1, 0.5], cost=[1.0, 2.0])
    made.tokens[:] = 2
    made.correct[0, :20] = made.correct[1, :19] = 0
    found = decided(made)
    assert (found["strategy"], found["verdict"], found["evidence"]["chosen_for"]) == ("s1", "no_meaning", "correctness")
    assert "too short" in said(found)
    made.correct[1, :20] = 0
    assert decided(made)["strategy"] == "s0"  # as often right, and cheaper
    made.correct[:] = np.nan
    assert decided(made)["strategy"] is None


def test_labels_alone_beside_rationales_are_not_ranked() -> None:
    made = table([0.01, 1.0, 1.5])
    made.tokens[0] = 1
    found = decided(made)
    assert (found["strategy"], found["verdict"]) == ("s1", "clear") and "s0 is not ranked: short" in said(found)


def test_too_few_prompts_in_common() -> None:
    made = table([1.0, 2.0], n=10)
    for s, gone in ((0, slice(0, 4)), (1, slice(6, 10))):
        made.tokens[s, gone] = made.scores["sppl"][s, gone] = np.nan
    assert decided(made)["evidence"]["runner_up"] is None
    assert "fewer than 3 prompts" in said(decided(made)) and decided(made)["evidence"]["chosen_for"] == "correctness"
    made = table([1.0, 2.0], n=2)
    assert decided(made)["verdict"] == "no_meaning"


def test_prompts_that_one_has_no_answer_to_are_left_out_for_all() -> None:
    made = table([1.0, 1.5, 2.5])
    made.tokens[0, :20] = made.scores["sppl"][0, :20] = np.nan
    found = decided(made)
    assert {row["n"] for row in found["evidence"]["ranking"]} == {40}
    assert "Compared on the 40 of 60 prompts that all strategies still in it have a score for." in found["evidence"]["notes"]
    assert rows(found)["s1"]["mean"] == pytest.approx(made.scores["sppl"][1, 20:].mean())


def test_dropped_ones_keep_their_row() -> None:
    made = table([1.0, 1.02, 1.6, 2.0], cost=[4.0, 3.0, 1.0, 1.0])
    run = Elimination(made.strategies, n=60)
    for upto in run.stages:
        run.look(made, upto)
    assert run.finish(made) == []
    found = decided(made, elimination=run, notes=["more"])
    row = rows(found)["s2"]
    assert (row["dropped"], row["n"], row["rank"], row["p"], row["first_share"]) == (
        {"look": 10, "by": row["dropped"]["by"]},
        10,
        3,
        None,
        None,
    )
    assert row["gap"] == pytest.approx((made.scores["sppl"][2] - made.scores["sppl"][0])[:10].mean(), abs=1e-9)
    assert (found["verdict"], found["strategy"]) == ("tie", "s1")  # and not the cheaper ones that were dropped
    evidence = found["evidence"]
    assert evidence["saved_share"] == pytest.approx(1 - 140 / 240) and evidence["looks"][0]["dropped"] == ["s2", "s3"]
    assert evidence["notes"] == ["more"] and "Dropped early, as clearly behind: s2 (after 10 prompts" in said(found)


def test_all_others_dropped_is_still_a_comparison() -> None:
    made = table([1.0, 1.15, 2.0], sd=0.02)
    run = Elimination(made.strategies, n=60)
    for upto in run.stages:
        run.look(made, upto)
    found = decided(made, elimination=run)
    assert (found["strategy"], found["verdict"], found["evidence"]["runner_up"]) == ("s0", "weak", "s1")
    assert "dropped after 10 prompts, by what was known then" in said(found)


@settings(deadline=None, max_examples=8)
@given(st.permutations(range(4)), st.permutations(range(15)), st.integers(0, 999), st.booleans())
def test_the_order_changes_nothing(order: list[int], columns: list[int], seed: int, failing: bool) -> None:
    rng = np.random.default_rng(seed)
    made = table(rng.choice([1.0, 1.1, 1.5], 4).tolist(), n=15, seed=seed, cost=[1.0, 2.0, 3.0, 4.0])
    if failing:
        made.tokens[rng.random((4, 15)) < 0.15] = np.nan
        made.scores["sppl"][np.isnan(made.tokens)] = np.nan
    other = Table.empty([made.strategies[i] for i in order], [made.ids[j] for j in columns])
    for name in ("correct", "truncated", "leaks", "tokens", "asked"):
        getattr(other, name)[:] = getattr(made, name)[order][:, columns]
    other.scores["sppl"][:], other.cost[:] = made.scores["sppl"][order][:, columns], made.cost[order]
    assert decided(other) == decided(made)


@settings(deadline=None, max_examples=8)
@given(st.floats(-3, 3), st.integers(0, 999))
def test_a_constant_moves_the_mean(constant: float, seed: int) -> None:
    made = table([1.0, 1.2, 1.4], seed=seed)
    before = rows(decided(made))["s1"]
    made.scores["sppl"][1] += constant
    after = rows(decided(made))["s1"]
    assert after["mean"] == pytest.approx(before["mean"] + constant, abs=1e-9)
    assert after["interval"] == pytest.approx([v + constant for v in before["interval"]], abs=1e-9)


@settings(deadline=None, max_examples=8)
@given(st.lists(st.floats(0.5, 2), min_size=1, max_size=4), st.integers(0, 999))
def test_a_copy_of_the_best_is_tied_with_it(means: list[float], seed: int) -> None:
    made = table([*means, 0.0], seed=seed)
    best = int(made.scores["sppl"][:-1].mean(axis=1).argmin())
    made.scores["sppl"][-1] = made.scores["sppl"][best]
    found = decided(made)
    assert found["verdict"] == "tie" and {found["evidence"]["best"], *found["evidence"]["tied"]} >= {f"s{best}", f"s{len(means)}"}


def test_it_is_quick_and_the_seed_decides() -> None:
    made = table(list(np.linspace(1, 2, 20)), n=1000, sd=0.3)
    started = time.process_time()
    found = decided(made, seed=1)
    assert time.process_time() - started < 2.0
    assert decided(made, seed=1) == found != decided(made, seed=2)


def test_an_unknown_score() -> None:
    with pytest.raises(DataError, match="no score ifd: the answers have sppl"):
        decide(table([1.0]), score="ifd")
