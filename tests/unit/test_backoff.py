"""An unsure answer goes up the taxonomy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.annotation.backoff import back_off, distances
from llmlabel.errors import DataError
from llmlabel.records import NONE_FITS, Label, Taxonomy

TWO = {"pay": None, "ship": None, "card": "pay", "cash": "pay", "late": "ship", "lost": "ship"}
LEAVES = ["card", "cash", "late", "lost"]


def tree(parents: dict[str, str | None]) -> Taxonomy:
    return Taxonomy(labels=[Label(id=k, name=k, parent=p) for k, p in parents.items()])


@st.composite
def trees(draw: st.DrawFn) -> Taxonomy:
    parents: dict[str, str | None] = {}
    for k in range(draw(st.integers(1, 12))):
        above = draw(st.integers(-1, k - 1))
        parents[f"n{k}"] = f"n{above}" if above >= 0 else None
    return tree(parents)


def walked(taxonomy: Taxonomy, a: str, b: str) -> int:
    """Edges from a up to the first label above both (or the root above all) and down to b."""
    up, down = [*taxonomy.path(a), "root"], [*taxonomy.path(b), "root"]
    return next(k + down.index(x) for k, x in enumerate(up) if x in down)


@given(trees())
@settings(deadline=None, max_examples=40)
def test_distances_are_path_lengths(taxonomy: Taxonomy) -> None:
    names = [label.id for label in taxonomy.labels]
    found = distances(taxonomy)
    assert [[walked(taxonomy, a, b) for b in names] for a in names] == found[:-1, :-1].tolist()
    assert found[-1].tolist() == [len(taxonomy.path(a)) + 1 for a in names] + [0]


@given(trees(), st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_it_is_the_cheapest_label_and_never_an_unseen_leaf(taxonomy: Taxonomy, seed: int) -> None:
    rng = np.random.default_rng(seed)
    leaves = [label.id for label in taxonomy.leaves]
    classes = list(rng.permutation(leaves)[: rng.integers(1, len(leaves) + 1)])
    probs = rng.dirichlet(np.full(len(classes), 0.4), size=5)
    labels, confidence = back_off(probs, classes, taxonomy)
    for row, label, sure in zip(probs, labels, confidence, strict=True):
        cost = {y.id: sum(p * walked(taxonomy, y.id, c) ** 2 for p, c in zip(row, classes, strict=True)) for y in taxonomy.labels}
        assert cost[label] == pytest.approx(min(cost.values()), abs=1e-6)
        assert label in classes or label not in leaves
        assert sure == pytest.approx(sum(p for p, c in zip(row, classes, strict=True) if c in taxonomy.under(label)))


def test_sure_torn_and_torn_far_apart() -> None:
    probs = [[0.97, 0.01, 0.01, 0.01], [0.49, 0.49, 0.01, 0.01], [0.8, 0.1, 0.05, 0.05], [0.8, 0.0, 0.1, 0.1]]
    labels, confidence = back_off(probs, LEAVES, tree(TWO))
    assert labels == ["card", "pay", "pay", "pay"]  # .8 + .9 and .8 + .8 are below 1.75
    np.testing.assert_allclose(confidence, [0.97, 0.98, 0.9, 0.8])


def test_two_levels_have_a_closed_form() -> None:
    probs = np.random.default_rng(0).dirichlet(np.full(4, 0.3), size=500)
    labels, _ = back_off(probs, LEAVES, tree(TWO))
    pairs = np.repeat(probs.reshape(-1, 2, 2).sum(axis=2), 2, axis=1)
    leaf, parent = (probs + pairs).argmax(axis=1), pairs[:, ::2].argmax(axis=1)
    sure = (probs + pairs).max(axis=1) > 1.75
    rule = [LEAVES[k] if s else ("pay", "ship")[q] for k, q, s in zip(leaf, parent, sure, strict=True)]
    assert labels == rule


def test_a_flat_taxonomy_gives_the_most_probable_class() -> None:
    probs = np.random.default_rng(1).dirichlet(np.ones(4), size=200)
    labels, confidence = back_off(probs, ["a", "b", "c", NONE_FITS], tree({"a": None, "b": None, "c": None, "d": None}))
    assert labels == [("a", "b", "c", NONE_FITS)[k] for k in probs.argmax(axis=1)]
    np.testing.assert_allclose(confidence, probs.max(axis=1))


def test_nobody_answers_none_fits_where_it_was_no_class() -> None:
    labels, _ = back_off(np.full((1, 4), 0.25), LEAVES, tree(TWO))
    assert labels[0] in TWO
    assert back_off([[0.05, 0.05, 0.9]], ["card", "late", NONE_FITS], tree(TWO))[0] == [NONE_FITS]
    assert back_off(np.zeros((0, 4)), LEAVES, tree(TWO))[0] == []


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="'crypto' is not a label"):
        back_off([[1.0, 0.0]], ["card", "crypto"], tree(TWO))
    with pytest.raises(DataError, match=r"\(rows, 4\)"):
        back_off([[1.0, 0.0]], LEAVES, tree(TWO))
    with pytest.raises(DataError, match="sum to 1"):
        back_off([[0.9, 0.9, 0.9, 0.9]], LEAVES, tree(TWO))
