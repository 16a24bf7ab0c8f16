"""Filters and the label-free reliability behind them: what goes is likely wrong, no class dies, and no truth is looked at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import entropy

from llmlabel.errors import ConfigError
from llmlabel.graph.filters import filter, names, ps
from llmlabel.graph.graph import Annotated, Graph, IntArray, adjacency
from llmlabel.graph.neighbours import HEAD, with_neighbours
from llmlabel.graph.reliability import agreement, cells, neighbour_votes, reliability, shifted
from llmlabel.records import Example


def planted(size: int = 240, classes: int = 4, seed: int = 0) -> tuple[Graph, IntArray]:
    """Nodes of `classes` kinds with features and edges to match, and their kinds."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=size)
    x = np.eye(classes)[truth] + rng.normal(scale=0.4, size=(size, classes))
    a, b = rng.integers(size, size=(2, 12 * size))
    same = (truth[a] == truth[b]) | (rng.random(len(a)) < 0.05)
    return Graph(adjacency(size, a[same], b[same]), x.astype(np.float32), classes, np.ones(size, bool)), truth


def noisy(truth: IntArray, wrong: float, seed: int, told: bool = True) -> tuple[Annotated, IntArray]:
    """80 annotated nodes, and which of them are wrong; confidence tells a little."""
    rng = np.random.default_rng(seed)
    nodes = rng.choice(len(truth), 80, replace=False)
    bad = rng.random(80) < wrong
    labels = np.where(bad, (truth[nodes] + rng.integers(1, 4, 80)) % 4, truth[nodes])
    sure = np.clip(rng.normal(0.8 - 0.2 * bad, 0.1), 0, 1) if told else np.full(80, np.nan)
    return Annotated(nodes, labels, sure, list("abcd")), bad


class TestEveryFilter:
    @pytest.mark.parametrize("name", names())
    @pytest.mark.parametrize("told", [True, False])
    def test_drops_wrong_ones_first(self, name: str, told: bool) -> None:
        graph, truth = planted()
        known, bad = noisy(truth, 0.3, 1, told)
        stay = filter(name).keep(graph, known, 0.2)
        assert stay.dtype == bool and (~stay).sum() == 16
        assert bad[~stay].mean() > 2 * bad.mean()
        assert filter(name).WHY

    @pytest.mark.parametrize("name", names())
    @settings(deadline=None, max_examples=8)
    @given(data=st.data())
    def test_keeps_within_the_share_and_every_class(self, name: str, data: st.DataObject) -> None:
        n, share = data.draw(st.integers(1, 25)), data.draw(st.floats(0, 0.99))
        labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
        sure = np.array(data.draw(st.lists(st.sampled_from([0.2, 0.9, np.nan]), min_size=n, max_size=n)))
        graph, _ = planted(40)
        stay = filter(name).keep(graph, Annotated(np.arange(n), labels, sure, list("abcd")), share)
        assert stay.shape == (n,) and (~stay).sum() <= share * n
        assert set(labels[stay]) == set(labels)

    @pytest.mark.parametrize("name", names())
    def test_nothing_goes_at_share_0_and_the_same_twice(self, name: str) -> None:
        graph, truth = planted()
        known, _ = noisy(truth, 0.3, 2)
        assert filter(name).keep(graph, known, 0.0).all()
        first, again = (filter(name).keep(graph, known, 0.3) for _ in range(2))
        np.testing.assert_array_equal(first, again)

    def test_a_wrong_name_answers_with_those_there_are(self) -> None:
        with pytest.raises(ConfigError, match="cane, confidence, ps, none"):
            filter("best")
        with pytest.raises(ConfigError, match="no filter: it has no keep"):
            filter("llmlabel.graph.plain")


class TestPostFilter:
    def test_change_of_entropy_by_its_definition(self) -> None:
        count = np.array([5, 2, 1, 0])
        for k in range(3):
            without = count - np.eye(4, dtype=int)[k]
            assert ps.change_of_entropy(count)[k] == pytest.approx(entropy(without) - entropy(count))
        assert ps.change_of_entropy(count)[0] > 0 > ps.change_of_entropy(count)[1], "small classes are needed"
        assert ps.change_of_entropy(count)[3] == 0

    def test_by_hand(self) -> None:
        """Six a, two b. r(COE): a (1 + .. + 6) / 6 / 8 = .4375, b .9375. f: the least sure a .4375 + .25, the unsure b 1.0625."""
        labels = np.array([0, 0, 0, 0, 0, 0, 1, 1])
        sure = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.95])
        graph, _ = planted(10)
        stay = ps.keep(graph, Annotated(np.arange(8), labels, sure, ["a", "b"]), 0.25)
        np.testing.assert_array_equal(np.flatnonzero(~stay), [4, 5])

    def test_entropy_is_taken_anew(self) -> None:
        """Of two classes the larger loses one; then both are alike and confidence alone decides."""
        labels, sure = np.array([0, 0, 0, 1, 1]), np.array([0.9, 0.8, 0.7, 0.1, 0.2])
        graph, _ = planted(10)
        stay = ps.keep(graph, Annotated(np.arange(5), labels, sure, ["a", "b"]), 0.4)
        np.testing.assert_array_equal(np.flatnonzero(~stay), [2, 3])


