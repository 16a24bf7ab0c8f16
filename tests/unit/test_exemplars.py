"""The target's own answers before a question: how many, whose, how evenly."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlabel.errors import ConfigError
from llmlabel.records import Status
from llmlabel.selection.answers import OWN, Answer, Question
from llmlabel.selection.exemplars import Pool


def asked(number: int, gold: str | None = "1") -> list[Question]:
    return [Question(f"q{i}", f"What is {i}?", gold) for i in range(number)]


def own(questions: list[Question], correct: list[bool | None]) -> list[list[Answer]]:
    return [[Answer(q.id, OWN, f"It is {q.id}.", correct=c)] for q, c in zip(questions, correct, strict=True)]


@given(st.lists(st.booleans(), min_size=10, max_size=60), st.integers(1, 5), st.integers(0, 3))
def test_every_question_gets_k_of_others_and_groups_are_used_evenly(correct: list[bool], k: int, seed: int) -> None:
    questions = asked(len(correct))
    pool = Pool.of(questions, own(questions, correct), k, seed)
    assert pool.enough is (sum(correct) >= max(10, 2 * k))
    if not pool.enough:
        return
    used: Counter[int] = Counter()
    for question in questions:
        shown = pool.before(question)
        assert len({other.id for other, _ in shown}) == k
        assert question.id not in {other.id for other, _ in shown}
        assert all(answer.correct and answer.id == other.id for other, answer in shown)
        used[pool.group(question)] += 1
    assert len(pool.groups) == sum(correct) // k
    assert max(used.values()) - min(used[g] for g in range(len(pool.groups))) <= k + 1
    assert pool == Pool.of(questions, own(questions, correct), k, seed)


def test_seeds_cut_other_groups() -> None:
    questions = asked(30)
    made = [Pool.of(questions, own(questions, [True] * 30), 3, seed).groups for seed in range(2)]
    assert made[0] != made[1]


def test_the_first_correct_answer_is_shown() -> None:
    questions = asked(12)
    answers = [
        [Answer(q.id, OWN, "no", correct=False), Answer(q.id, OWN, "yes", correct=True), Answer(q.id, OWN, "late", correct=True)]
        for q in questions
    ]
    pool = Pool.of(questions, answers)
    assert pool.kind == "verified"
    assert {answer.text for group in pool.groups for _, answer in group} == {"yes"}


def test_fewer_than_ten_correct_ones_are_not_enough() -> None:
    questions = asked(20)
    pool = Pool.of(questions, own(questions, [True] * 9 + [False] * 11))
    assert not pool.enough
    assert "a correct answer to 9 of 20 prompts, 10 are needed" in pool.why
    assert "plain perplexity" in pool.why
    with pytest.raises(ConfigError, match="9 of 20"):
        pool.before(questions[0])


def test_two_groups_are_needed_whatever_the_least() -> None:
    """With one group its own members would have nobody before them."""
    questions = asked(19)
    assert not Pool.of(questions, own(questions, [True] * 19), k=10).enough


def test_without_gold_whole_answers_do() -> None:
    questions = asked(12, gold=None)
    answers = own(questions, [None] * 12)
    answers[0] = [Answer("q0", OWN, "cut off", Status.TRUNCATED, truncated=True)]
    answers[1] = [Answer("q1", OWN, " ")]
    pool = Pool.of(questions, answers)
    assert (pool.kind, pool.answered, pool.enough) == ("unverified", 10, True)
    assert "unchecked because there is no gold" in pool.why


def test_an_unchecked_answer_is_no_exemplar_where_there_is_gold() -> None:
    questions = asked(12)
    assert Pool.of(questions, own(questions, [None] * 12)).answered == 0


def test_one_text_twice_is_never_its_own_exemplar() -> None:
    questions = [*asked(12), Question("again", "what IS  3?", "1")]
    pool = Pool.of(questions, own(questions, [True] * 13))
    assert pool.answered == 12
    for question in (questions[3], questions[-1]):
        assert "q3" not in {other.id for other, _ in pool.before(question)}


def test_very_long_answers_are_left_out_as_long_as_enough_remain() -> None:
    questions = asked(14)
    answers = own(questions, [True] * 14)
    for i in range(3):
        answers[i] = [Answer(f"q{i}", OWN, "word " * (100 + i), correct=True)]
    pool = Pool.of(questions, answers)
    assert (pool.too_long, pool.enough) == (3, True)
    assert "to 14 of 14 prompts, 3 of them too long to show; 3 groups" in pool.why
    fewer = Pool.of(questions[:12], answers[:12])
    assert (fewer.too_long, fewer.enough) == (2, True), "the shortest of them makes ten"


def test_a_question_that_comes_later_gets_the_same_exemplars_every_time_and_never_its_own_text() -> None:
    questions = asked(12)
    pool = Pool.of(questions, own(questions, [True] * 12))
    shown = {tuple(q.id for q, _ in pool.before(Question(f"later-{i}", "Who?"))) for i in range(60)}
    assert shown == {tuple(q.id for q, _ in group) for group in pool.groups}
    assert pool.before(Question("x", "Who?")) == pool.before(Question("x", "Who?"))
    for n, question in enumerate(questions):
        assert question.text not in {q.text for q, _ in pool.before(Question(f"copy-{n}", question.text))}
