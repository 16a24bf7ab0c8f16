"""Agreement against worked examples and the library, and errors that two annotators share."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from llmlabel.annotation.consensus.agreement import alpha, cohen_kappa, raw_agreement, table
from llmlabel.annotation.consensus.dependence import effective_number, shared_errors
from llmlabel.errors import DataError

NAMES = ["ann", "bob", "cid", "dee", "eve"]


def votes_of(copy: float, rows: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Five annotators right in 7 of 10 rows; the last repeats the one before it in a share `copy` of rows."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, rows)
    wrong = (truth[:, None] + rng.integers(1, 4, (rows, 5))) % 4
    votes = np.where(rng.random((rows, 5)) < 0.7, truth[:, None], wrong)
    votes[:, 4] = np.where(rng.random(rows) < copy, votes[:, 3], votes[:, 4])
    return votes, truth


def test_alpha_of_krippendorffs_example() -> None:
    rows = [
        [-1] * 5 + [2, 3, 0, 1, 0, 0, 2, 2, -1, 2],
        [0, -1, 1, 0, 2, 2, 3, 2] + [-1] * 7,
        [-1, -1, 1, 0, 2, 3, 3, -1, 1, 0, 0, 2, 2, -1, 3],
    ]
    assert alpha(np.array(rows).T, 4) == pytest.approx(0.691358, abs=1e-6)


def test_alpha_where_it_is_undefined_and_at_its_ends() -> None:
    assert alpha(np.array([[0, -1], [1, -1]]), 2) is None
    assert alpha(np.zeros((5, 3), dtype=int), 2) is None
    assert alpha(np.array([[0, 0], [1, 1], [2, 2]]), 3) == 1.0


def test_alpha_of_many_rows_is_close_to_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    votes, _ = votes_of(0.0, 6000)
    whole = alpha(votes, 4)
    monkeypatch.setattr("llmlabel.annotation.consensus.agreement.MOST_CELLS", 3000 * 16)
    assert alpha(votes, 4) != whole and alpha(votes, 4) == pytest.approx(whole, abs=0.03)


def test_kappa_is_scikit_learns() -> None:
    votes, _ = votes_of(0.5)
    found = cohen_kappa(votes, 4)
    for i, j in ((0, 1), (3, 4)):
        assert found[i, j] == pytest.approx(cohen_kappa_score(votes[:, i], votes[:, j]))
    assert raw_agreement(votes, 4)[3, 4] == pytest.approx(np.mean(votes[:, 3] == votes[:, 4]))


def test_annotators_without_a_common_row() -> None:
    votes = np.array([[0, -1], [-1, 1]])
    assert np.isnan(cohen_kappa(votes, 2)[0, 1]) and np.isnan(raw_agreement(votes, 2)[0, 1])


def test_shared_errors_with_gold_name_the_copy_and_nobody_else() -> None:
    votes, truth = votes_of(0.6)
    found = shared_errors(votes, 4, truth, NAMES)
    assert [(pair.first, pair.second) for pair in found] == [(3, 4)]
    pair = found[0]
    assert pair.observed == np.sum((votes[:, 3] == votes[:, 4]) & (votes[:, 3] != truth))
    assert pair.expected == pytest.approx(600 * 0.3**2 / 3, rel=0.4)
    assert "dee and eve gave the same wrong label in" in pair.sentence
    assert shared_errors(votes_of(0.0)[0], 4, truth) == []


def test_shared_errors_without_gold() -> None:
    found = shared_errors(votes_of(0.9)[0], 4, names=NAMES)
    assert [(pair.first, pair.second) for pair in found] == [(3, 4)]
    assert "dee and eve agree in" in found[0].sentence and found[0].p_value is None
    assert shared_errors(votes_of(0.0)[0], 4) == []


def test_good_annotators_among_poor_ones_are_not_taken_for_copies() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 2000)
    skills = np.array([0.95, 0.95, 0.6, 0.6, 0.6])
    votes = np.where(rng.random((2000, 5)) < skills, truth[:, None], (truth[:, None] + rng.integers(1, 4, (2000, 5))) % 4)
    assert shared_errors(votes, 4) == []


def test_effective_number() -> None:
    independent, truth = votes_of(0.0)
    assert effective_number(independent, 4, truth) > 4.5
    clones = np.repeat(independent[:, :1], 5, axis=1)
    assert effective_number(clones, 4, truth) == pytest.approx(1.0)
    assert effective_number(independent, 4) == 5.0
    assert effective_number(votes_of(1.0)[0], 4) == pytest.approx(4.0)


def test_table() -> None:
    votes = np.array([[0, 1, 1], [1, 1, -1], [0, 1, 0], [1, 1, -1]])
    rows = table(votes, 2, gold=np.array([0, 1, 1, -1]), consensus=np.array([0, 1, 0, -1]), names=["x", "y", "z"])
    assert [r.coverage for r in rows] == [1.0, 1.0, 0.5]
    assert [(r.gold_rows, r.accuracy) for r in rows] == [(3, 2 / 3), (3, 2 / 3), (2, 0.0)]
    assert [r.constant for r in rows] == [False, True, False]
    assert [r.with_consensus for r in rows] == [1.0, 1 / 3, 0.5]
    assert rows[0].low is not None and rows[0].high is not None and rows[0].low < 2 / 3 < rows[0].high


def test_table_without_gold_and_bad_names() -> None:
    row = table(np.array([[0], [-1]]), 2)[0]
    assert (row.accuracy, row.low, row.with_consensus, row.constant) == (None, None, None, False)
    with pytest.raises(DataError, match="2 names for 1"):
        table(np.array([[0]]), 2, names=["a", "b"])
