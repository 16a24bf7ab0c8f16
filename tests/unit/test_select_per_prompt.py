"""One strategy for each prompt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.errors import DataError
from llmlabel.selection.answers import Table
from llmlabel.selection.per_prompt import per_prompt, shares


def table(ppl: list[list[float]], score: str = "ppl") -> Table:
    made = Table.empty([f"s{i}" for i in range(len(ppl))], [f"q{j}" for j in range(len(ppl[0]))], [score])
    made.scores[score][:] = ppl
    made.tokens[:] = np.where(np.isnan(made.scores[score]), np.nan, 30)
    return made


def test_the_likeliest_answer_is_taken() -> None:
    chosen = per_prompt(table([[1.0, 2.0, 3.0], [2.0, 1.0, np.nan]]), {"s0", "s1"})
    assert chosen == {"q0": "s0", "q1": "s1", "q2": "s0"}
    assert shares(chosen) == {"s0": 2 / 3, "s1": 1 / 3}


def test_only_those_that_pass_and_never_one_that_tells_of_its_hint() -> None:
    made = table([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    made.leaks[1, 0] = 1
    assert per_prompt(made, {"s1", "s2"}) == {"q0": "s2", "q1": "s1"}
    assert per_prompt(made, set()) == {} == shares({})


def test_a_right_answer_goes_before_a_likelier_one() -> None:
    made = table([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    made.correct[:] = [[0, 0, np.nan], [1, 0, np.nan]]
    assert per_prompt(made, {"s0", "s1"}) == {"q0": "s1", "q1": "s0", "q2": "s0"}


def test_higher_is_better_where_it_is() -> None:
    assert per_prompt(table([[0.1], [0.9]], "cosine"), {"s0", "s1"}, "cosine") == {"q0": "s1"}
    with pytest.raises(DataError, match="no score ppl"):
        per_prompt(table([[0.1]], "cosine"), {"s0"})


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(4)), st.permutations(range(6)), st.integers(0, 99))
def test_the_order_changes_nothing(rows: list[int], columns: list[int], seed: int) -> None:
    made = table(np.random.default_rng(seed).integers(1, 4, (4, 6)).astype(float).tolist())  # with ties
    other = table(made.scores["ppl"][rows][:, columns].tolist())
    other.strategies, other.ids = [made.strategies[i] for i in rows], [made.ids[j] for j in columns]
    assert per_prompt(made, set(made.strategies)) == per_prompt(other, set(made.strategies))
