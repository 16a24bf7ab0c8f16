"""Graphs from files: every form gives the same graph, and what is wrong with one is said."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from llmlabel.errors import ConfigError, DataError
from llmlabel.graph import features
from llmlabel.graph.convert import from_networkx
from llmlabel.graph.graph import Graph, adjacency
from llmlabel.graph.read import read_edges, read_graph

PAIRS = [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]
OPTIONS = {"text_column": "text", "id_column": None, "gold_column": None, "edges_column": None}


@pytest.fixture
def nodes(tmp_path):
    path = tmp_path / "nodes.parquet"
    pq.write_table(
        pa.table({"id": list("abcde"), "text": ["one", "two", None, "four", ""], "label": ["x", None, "y", "x", "x"]}), path
    )
    return str(path)


def edge_file(tmp_path, kind):
    path = tmp_path / f"edges.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"src": [a for a, _ in PAIRS], "dst": [b for _, b in PAIRS], "weight": [1, 2, 3, 4]}), path)
    elif kind == "csv":
        path.write_text("from,to,weight\n" + "".join(f"{a},{b},{n + 1}\n" for n, (a, b) in enumerate(PAIRS)))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"one": a, "two": b, "weight": n + 1.0}) + "\n" for n, (a, b) in enumerate(PAIRS)))
    elif kind in ("tsv", "txt"):
        mark = {"tsv": "\t", "txt": " "}[kind]
        path.write_text("# a comment\n" + "".join(f"{a}{mark}{b}{mark}{n + 1}\n" for n, (a, b) in enumerate(PAIRS)))
    return str(path)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "tsv", "txt"])
def test_every_form_of_an_edge_list_gives_the_same_graph(tmp_path, nodes, kind):
    examples, edges, x = read_graph(nodes, edge_file(tmp_path, kind), **OPTIONS)
    assert [e.id for e in examples] == list("abcde")
    assert [e.text for e in examples] == ["one", "two", "", "four", ""]
    assert x is None
    assert list(zip(edges.source.tolist(), edges.target.tolist(), strict=True)) == [(0, 1), (1, 2), (2, 0), (3, 0)]
    assert edges.weight.tolist() == [1, 2, 3, 4]


def test_arrays_and_matrices_go_by_row_number(tmp_path):
    path = tmp_path / "n.csv"
    path.write_text("text\none\ntwo\nthree\n")
    np.save(tmp_path / "e.npy", np.array([[0, 1], [1, 2]]))
    sparse.save_npz(tmp_path / "e.npz", sparse.csr_array(([2.0, 3.0], ([0, 1], [1, 2])), shape=(3, 3)))
    for name, weight in (("e.npy", None), ("e.npz", [2.0, 3.0])):
        examples, edges, _ = read_graph(str(path), str(tmp_path / name), **OPTIONS)
        assert [e.id for e in examples] == ["0", "1", "2"]
        assert (edges.source.tolist(), edges.target.tolist()) == ([0, 1], [1, 2])
        assert (edges.weight.tolist() if weight else edges.weight) == weight


def test_a_column_of_lists_stands_for_edges(tmp_path):
    path = tmp_path / "n.jsonl"
    path.write_text('{"id": 1, "links": [2, 3]}\n{"id": 2, "links": []}\n{"id": 3, "links": null}\n')
    examples, edges, _ = read_graph(str(path), None, **{**OPTIONS, "edges_column": "links"})
    assert [e.text for e in examples] == ["", "", ""]  # a graph needs no texts
    assert (edges.source.tolist(), edges.target.tolist()) == ([0, 0], [1, 2])


def test_networkx_and_its_files(tmp_path):
    nx = pytest.importorskip("networkx")
    g = nx.DiGraph()
    g.add_node("p", text="one", label="x")
    g.add_node("q", text="two")
    g.add_edge("p", "q", weight=2.5)
    for path in (tmp_path / "g.graphml", tmp_path / "g.gexf"):
        getattr(nx, {"g.graphml": "write_graphml", "g.gexf": "write_gexf"}[path.name])(g, path)
        examples, edges, _ = read_graph(str(path), None, **OPTIONS)
        assert [(e.id, e.text) for e in examples] == [("p", "one"), ("q", "two")]
        assert edges.weight.tolist() == [2.5]
    from_networkx(g).write(tmp_path / "folder")
    examples, edges, _ = read_graph(str(tmp_path / "folder/nodes.parquet"), str(tmp_path / "folder/edges.parquet"), **OPTIONS)
    assert [e.id for e in examples] == ["p", "q"] and edges.weight.tolist() == [2.5]


@pytest.mark.slow
def test_pyg_data_comes_with_features_and_cannot_bring_code(tmp_path):
    torch = pytest.importorskip("torch")
    data = pytest.importorskip("torch_geometric.data")
    one = data.Data(
        x=torch.eye(3), edge_index=torch.tensor([[0, 1], [1, 2]]), y=torch.tensor([1, 0, 1]), raw_text=["a", "b", "c"]
    )
    torch.save(one, tmp_path / "g.pt")
    examples, edges, x = read_graph(str(tmp_path / "g.pt"), None, **{**OPTIONS, "gold_column": "label"})
    assert [(e.text, e.gold) for e in examples] == [("a", "1"), ("b", "0"), ("c", "1")]
    assert x.tolist() == np.eye(3).tolist() and edges.target.tolist() == [1, 2]

    class Bad:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save(Bad(), tmp_path / "bad.pt")
    with pytest.raises(DataError, match="no PyG Data"):
        read_graph(str(tmp_path / "bad.pt"), None, **OPTIONS)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ("source,target\n", "there are no edges"),
        ("source,target\na,z\ny,b\n", "name a node that is not there, such as"),
        ("source\na\n", "one column"),
        ("source,target,weight\na,b,-1\n", "weights that are 0, negative"),
        ("source,target,weight\na,b,heavy\n", "no number"),
    ],
)
def test_what_is_wrong_with_edges_is_said(tmp_path, nodes, edges, said):
    path = tmp_path / "e.csv"
    path.write_text(edges)
    with pytest.raises(DataError, match=said):
        read_graph(nodes, str(path), **OPTIONS)


def test_a_few_unknown_nodes_self_loops_and_repetitions_are_left_out_and_counted(tmp_path, nodes):
    path = tmp_path / "e.csv"
    path.write_text("source,target\na,b\na,b\nc,c\nb,a\nd,e\nd,unknown\n")
    _, edges, _ = read_graph(nodes, str(path), **OPTIONS)
    assert edges.notes() == {"to_unknown_nodes": 1, "self_loops": 1, "repeated": 1}
    matrix = adjacency(5, edges.source, edges.target)
    assert matrix.toarray().sum() == 4  # a-b and d-e, each in both directions


def test_nodes_need_ids_that_are_unique(tmp_path):
    path = tmp_path / "n.csv"
    path.write_text("id,text\n1,a\n1,b\n")
    with pytest.raises(DataError, match="the id '1' more than once"):
        read_graph(str(path), "e.csv", **OPTIONS)


@pytest.mark.parametrize("name", ["e.txt", "e.npy", "e.npz", "e.csv", "g.pdf"])
def test_files_that_are_not_there(nodes, name):
    with pytest.raises(DataError, match="--edges"):
        read_edges(name)


def test_a_missing_reader_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("llmlabel.graph.convert.find_spec", lambda name: None)
    (tmp_path / "g.graphml").write_text("<graphml/>")
    with pytest.raises(ConfigError, match=r"llmlabel\[graph\]"):
        read_graph(str(tmp_path / "g.graphml"), None, **OPTIONS)


def test_features_come_in_three_forms_and_must_have_a_row_for_each_node(tmp_path):
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.save(tmp_path / "x.npy", x)
    sparse.save_npz(tmp_path / "x.npz", sparse.csr_array(x))
    np.savez(tmp_path / "v.npz", ids=np.array(["c", "a"]), vectors=x[:2])
    ids = ["a", "b", "c"]
    assert features.read_features(tmp_path / "x.npy", ids).tolist() == x.tolist()
    assert features.read_features(tmp_path / "x.npz", ids).tolist() == x.tolist()
    assert features.read_features(tmp_path / "v.npz", ids).tolist() == [[2, 3], [0, 0], [0, 1]]
    with pytest.raises(DataError, match="there are 2 nodes"):
        features.read_features(tmp_path / "x.npy", ids[:2])
    np.save(tmp_path / "bad.npy", np.array([[1.0], [np.nan], [0.0]]))
    with pytest.raises(DataError, match="row 1 holds no finite"):
        features.read_features(tmp_path / "bad.npy", ids)
    np.save(tmp_path / "pickle.npy", np.array([{}, 1, 2]), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        features.read_features(tmp_path / "pickle.npy", ids)


def test_nodes_without_a_text_get_the_mean_of_their_neighbours():
    both = adjacency(4, np.array([0, 1]), np.array([1, 2]))
    bare = Graph(both, np.zeros((4, 1), np.float32), 2, np.ones(4, bool))
    x = np.array([[1.0, 0], [0, 0], [0, 1], [0, 0]], dtype=np.float32)
    found = features.filled(x, np.array([True, False, True, False]), bare)
    assert found.tolist() == [[1, 0], [0.5, 0.5], [0, 1], [0, 0]]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.floats(0.5, 4)), max_size=20))
def test_the_adjacency_is_what_a_dictionary_says(edges):
    known: dict[tuple[int, int], float] = {}
    for a, b, w in edges:
        if a != b:
            for pair in ((a, b), (b, a)):
                known[pair] = max(known.get(pair, 0.0), np.float32(w))
    expected = np.zeros((7, 7), np.float32)
    for (a, b), w in known.items():
        expected[a, b] = w
    source, target, weight = (np.array([e[k] for e in edges], dtype=[np.int64, np.int64, float][k]) for k in range(3))
    assert adjacency(7, source, target, weight).toarray().tolist() == expected.tolist()
