"""What keeps a strategy out of a selection's ranking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.selection.answers import Table
from llmlabel.selection.gates import Gate, gates, leaks
from llmlabel.stats import wilson


def table(strategies: int = 3, n: int = 100) -> Table:
    """All asked, answered in 50 tokens, scored and right."""
    made = Table.empty([f"s{i}" for i in range(strategies)], [str(j) for j in range(n)])
    made.asked[:] = True
    made.tokens[:] = 50
    made.scores["sppl"][:] = 1.0
    made.correct[:] = 1
    made.truncated[:] = made.leaks[:] = 0
    return made


def gate(made: Table, name: str, strategy: str = "s0") -> Gate:
    return next(g for g in gates(made, "sppl")[strategy].gates if g.gate == name)


def test_all_is_well() -> None:
    found = gates(table(), "sppl")
    assert all(one.passed and one.usable and not one.warnings for one in found.values())


def test_failed_answers_count_under_answered_only() -> None:
    made = table()
    for values in (made.tokens, made.leaks, made.scores["sppl"], made.correct):
        values[0, :50] = np.nan
    found = gates(made, "sppl")["s0"]
    assert found.passed and found.warnings == ["50 of 100 prompts have no whole answer"]
    assert gate(made, "correctness").note.startswith("50 of 50 right")
    made.tokens[0, 50] = made.leaks[0, 50] = np.nan
    assert not gate(made, "answered").passed and gate(made, "answered").value == 0.49


def test_answers_the_target_could_not_score_are_answers() -> None:
    made = table()
    made.tokens[0], made.scores["sppl"][0] = np.nan, np.nan
    assert gate(made, "answered").passed and not gate(made, "scored").passed
    assert gate(made, "scored").note == "0 of 100 answers have sppl"


def test_what_was_never_asked_is_out() -> None:
    made = table()
    made.asked[0] = False
    assert not gate(made, "answered").passed


def test_correctness_is_five_points_below_the_best_lower_bound() -> None:
    made = table()
    made.correct[1, :10] = 0  # of 100
    best, mine = wilson(100, 100)[0], wilson(90, 100)[0]
    found = gate(made, "correctness", "s1")
    assert (found.value, found.bound) == pytest.approx((mine, best - 0.05))
    assert not found.passed and gate(made, "correctness", "s0").passed and "chance" not in found.note
    made.correct[1, :9] = 1
    assert gate(made, "correctness", "s1").passed


def test_what_may_be_chance_passes_and_says_so() -> None:
    made = table(2)
    made.correct[0, :10] = 0
    made.correct[1, 8:25] = 0  # 10 wrong against 17
    found = gate(made, "correctness", "s1")
    assert found.passed and "below the bound, but this may be chance (p = 0.11)" in found.note
    made.correct[1, 25:32] = 0  # against 24
    assert not gate(made, "correctness", "s1").passed


def test_few_right_answers_are_compared_with_as_few() -> None:
    made = table()
    for values in (made.tokens, made.scores["sppl"], made.correct):
        values[1, 10:] = np.nan
    made.asked[1, 10:] = False
    assert gate(made, "correctness", "s1").passed  # 10 of 10 is as good as can be, though its bound is .72
    made.correct[1, :8] = 0
    assert not gate(made, "correctness", "s1").passed


def test_who_is_out_anyway_does_not_set_the_bar() -> None:
    made = table()
    made.correct[1:, :20] = 0
    made.correct[2, 20:40] = 0
    assert not gate(made, "correctness", "s1").passed
    made.leaks[0, :9] = 1  # right, because it was told
    assert gate(made, "correctness", "s1").passed and not gate(made, "correctness", "s2").passed
    assert gate(made, "correctness", "s0").passed


def test_without_gold_correctness_is_not_known_and_passes() -> None:
    made = table()
    made.correct[:] = np.nan
    assert gate(made, "correctness") == Gate("correctness", None, None, True, "not known: no gold, or no answer was checked")


@pytest.mark.parametrize(
    ("hits", "n", "passed"), [(0, 100, True), (1, 100, True), (2, 100, False), (1, 10, True), (2, 10, False)]
)
@pytest.mark.parametrize("name", ["truncation", "leakage"])
def test_two_in_a_hundred_are_too_many_and_one_says_little(name: str, hits: int, n: int, passed: bool) -> None:
    made = table(n=n)
    (made.truncated if name == "truncation" else made.leaks)[0, :hits] = 1
    found = gate(made, name)
    assert found.passed is passed and found.value == hits / n and f"{hits} of {n}" in found.note


def test_unknown_truncation_passes_with_a_note() -> None:
    made = table()
    made.truncated[0] = np.nan
    assert gate(made, "truncation") == Gate("truncation", None, 0.02, True, "not known")


def test_collapse_needs_three_strategies() -> None:
    made = table()
    made.diversity[:] = [0.4, 0.6, 0.7]
    assert not gate(made, "collapse", "s0").passed and gate(made, "collapse", "s1").passed
    made.diversity[2] = np.nan
    assert gate(made, "collapse", "s0").passed and "3 strategies" in gate(made, "collapse", "s0").note


def test_short_answers_cannot_be_ranked_but_can_be_used() -> None:
    made = table()
    made.tokens[0] = 5
    one = gates(made, "sppl")["s0"]
    assert one.short and one.usable and not one.passed
    assert "not a way of writing" in one.failed[0].note
    made.tokens[0, :51] = 6
    assert gates(made, "sppl")["s0"].passed


def test_answers_without_a_score_cannot_be_ranked() -> None:
    made = table()
    made.scores["sppl"][0, :51] = np.nan
    one = gates(made, "sppl")["s0"]
    assert [g.gate for g in one.failed] == ["scored"] and one.usable


@pytest.mark.parametrize(("ratio", "warned"), [(0.2, True), (0.25, False), (4.0, False), (4.1, True), (np.nan, False)])
def test_length_is_a_warning_and_no_gate(ratio: float, warned: bool) -> None:
    made = table()
    made.length_ratio[0] = ratio
    one = gates(made, "sppl")["s0"]
    assert one.passed and bool(one.warnings) is warned


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(4)), st.permutations(range(12)), st.integers(0, 2**31))
def test_the_order_changes_nothing(rows: list[int], columns: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = table(4, 12)
    made.correct[:] = rng.integers(0, 2, (4, 12))
    made.truncated[:] = rng.random((4, 12)) < 0.1
    made.tokens[:] = np.where(rng.random((4, 12)) < 0.4, np.nan, rng.integers(1, 12, (4, 12)))
    other = table(4, 12)
    other.strategies = [made.strategies[i] for i in rows]
    for name in ("correct", "truncated", "tokens"):
        getattr(other, name)[:] = getattr(made, name)[rows][:, columns]
    one, two = gates(made, "sppl"), gates(other, "sppl")
    for name in made.strategies:
        assert [(g.gate, g.value, g.passed) for g in one[name].gates] == [(g.gate, g.value, g.passed) for g in two[name].gates]


LEAKING = [
    "The gold label is travel, so I choose travel.",
    "This matches the gold-standard answer.",
    "As given in the hint, the label is banking.",
    "According to the hint, it is 42.",
    "The hint says that this is a complaint.",
    "Based on the provided hint, B.",
    "The reference answer is 7 because",
    "which agrees with the reference solution.",
    "The provided answer, 12, follows from",
    "To arrive at the given label, consider the word refund.",
    "The label provided is 'credit card'.",
    "Since the label was given as urgent,",
    "I was told the correct answer is 5.",
    "We are given the label 'travel'.",
    "The expected answer is 18.",
    "Ground truth label: sports.",
    "The ground-truth answer supports this.",
    "According to the answer key, C.",
    "the already assigned label" + " is wrong; the pre-assigned label is right",
]
CLEAN = [
    "The correct answer is 42.",
    "The answer is B.",
    "So the right label is travel.",
    "Of the given labels, travel fits best.",
    "The provided label definitions mention flights.",
    "The given label descriptions are close, but travel fits.",
    "None of the provided answer choices fits; the closest is B.",
    "From the given equation, the solution is x = 3.",
    "The given information says that she has 3 apples.",
    "The correct answer is given by x = 3.",
    "There is a hint of irony here.",
    "He won a gold medal; the gold standard was abandoned in 1971.",
    "We are given that x + y = 3.",
    "We are told the train leaves at noon.",
    "In reference to your question, the label is travel.",
    "The customer answered the question, so the label is support.",
    "The expected delivery date has passed.",
    "The label on the bottle says poison.",
    "**Answer Key:** 1. finished, 2. styled",
    "",
]


@pytest.mark.parametrize("text", LEAKING)
def test_telling_of_a_hint(text: str) -> None:
    assert leaks(text) and leaks(text.upper())


@pytest.mark.parametrize("text", CLEAN)
def test_not_telling_of_a_hint(text: str) -> None:
    assert not leaks(text)


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=60), st.text(max_size=60))
def test_a_hint_is_found_anywhere(before: str, after: str) -> None:
    assert leaks(f"{before}\nthe gold label\n{after}")
