"""What a taxonomy misses: the unseen share, and groups among the texts that no label fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.annotation.truth.coverage import clusters_of_rest, missing_mass, none_fits
from llmlabel.errors import DataError
from llmlabel.stats import wilson


def test_missing_mass_by_hand() -> None:
    found = missing_mass(["a", "A ", "b", "b", "b", "c", "d", "e", "f", "f"])
    assert (found.labels, found.singletons, found.rows, found.share) == (6, 3, 10, 0.3)
    assert found.unseen_labels == pytest.approx(0.9 * 3 * 2 / (2 * 3))
    assert found.low == 0.0 < found.share < found.high


def test_one_label_leaves_little_unseen() -> None:
    found = missing_mass(["a"] * 100)
    assert (found.share, found.low, found.unseen_labels) == (0.0, 0.0, 0.0)
    assert 0.02 < found.high < 0.05


def test_only_new_labels_leave_all_unseen() -> None:
    found = missing_mass([f"label {i}" for i in range(50)])
    assert found.share == found.high == 1.0 and found.low > 0.8


def test_no_labels_are_refused() -> None:
    with pytest.raises(DataError, match="no labels"):
        missing_mass([])


@pytest.mark.parametrize("rows", [50, 200])
def test_the_interval_holds_the_unseen_share(rows: int) -> None:
    p = 1 / np.arange(1, 151)
    p /= p.sum()
    rng, hits = np.random.default_rng(rows), []
    for _ in range(300):
        drawn = rng.choice(150, rows, p=p)
        found = missing_mass(map(str, drawn))
        hits.append(found.low <= 1 - p[np.unique(drawn)].sum() <= found.high)
    assert 0.91 <= np.mean(hits) <= 0.99


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=60), st.randoms())
def test_order_does_not_matter(labels: list[str], random: object) -> None:
    assert missing_mass(labels) == missing_mass(sorted(labels))
    assert missing_mass(labels).low <= missing_mass(labels).high


def test_none_fits_has_wilsons_interval() -> None:
    found = none_fits(np.array([True] * 45 + [False] * 5))
    assert found is not None and (found.low, found.high) == pytest.approx(wilson(5, 50))
    assert none_fits(np.zeros(0, dtype=bool)) is None


def blobs(sizes: tuple[int, ...], noise: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.eye(64)[: len(sizes)]
    parts = [c + rng.normal(0, 0.05, (n, 64)) for c, n in zip(centres, sizes, strict=True)]
    x = np.concatenate([*parts, rng.normal(size=(noise, 64))])
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_groups_are_found_and_noise_is_left_out() -> None:
    x = blobs((40, 25), noise=30)
    first, second = clusters_of_rest(x, min_size=10)
    assert len(set(first.rows) & set(range(40))) >= 35 and len(set(second.rows) & set(range(40, 65))) >= 22
    assert len({*first.rows, *second.rows} & set(range(65, 95))) <= 3
    assert first.cohesion > 0.8
    assert clusters_of_rest(x, min_size=10) == [first, second]


def test_central_rows_come_first() -> None:
    x = blobs((40,) * 2, noise=0)
    for group in clusters_of_rest(x, min_size=10):
        centre = x[group.rows].mean(axis=0)
        assert (np.diff(x[group.rows] @ centre) <= 1e-9).all()


def test_too_few_texts_are_no_group() -> None:
    assert clusters_of_rest(blobs((5,), noise=0), min_size=10) == []
    assert clusters_of_rest(np.zeros((0, 8)), min_size=10) == []


def test_texts_all_alike_are_one_group() -> None:
    (group,) = clusters_of_rest(np.tile(np.eye(8)[:1], (30, 1)), min_size=10)
    assert group.rows == list(range(30)) and group.cohesion == pytest.approx(1.0)
