"""Groups and names for them, on vectors whose groups are known; the model is a function."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.taxonomy.edits import Limits
from llmlabel.taxonomy.groups import Groups, ward
from llmlabel.taxonomy.keywords import split, typical_keywords
from llmlabel.taxonomy.naming import _choose, _plain, _usable


def blobs(count: int, rows: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.normal(size=(32, 32)))[0][:count]
    truth = np.arange(count * rows) % count
    vectors = centres[truth] + 0.08 * rng.normal(size=(len(truth), 32))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), truth


@pytest.mark.parametrize("count", [4, 6, 9])
def test_ward_finds_the_number_of_groups(count: int) -> None:
    vectors, truth = blobs(count)
    found = ward(vectors, max_labels=25)
    assert len(set(found.tolist())) == count
    pairs = set(zip(found.tolist(), truth.tolist(), strict=True))
    assert len(pairs) == count, "every group is one blob"


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 3))
def test_ward_keeps_the_cap_and_numbers_groups_densely(rows: int, cap: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).integers(0, 3, size=(rows, 3)).astype(np.float32)
    found = ward(vectors, cap)
    assert len(found) == rows
    assert set(found.tolist()) == set(range(found.max() + 1))
    assert found.max() < max(cap, 1)


def groups(count: int = 3) -> Groups:
    vectors, truth = blobs(count)
    return Groups([f"text {i} of topic{t}" for i, t in enumerate(truth)], vectors, truth.astype(np.int64))


def test_typical_texts_belong_to_the_group_and_differ() -> None:
    made = groups()
    shown = made.typical(1, 6)
    assert len(shown) == len(set(shown)) == 6
    assert {int(made.assignment[i]) for i in shown} == {1}
    assert made.neighbours(1, 9) == sorted(made.neighbours(1, 9), key=lambda j: -float(made.centres[j] @ made.centres[1]))


def test_the_distribution_is_sure_of_clear_groups() -> None:
    probs = groups().distribution()
    np.testing.assert_allclose(probs.sum(1), 1)
    assert (probs.argmax(1) == groups().assignment).all()


def test_keywords_are_ranked_by_contrast() -> None:
    made = Groups(["a"] * 12, np.eye(12, dtype=np.float32), np.array([0] * 6 + [1] * 6))
    lines = ["bank, card, money"] * 6 + ["bank, loan, money"] * 6
    assert typical_keywords(made, lines)[0][0] == "card"
    assert typical_keywords(made, lines)[1][0] == "loan"
    assert split("Credit card,, x, travel ") == ["Credit card", "travel"]


class _Setting:
    """What naming needs of a setting: limits, and vectors that put a name at the group its number says."""

    limits = Limits(max_labels=9, name_words=4, description_words=20, taken=("Loans",))

    def encode(self, names: list[str]) -> np.ndarray:
        rows = np.eye(3, dtype=np.float32)
        return np.stack([rows[int(n[-1]) % 3] if n[-1].isdigit() else rows.mean(0) for n in names])


def test_names_that_cannot_stand_are_left_out() -> None:
    made = groups()
    offered = ["Other", "Topic 5 Things", "Card Payments", "card payments", "Much Too Long A Name", "Text 1 of topic1", "Loan"]
    kept = [c.name for c in _usable(1, offered, ["refund", "misc"], made, _Setting())]
    assert kept == ["Card Payments", "Refund"]


def test_no_two_groups_share_a_name() -> None:
    from llmlabel.taxonomy.naming import _Candidate

    candidates = [_Candidate(0, "Refunds", 0), _Candidate(1, "Refund", 0), _Candidate(1, "Cards", 1), _Candidate(2, "Refunds", 0)]
    chosen = _choose(candidates, [np.eye(3)], groups(), _Setting())
    assert len({name.rstrip("s") for name in chosen.values()}) == len(chosen)
    assert chosen[1] == "Cards" or 1 in chosen


def test_openings_are_taken_off_descriptions() -> None:
    assert _plain("This category includes texts about late trains.") == "Late trains."
    assert _plain("Late  trains") == "Late trains"