class TestReliability:
    def test_tells_right_from_wrong_without_confidence(self) -> None:
        graph, truth = planted()
        known, bad = noisy(truth, 0.3, 3, told=False)
        found = reliability(graph, known, seed=0)
        assert ((found > 0) & (found < 1)).all()
        assert found[~bad].mean() - found[bad].mean() > 0.3

    def test_confidence_and_edges_among_unknown_nodes_only_as_they_are(self) -> None:
        graph, truth = planted()
        known, _ = noisy(truth, 0.3, 4)
        other = Annotated(known.nodes, known.labels, 1 - known.confidence, known.classes)
        np.testing.assert_array_equal(reliability(graph, known, seed=5), reliability(graph, other, seed=5))

    @pytest.mark.parametrize("labels", [[], [0], [1, 1], [0, 1, 2, 3], [2] * 30])
    def test_few_annotations_or_one_class(self, labels: list[int]) -> None:
        graph, _ = planted(60)
        known = Annotated(np.arange(len(labels)), np.array(labels, int), np.full(len(labels), np.nan), list("abcd"))
        found = reliability(graph, known, seed=0)
        assert found.shape == (len(labels),) and ((found > 0) & (found < 1)).all()

    def test_no_edges_and_rows_without_features(self) -> None:
        x = np.zeros((30, 3), np.float32)
        x[:20, 0] = 1
        graph = Graph(sparse.csr_array((30, 30), dtype=np.float32), x, 2, np.ones(30, bool))
        known = Annotated(np.arange(30), np.repeat([0, 1], 15), np.full(30, np.nan), ["a", "b"])
        assert np.isfinite(reliability(graph, known, seed=0)).all()

    def test_a_node_has_no_vote_on_itself(self) -> None:
        x = np.eye(3)[[0] * 6 + [1] * 6]
        known = Annotated(np.arange(12), np.array([1] + [0] * 5 + [1] * 6), np.full(12, np.nan), ["a", "b"])
        assert neighbour_votes(x, known)[0].argmax() == 0

    def test_a_rare_class_is_judged_by_how_many_could_agree(self) -> None:
        """Three nodes of a rare class that agree with each other score as high as many of a frequent one."""
        known = Annotated(np.arange(33), np.array([0] * 30 + [1] * 3), np.full(33, np.nan), ["a", "b"])
        x = np.array([[1, 0.3], [1, -0.3]])[known.labels] / np.sqrt(1.09)
        found = agreement(neighbour_votes(x, known), known)
        assert found[-1] > 0.8 and neighbour_votes(x, known)[-1, 1] < 0.3

    def test_cells_shrink_to_class_and_all(self) -> None:
        known = Annotated(np.arange(4), np.array([0, 0, 0, 1]), np.full(4, np.nan), ["a", "b"])
        found = cells(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1]), known)
        of_a, of_b = (2 + 3 * 0.5) / 6, (0 + 3 * 0.5) / 4
        assert found == pytest.approx([(2 + 3 * of_a) / 5] * 2 + [3 * of_a / 4, 3 * of_b / 4])

    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.floats(-4, 4), min_size=1, max_size=20), st.floats(0.01, 0.99))
    def test_shifted_has_the_mean_and_the_order(self, logits: list[float], level: float) -> None:
        found = shifted(np.array(logits), level)
        assert found.mean() == pytest.approx(level, abs=1e-6)
        assert (np.diff(found[np.argsort(logits)]) >= 0).all()


class TestNeighbours:
    ROWS = tuple(Example(str(i), t, "g") for i, t in enumerate(["own text", "near one\nline two", "far " * 200, "", "own text"]))

    def links(self, *edges: tuple[int, int, float]) -> sparse.csr_array:
        a, b, w = zip(*edges, strict=True)
        return adjacency(5, np.array(a), np.array(b), np.array(w))

    def test_own_text_first_then_excerpts_heaviest_first(self) -> None:
        (row,) = with_neighbours(self.ROWS, self.links((0, 1, 1.0), (0, 2, 5.0), (0, 3, 9.0)), [0], chars=20, seed=0)
        assert (row.id, row.gold) == ("0", "g")
        assert row.text == f"own text\n\n{HEAD}\n- far far far far far ...\n- near one line two"

    def test_at_most_so_many_and_the_same_for_a_seed(self) -> None:
        links = self.links((0, 1, 1.0), (0, 2, 1.0), (0, 4, 1.0))
        rows = [with_neighbours(self.ROWS, links, most=1, seed=seed) for seed in range(6)]
        assert all(row[0].text.count("\n- ") == 1 for row in rows)
        assert len({row[0].text for row in rows}) > 1, "ties are drawn"
        assert with_neighbours(self.ROWS, links, most=1, seed=3) == rows[3]

    def test_without_text_or_links_nothing_is_added(self) -> None:
        rows = with_neighbours(self.ROWS, self.links((0, 3, 1.0)), seed=0)
        assert tuple(rows) == self.ROWS
