"""The alternative annotator test against the published procedure written as loops, and where it has nothing to say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from llmlabel.annotation.truth.alt_test import alt_test
from llmlabel.errors import ConfigError, DataError


def votes(seed: int, rows: int = 120, humans: int = 4, right: float = 0.8, given: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(99).integers(0, 3, rows)
    said = np.where(rng.random((rows, humans)) < right, truth[:, None], rng.integers(0, 3, (rows, humans)))
    return np.where(rng.random((rows, humans)) < given, said, -1)


def by_loops(model: np.ndarray, humans: np.ndarray, epsilon: float) -> tuple[float, float]:
    """Winning rate and advantage probability as arXiv 2501.10970, algorithm 1, has them."""
    p_values, advantages = [], []
    for j in range(humans.shape[1]):
        differences, wins = [], []
        for i in np.flatnonzero(humans[:, j] >= 0):
            others = [v for h, v in enumerate(humans[i]) if h != j and v >= 0]
            if others:
                by_model, by_human = np.mean([v == model[i] for v in others]), np.mean([v == humans[i, j] for v in others])
                wins.append(by_model >= by_human)
                differences.append(float(by_human >= by_model) - float(by_model >= by_human))
        p_values.append(ttest_1samp(differences, epsilon, alternative="less").pvalue)
        advantages.append(np.mean(wins))
    m = len(p_values)
    under = np.sort(p_values) <= np.arange(1, m + 1) / m * 0.05 / np.sum(1 / np.arange(1, m + 1))
    return float((np.flatnonzero(under).max(initial=-1) + 1) / m), float(np.mean(advantages))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.floats(0.3, 0.95), st.sampled_from([0.1, 0.2]), st.sampled_from([0.7, 1.0]))
def test_same_as_the_published_procedure(seed: int, right: float, epsilon: float, given: float) -> None:
    humans, model = votes(seed, given=given), votes(seed + 5000, humans=1, right=right)[:, 0]
    found = alt_test(model, humans, annotators=epsilon)
    assert (found.winning_rate, found.advantage) == pytest.approx(by_loops(model, humans, epsilon))
    assert found.verdict == ("passes" if by_loops(model, humans, epsilon)[0] >= 0.5 else "fails")


def test_a_good_model_passes_and_a_guess_fails() -> None:
    good, guess = votes(1, rows=300, humans=1, right=0.95)[:, 0], votes(2, rows=300, humans=1, right=0.0)[:, 0]
    assert alt_test(good, votes(0, rows=300)).verdict == "passes"
    assert alt_test(guess, votes(0, rows=300)).verdict == "fails"


def test_no_answer_agrees_with_nobody() -> None:
    humans = votes(0, given=0.8)
    found = alt_test(np.full(120, -1), humans)
    assert found.verdict == "fails" and found.advantage is not None
    guess = alt_test(votes(2, humans=1, right=0.0)[:, 0], humans)
    assert guess.advantage is not None and found.advantage < guess.advantage


def test_the_model_against_its_own_twins() -> None:
    model = votes(3, humans=1)[:, 0]
    found = alt_test(model, np.stack([model] * 3, axis=1), annotators="crowd", names=["x", "y", "z"])
    assert found.verdict == "passes" and [c.annotator for c in found.humans] == ["x", "y", "z"]
    assert alt_test(model, np.stack([model] * 3, axis=1), annotators=0.0).verdict == "fails"


def test_one_human_gives_an_accuracy() -> None:
    model, human = np.array([0, 1, 1, 2]), np.array([[0], [1], [2], [-1]])
    found = alt_test(model, human)
    assert found.verdict == "cannot say" and found.winning_rate is None
    assert found.accuracy is not None and (found.accuracy.value, found.accuracy.rows) == (pytest.approx(2 / 3), 3)


def test_too_little_is_said_plainly() -> None:
    assert "no human labels" in alt_test(np.zeros(5, dtype=int), np.full((5, 2), -1)).why
    few = alt_test(votes(1, rows=20, humans=1)[:, 0], votes(0, rows=20))
    assert few.verdict == "cannot say" and few.skipped == {f"human {j}": 20 for j in (1, 2, 3, 4)}
    two = alt_test(votes(1, humans=1)[:, 0], votes(0, humans=2))
    assert two.verdict != "cannot say" and "weak evidence" in two.why


def test_a_human_with_few_rows_is_left_out_but_still_a_reference() -> None:
    humans = votes(0, humans=3)
    humans[20:, 2] = -1
    found = alt_test(votes(1, humans=1)[:, 0], humans)
    assert found.skipped == {"human 3": 20} and len(found.humans) == 2


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="expert, skilled, crowd"):
        alt_test(np.zeros(3, dtype=int), np.zeros((3, 2), dtype=int), annotators="novice")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="N = 3"):
        alt_test(np.zeros(3, dtype=int), np.zeros((4, 2), dtype=int))
