"""Every node-selection strategy, also one added later: distinct askable nodes within budget, on any graph, without labels."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from llmlabel.errors import ConfigError
from llmlabel.graph.explain import explain, reached
from llmlabel.graph.graph import Graph, IntArray, adjacency
from llmlabel.graph.selectors import _clusters, disagreement, graph_part, names, rim, selector, vertex_cover
from llmlabel.graph.selectors._clusters import in_proportion, in_turn
from llmlabel.graph.selectors._scores import percentile
from llmlabel.graph.selectors.pagerank import pagerank

WANTED = (
    "age c-density da-age da-degree da-graph-part da-pagerank da-rim degree density disagreement feat-prop graph-part "
    "pagerank random rim stratified vertex-cover"
).split()


def made(nodes: int, edges: int, seed: int, classes: int = 3, width: int = 4) -> Graph:
    """Nodes around `classes` centres, edges anywhere."""
    rng = np.random.default_rng(seed)
    x = np.eye(classes, width)[rng.integers(0, classes, nodes)] + 0.3 * rng.normal(size=(nodes, width))
    links = adjacency(nodes, rng.integers(0, nodes, edges), rng.integers(0, nodes, edges))
    return Graph(links, x.astype(np.float32), classes, np.ones(nodes, bool))


def picked(name: str, graph: Graph, budget: int, seed: int = 0) -> IntArray:
    return np.asarray(selector(name).select(graph, budget, np.random.default_rng(seed)))


def holds(picks: IntArray, graph: Graph, budget: int) -> None:
    assert len(picks) == min(budget, int(graph.askable.sum()))
    assert len(set(picks.tolist())) == len(picks)
    assert np.issubdtype(picks.dtype, np.integer) and graph.askable[picks].all()


def test_all_strategies_are_there() -> None:
    assert set(WANTED) <= set(names())


@pytest.mark.parametrize("name", names())
def test_sees_the_graph_only_and_says_why(name: str) -> None:
    module = selector(name)
    needed = [p.name for p in inspect.signature(module.select).parameters.values() if p.default is p.empty]
    assert needed == ["graph", "budget", "rng"]
    assert isinstance(module.WHY, str) and module.WHY and "\n" not in module.WHY
    assert not {"label", "labels", "gold", "y"} & {f.name for f in fields(Graph)}


@pytest.mark.parametrize("name", names())
@settings(deadline=None, max_examples=4)
@given(
    seed=st.integers(0, 99), nodes=st.integers(1, 40), dense=st.floats(0, 3), budget=st.integers(1, 50), askable=st.floats(0, 1)
)
def test_distinct_askable_within_budget(name: str, seed: int, nodes: int, dense: float, budget: int, askable: float) -> None:
    graph = made(nodes, round(dense * nodes), seed)
    graph = replace(graph, askable=np.random.default_rng(seed).random(nodes) < askable)
    picks = picked(name, graph, budget, seed)
    holds(picks, graph, budget)
    assert (picks == picked(name, replace(graph), budget, seed)).all()


@pytest.mark.parametrize("name", names())
def test_strange_graphs(name: str) -> None:
    plain = made(12, 20, 0)
    none = np.zeros(0, np.int64)
    for graph in (
        made(1, 0, 0),
        replace(plain, x=np.ones((12, 4), np.float32)),
        replace(plain, x=np.zeros((12, 0), np.float32)),
        replace(plain, adjacency=adjacency(12, none, none)),
        replace(plain, classes=50),
        replace(plain, askable=np.zeros(12, bool)),
    ):
        holds(picked(name, graph, 5), graph, 5)


@pytest.mark.parametrize("name", ["degree", "pagerank", "vertex-cover"])
def test_the_order_of_nodes_does_not_matter(name: str) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 30, 90), rng.integers(0, 30, 90)
    order = rng.permutation(30)  # weights differ, so that there are no ties
    weight = rng.random(90)
    one, other = adjacency(30, a, b, weight), adjacency(30, order[a], order[b], weight)
    flat, all_of = np.ones((30, 1), np.float32), np.ones(30, bool)
    first, second = (picked(name, Graph(m, flat, 2, all_of), 8) for m in (one, other))
    assert order[first].tolist() == second.tolist()


def star_and_path() -> Graph:
    """Node 0 with neighbours 1 to 5, and the path 6-7-8-9."""
    links = adjacency(10, np.array([0, 0, 0, 0, 0, 6, 7, 8]), np.array([1, 2, 3, 4, 5, 7, 8, 9]))
    return Graph(links, np.ones((10, 2), np.float32), 2, np.ones(10, bool))


def test_hubs_and_cover_by_hand() -> None:
    graph = star_and_path()
    assert picked("degree", graph, 3)[0] == 0 and set(picked("degree", graph, 3)[1:]) == {7, 8}
    first, *rest = vertex_cover.select(graph, 3, np.random.default_rng(0))
    assert first == 0 and rest[0] in (7, 8) and rest[1] in (6, 7, 8, 9)
    covered = graph.adjacency.toarray()
    covered[[first, *rest]] = covered[:, [first, *rest]] = 0
    assert not covered.any()
    assert np.argmax(percentile(graph.degree)) == 0 and percentile(graph.degree).max() == 1


def test_pagerank_against_the_dense_definition() -> None:
    graph = made(25, 30, 1)
    a, d = graph.adjacency.toarray(), graph.degree
    walk = np.where(d[:, None] > 0, a / np.maximum(d, 1)[:, None], 1 / 25)
    values, vectors = np.linalg.eig(0.85 * walk.T + 0.15 / 25)
    expected = np.abs(vectors[:, np.argmax(values.real)].real)
    np.testing.assert_allclose(pagerank(graph), expected / expected.sum(), atol=1e-5)


def test_activation_of_rim_against_the_dense_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, reliability = made(30, 60, 2), np.linspace(0, 1, 30).astype(np.float32)
    loops = graph.adjacency.toarray() + np.eye(30)
    step = loops / loops.sum(axis=1, keepdims=True)
    expected = (step @ step) * reliability > 0.05
    for block in (10, rim.BLOCK):
        monkeypatch.setattr(rim, "BLOCK", block)
        assert (rim.activation(graph, reliability, 0.05).toarray() == expected).all()
    active = np.zeros(30, bool)
    for v in rim.by_influence(graph, 6, np.random.default_rng(0), reliability, 0.05):
        gains = (expected & ~active[:, None]).sum(axis=0)
        assert gains[v] == gains.max()
        active |= expected[:, v]


def test_groups_take_turns_or_share_by_size() -> None:
    group, cost = np.array([0] * 6 + [1] * 3 + [2]), np.array([5, 4, 3, 2, 1, 0, 0, 1, 2, 9.0])
    everyone = np.ones(10, bool)
    assert in_turn(group, cost, everyone)[:5].tolist() == [5, 6, 9, 4, 7]
    shares = in_proportion(group, cost, everyone)
    assert shares[:1].tolist() == [5] and np.bincount(group[shares[:4]], minlength=3).tolist() == [3, 1, 0]
    assert np.bincount(group[shares[:10]]).tolist() == [6, 3, 1]
    assert in_turn(group, cost, np.arange(10) != 5)[0] == 4
    assert in_proportion(group, cost, everyone, np.where(group == 2, 50.0, 0.1))[0] == 9
    rest = np.arange(10) != 5
    assert in_proportion(group, cost, rest)[0] == 4 and in_proportion(group, cost, rest, None, np.array([5]))[0] == 6


def test_stratified_follows_the_sizes_of_clusters_where_feat_prop_does_not() -> None:
    rng = np.random.default_rng(0)
    rare = np.arange(200) >= 190
    x = np.where(rare[:, None], [0, 1.0], [1.0, 0]) + np.where(rare[:, None], 0.5, 0.02) * rng.random((200, 2))
    none = np.zeros(0, np.int64)
    graph = Graph(adjacency(200, none, none), x.astype(np.float32), 2, np.ones(200, bool))
    assert rare[picked("stratified", graph, 20)].sum() <= 2 < rare[picked("feat-prop", graph, 20)].sum()


def test_parts_share_the_budget_and_follow_communities() -> None:
    cliques = sparse.block_diag([np.ones((6, 6)) - np.eye(6)] * 10, format="csr")
    graph = Graph(sparse.csr_array(cliques, dtype=np.float32), made(60, 0, 0).x, 3, np.ones(60, bool))
    part = graph_part.parts(graph)
    assert len(set(part)) == graph_part.PARTS and all(len(set(part[i : i + 6])) == 1 for i in range(0, 60, 6))
    for name in ("graph-part", "da-graph-part"):
        assert set(np.bincount(part[picked(name, graph, 21)])) == {3}


def test_difficulty_aware_picks_are_more_typical() -> None:
    graph = made(300, 900, 5)
    dense = _clusters.c_density(graph, np.random.default_rng(0))
    for name in ("degree", "pagerank", "age", "rim", "graph-part"):
        assert dense[picked(f"da-{name}", graph, 20)].mean() > dense[picked(name, graph, 20)].mean()
    assert len(set(picked("c-density", graph, 20)) & set(np.argsort(-dense)[:20])) > 15  # centres differ a little by the seed


def test_centres_come_from_a_sample_of_large_data(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.repeat(np.eye(3, dtype=np.float32) * 9, 100, axis=0)
    monkeypatch.setattr(_clusters, "SAMPLE", 60)
    group, distance = _clusters.kmeans(x, 3, np.random.default_rng(0))
    assert len(group) == 300 and sorted(np.bincount(group)) == [100, 100, 100] and distance.max() < 1e-3


def test_disagreement_goes_where_predictions_are_unsure() -> None:
    graph = made(200, 300, 7)
    cluster, _ = _clusters.neighbourhoods(graph, 10, np.random.default_rng(0))
    unsure = cluster == np.bincount(cluster).argmax()
    probs = np.where(unsure[:, None], [0.5, 0.5], [1.0, 0.0])
    picks = disagreement.select(graph, 10, np.random.default_rng(0), probs=probs)
    assert unsure[picks].sum() > unsure[picked("stratified", graph, 10)].sum()
    again = disagreement.select(graph, 10, np.random.default_rng(1), probs=probs, taken=picks)
    assert not set(picks) & set(again)
    alone = disagreement.uncertainty(star_and_path(), np.repeat([[0.5, 0.5]], 10, axis=0))
    at_odds = disagreement.uncertainty(star_and_path(), np.eye(2)[[0, 1, 1, 1, 1, 1, 0, 0, 0, 0]])
    assert alone == pytest.approx(1) and at_odds == pytest.approx([1] * 6 + [0] * 4)


def test_a_wrong_name_answers_with_the_names_there_are() -> None:
    with pytest.raises(ConfigError, match="feat-prop, graph-part"):
        selector("nope")
    with pytest.raises(ConfigError, match="cannot import"):
        selector("nope.nothing")
    with pytest.raises(ConfigError, match="no selection strategy"):
        selector("_clusters")
    with pytest.raises(ConfigError, match="has no select"):
        selector("llmlabel.errors")
    assert selector("da_rim") is selector("da-rim") is selector("llmlabel.graph.selectors.da_rim")


def test_explained_in_facts_and_a_sentence() -> None:
    graph = star_and_path()
    assert reached(graph, np.array([0, 1, 7])) == [5, 0, 3]
    told = explain(graph, np.array([0, 1, 7]), ["vertex-cover"] * 3)
    assert [(t["node"], t["rank"], t["degree"], t["reaches"]) for t in told] == [(0, 1, 5, 5), (1, 2, 1, 0), (7, 3, 2, 3)]
    assert told[0]["pagerank_percentile"] == 100 and all(0 < t["density_percentile"] <= 100 for t in told)
    assert told[1]["why"].startswith(f"Pick 2: {vertex_cover.WHY}; 1 neighbour, ") and "no other nodes" in told[1]["why"]
    assert explain(graph, np.zeros(0, np.int64), []) == []
