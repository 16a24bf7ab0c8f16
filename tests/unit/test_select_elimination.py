"""Which strategies are dropped on the way, by whom, and when they come back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_tables import table

from llmlabel.errors import DataError
from llmlabel.selection.answers import Table
from llmlabel.selection.elimination import Elimination, eliminate, first, looks, losses, revived


def race(made: Table, **settings_: object) -> Elimination:
    run = Elimination(made.strategies, n=len(made.ids), **settings_)  # type: ignore[arg-type]
    for upto in run.stages:
        run.look(made, upto)
    while run.finish(made):
        pass
    return run


@pytest.mark.parametrize(
    ("n", "wanted", "found"),
    [
        (100, [10, 20, 100], [10, 20, 100]),
        (15, [10, 20], [10, 15]),
        (5, [10, 20], [5]),
        (50, [], [50]),
        (30, [20, 10, 10], [10, 20, 30]),
    ],
)
def test_looks(n: int, wanted: list[int], found: list[int]) -> None:
    assert looks(n, wanted) == found


def test_who_is_far_behind_is_dropped_by_the_best_eligible() -> None:
    made = table([1.0, 1.0, 2.0])
    everyone = made.strategies
    assert eliminate(made, "sppl", 10, everyone, everyone) in ({"s2": "s0"}, {"s2": "s1"})
    assert eliminate(made, "sppl", 10, everyone, ["s1"]) == {"s2": "s1"}
    assert eliminate(made, "sppl", 10, everyone, ["s2"]) == {}  # the others are ahead of it
    assert eliminate(made, "sppl", 10, everyone, []) == {}
    assert eliminate(made, "sppl", 10, ["s0", "s1"], everyone) == {}
    assert eliminate(made, "sppl", 2, everyone, everyone) == {}


def test_the_bound_is_in_standard_errors_of_paired_differences() -> None:
    made = table([0.0, 0.0], n=9)
    d = np.array([0.4, 0.1, 0.2, 0.5, 0.3, 0.6, 0.0, 0.2, 0.4])
    made.scores["sppl"][:] = np.arange(9.0)  # prompts differ by more than strategies do
    made.scores["sppl"][1] += d
    at = float(d.mean() / (d.std(ddof=1) / 3))
    assert eliminate(made, "sppl", 9, ["s0", "s1"], ["s0"], drop_at=at - 0.01) == {"s1": "s0"}
    assert eliminate(made, "sppl", 9, ["s0", "s1"], ["s0"], drop_at=at + 0.01) == {}
    assert eliminate(made, "sppl", 9, ["s0", "s1"], ["s0"], drop_at=at - 0.01, margin=0.31) == {}


def test_differences_that_are_all_alike() -> None:
    made = table([1.0, 1.0, 1.0])
    made.scores["sppl"][1] = made.scores["sppl"][0]
    made.scores["sppl"][2] = made.scores["sppl"][0] + 0.1  # alike but for rounding
    assert eliminate(made, "sppl", 10, made.strategies, made.strategies) == {"s2": "s0"}
    assert eliminate(made, "sppl", 10, made.strategies, made.strategies, margin=0.2) == {}


def test_higher_is_better_for_ifd_and_cosine() -> None:
    made = table([0.9, 0.2], score="ifd")
    assert eliminate(made, "ifd", 20, made.strategies, made.strategies) == {"s1": "s0"}
    assert Elimination(made.strategies, n=60, score="ifd").margin == 0.0
    with pytest.raises(DataError, match="no score sppl: the answers have ifd"):
        losses(made, "sppl")


def test_missing_scores_are_left_out_in_pairs() -> None:
    made = table([1.0, 1.5, 3.0])
    made.scores["sppl"][1, :5] = np.nan
    made.scores["sppl"][2, :8] = np.nan
    everyone = made.strategies
    assert eliminate(made, "sppl", 10, everyone, ["s0", "s1"]) == {"s1": "s0"}  # s2: 2 pairs of 10
    assert set(eliminate(made, "sppl", 20, everyone, ["s0", "s1"])) == {"s1", "s2"}
    assert eliminate(made, "sppl", 10, everyone, everyone) == {}  # 2 prompts that all have


TABLES = st.builds(
    table,
    st.lists(st.floats(0.5, 3), min_size=1, max_size=5),
    n=st.integers(1, 40),
    sd=st.floats(0, 0.5),
    seed=st.integers(0, 999),
)


@settings(deadline=None, max_examples=25)
@given(TABLES, st.integers(1, 40), st.data())
def test_the_reference_is_never_dropped(made: Table, upto: int, data: st.DataObject) -> None:
    active = data.draw(st.lists(st.sampled_from(made.strategies), unique=True))
    eligible = data.draw(st.lists(st.sampled_from(made.strategies), unique=True))
    going = eliminate(made, "sppl", upto, active, eligible)
    assert set(going) <= set(active) and set(going.values()) <= set(active) & set(eligible)
    assert not set(going) & set(going.values()) and len(set(going.values())) <= 1
    mirrored = table([0.0] * len(made.strategies), n=len(made.ids))
    mirrored.strategies, mirrored.scores["sppl"] = made.strategies[::-1], made.scores["sppl"][::-1]
    assert eliminate(mirrored, "sppl", upto, active, eligible) == going


NAMES = st.sampled_from("abcdef")


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(NAMES, NAMES), st.sets(NAMES))
def test_coming_back_ends_and_hangs_on_who_dropped(dropped: dict[str, str], passed: set[str]) -> None:
    left, rounds = dict(dropped), 0
    while back := revived(left, passed):
        assert all(left[name] not in passed for name in back)
        left = {name: by for name, by in left.items() if name not in back}
        rounds += 1
    assert rounds <= len(dropped)
    assert revived(dropped, set("abcdef")) == [] and set(revived(dropped, set())) == set(dropped)


def test_coming_back_along_a_chain() -> None:
    dropped = {"a": "b", "b": "c"}  # c is ahead of b, and so of a
    assert revived(dropped, {"c"}) == []
    assert revived(dropped, {"b"}) == ["b"]
    assert revived(dropped, set()) == ["a", "b"]


def test_a_race() -> None:
    made = table([1.0, 1.0, 2.0, 1.2])
    run = race(made, wanted=[10, 20, 40])
    assert run.history[0] == {"n": 10, "kept": run.history[0]["kept"], "dropped": ["s2", "s3"]}
    assert [h["n"] for h in run.history] == [10, 20, 40, 60] and run.history[-1]["dropped"] == []
    assert run.seen == {"s0": 60, "s1": 60, "s2": 10, "s3": 10}
    assert run.saved_share == pytest.approx(1 - 140 / 240)
    assert race(made, wanted=[]).saved_share == 0


def test_it_reads_no_more_than_was_bought() -> None:
    full, slow = table([1.0, 1.3, 2.0, 1.1]), table([1.0, 1.3, 2.0, 1.1])
    run, again = (Elimination(full.strategies, n=60) for _ in range(2))
    full.scores["sppl"][:, 40:] += np.array([9.0, 0, 0, 0])[:, None]
    for upto in run.stages[:3]:  # one sees a table that is full, the other what is known by then
        part = first(slow, dict.fromkeys(again.active, upto) | {name: one.look for name, one in again.dropped.items()})
        assert run.look(full, upto) == again.look(part, upto)
    assert run.history == again.history and run.seen == again.seen
    known = run.known(full)
    assert known.asked.sum(axis=1).tolist() == [run.seen[name] for name in full.strategies]
    assert np.isnan(known.scores["sppl"][~known.asked]).all() and np.isnan(known.tokens[~known.asked]).all()


def test_nobody_is_dropped_within_a_tie_or_at_the_end() -> None:
    made = table([1.0, 1.03], sd=0.005)
    assert race(made).dropped == {} and set(race(made, margin=0.0).dropped) == {"s1"}
    assert race(table([1.0, 2.0]), wanted=[60, 80]).dropped == {}


def test_who_was_dropped_by_one_that_fails_comes_back() -> None:
    made = table([1.0, 1.5, 1.52])
    made.correct[0, 10:] = 0  # right at first
    run = race(made, wanted=[10])
    assert run.dropped == {} and run.saved_share == 0 and set(run.active) == set(made.strategies)
    assert run.notes[0] == "s1, dropped after 10 prompts, came back: s0, which dropped it, failed correctness"


def test_who_fails_the_gates_drops_nobody_but_can_be_dropped() -> None:
    made = table([1.0, 2.0, 3.0])
    made.truncated[0, :3] = made.truncated[2, :3] = 1
    assert {name: one.by for name, one in race(made).dropped.items()} == {"s2": "s1"}


def test_short_answers_stay_out_of_it() -> None:
    made = table([1.0, 2.0, 3.0])
    made.tokens[0] = made.tokens[2] = 2
    assert race(made).dropped == {}


def test_collapse_is_for_the_end() -> None:
    made = table([1.0, 2.0, 2.0])
    made.diversity[:] = [0.1, 0.5, 0.5]  # known of a finished run only
    run = Elimination(made.strategies, n=60)
    assert set(run.look(made, 10)) == {"s1", "s2"}
    run.look(made, 60)
    assert sorted(run.finish(made)) == ["s1", "s2"] and run.finish(made) == []


@settings(deadline=None, max_examples=20)
@given(TABLES, st.integers(0, 9999))
def test_a_race_ends_and_keeps_somebody(made: Table, seed: int) -> None:
    rng = np.random.default_rng(seed)
    made.correct[:] = rng.integers(0, 2, made.correct.shape)
    made.truncated[:] = rng.random(made.correct.shape) < 0.03
    run = race(made, wanted=[5, 10, 20])
    assert run.active and set(run.active) | set(run.dropped) == set(made.strategies)
    assert not set(run.active) & set(run.dropped) and 0 <= run.saved_share < 1


def test_one_strategy() -> None:
    assert race(table([1.0])).active == ["s0"]
