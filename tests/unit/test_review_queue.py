"""Which rows people are shown: the useful ones, not the same one twenty times, and a random part that is one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from people import make_run

from llmlabel.data import labels_table
from llmlabel.errors import ConfigError, DataError
from llmlabel.records import Annotation, Status
from llmlabel.review import draw, export, import_answers, order, worth
from llmlabel.review.batch import Batch
from llmlabel.review.export import batch_of, choose
from llmlabel.review.pool import read_pool
from llmlabel.runs import load_run


def units(*angles: float) -> np.ndarray:
    return np.array([[np.cos(a), np.sin(a)] for a in np.radians(angles)])


def test_the_least_sure_row_comes_first_and_failures_before_all() -> None:
    sure = np.array([0.9, 0.4, np.nan, 0.0, 0.6])
    assert order(worth(sure), 5) == [3, 1, 2, 4, 0]


def test_annotators_who_disagree_make_a_row_worth_a_look() -> None:
    value = worth(np.array([0.9, 0.9, 0.9]), np.array([np.nan, 0.0, 0.5]))
    assert value[0] == value[1] == pytest.approx(0.1) and value[2] == pytest.approx(0.55)


def test_a_text_that_stands_there_fifty_times_counts_fifty_fold() -> None:
    value = worth(np.array([0.9, 0.1]), copies=np.array([50, 1]))
    assert value == pytest.approx([5.0, 0.9])


def test_a_row_with_neighbours_comes_before_a_lone_one() -> None:
    assert order(np.array([0.5, 0.5, 0.5, 0.6]), 2, units(0, 10, 20, 170)) == [1, 3]


def test_near_duplicates_are_not_shown_in_a_row() -> None:
    worths = np.array([1.0, 0.99, 0.98, 0.5])
    assert order(worths, 2, units(0, 0.5, 1, 90))[1] == 3
    assert order(worths, 2) == [0, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 40), st.integers(0, 9))
def test_an_order_names_each_row_once_and_the_worthiest_first(values: list[float], n: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(len(values), 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for how in (None, vectors):
        picked = order(np.array(values), n, how)
        assert len(picked) == len(set(picked)) == min(n, len(values))
        if how is None:
            assert values[picked[0]] == max(values)


@given(st.integers(2, 12), st.integers(0, 50))
def test_the_lazy_order_is_the_greedy_one(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, value = rng.normal(size=(rows, 2)), rng.random(rows)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    reach = np.clip((vectors @ vectors.T - 0.5) / 0.5, 0, 1)
    np.fill_diagonal(reach, 1)
    settled, left = np.zeros(rows), set(range(rows))
    for i in order(value, rows, vectors):
        gains = {k: float(np.maximum(reach[k] - settled, 0) @ value) for k in left}
        assert gains[i] >= max(gains.values()) - 1e-9
        settled, left = np.maximum(settled, reach[i]), left - {i}


def test_the_random_part_is_uniform_over_seeds() -> None:
    counts = Counter(i for seed in range(2000) for i in draw(10, 3, seed))
    assert all(abs(counts[i] - 600) < 100 for i in range(10))  # 4.9 standard deviations


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 5))
def test_two_draws_are_one_larger_draw(rows: int, a: int, b: int, seed: int) -> None:
    first = draw(rows, a, seed)
    assert first + draw(rows, b, seed, first) == draw(rows, a + b, seed)


def chosen(run: Path, n: int = 10, random: float = 0.0, vectors: bool = False) -> Batch:
    pool = read_pool(load_run(run), load_run(run).taxonomy)
    rows, _ = choose(load_run(run), pool, n, random, 0, vectors, None)
    return batch_of(load_run(run), load_run(run).taxonomy, pool, rows, blind=False)


def row(
    i: int, status: Status = Status.OK, label: str | None = "refund", sure: float | None = 0.99, **more: object
) -> Annotation:
    return Annotation(f"r{i}", label, status, [label] if label else [], sure, **more)  # type: ignore[arg-type]


def test_failed_doubtful_and_suspect_rows_take_part_with_a_reason(tmp_path: Path) -> None:
    rows = [
        row(0, Status.PARSE_FAILED, None, None), row(1, Status.NONE_FITS, None, 0.5), row(2, Status.LOW_CONFIDENCE, sure=0.2),
        row(3, suspect=True), row(4, sure=None), *(row(i) for i in range(5, 20)),
    ]  # fmt: skip
    run = make_run(tmp_path / "r", [f"text {i}" for i in range(20)], rows)
    reasons = {r.id: r.reason for r in chosen(run, 5).rows}
    assert reasons == {
        "r0": "no usable answer (parse_failed)", "r1": "no label seems to fit; 50% sure", "r2": "20% sure",
        "r3": "the text looks like an attack on the labeller; 99% sure", "r4": "nobody says how sure the label is",
    }  # fmt: skip


@pytest.mark.parametrize("multi", [False, True])
def test_disagreement_is_read_from_the_annotations(multi: bool, tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", ["one", "two", "three"], [row(i) for i in range(3)], multi=multi)
    said = [("r0", "refund"), ("r0", "refund"), ("r1", "refund"), ("r1", "delay"), ("r2", "praise")]
    rows = [Annotation(i, label, Status.OK, [label], annotator=f"a{n}") for n, (i, label) in enumerate(said)]
    rows.append(Annotation("r0", None, Status.ERROR, annotator="a9"))
    pq.write_table(labels_table(rows), run / "annotations.parquet")
    first, *_ = chosen(run, 1).rows
    assert first.id == "r1" and first.reason.startswith("50% of the annotators say something else")


def test_copies_are_shown_once_and_texts_that_are_empty_never(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", ["same", " Same ", "SAME", "", "  ", "other"], [row(i, sure=0.5) for i in range(6)])
    rows = sorted(chosen(run).rows, key=lambda r: r.id)
    assert [r.id for r in rows] == ["r0", "r5"]
    assert rows[0].reason == "50% sure; the text stands there 3 times"


@pytest.mark.slow
def test_the_random_part_is_drawn_from_all_rows_and_people_cannot_tell(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", [f"text {i}" for i in range(500)])
    batch = chosen(run, 100, 0.3)
    drawn = [r.drawn for r in batch.rows]
    assert Counter(drawn) == {"random": 30, "queue": 70}
    assert drawn != sorted(drawn) and drawn != sorted(drawn, reverse=True)
    random = [int(r.id[1:]) for r in batch.rows if r.drawn == "random"]
    assert random and min(random) < 100, "surely labelled rows (low numbers) are drawn too"
    assert {r.id for r in batch.rows if r.drawn == "queue"} <= {f"r{i}" for i in range(390, 500)}
    for kind in ("csv", "label-studio", "argilla"):
        made = export(run, kind, n=100, random=0.3, vectors=False)
        files = [p for p in (run / "review").rglob("*") if p.is_file() and p.name != f"{made['batch']}.json"]
        assert not any(word in p.read_text("utf-8") for p in files for word in ("random", "queue", "sure"))
    manifest = json.loads((run / "review" / f"{made['batch']}.json").read_text())
    assert Counter(r["drawn"] for r in manifest["rows"]) == {"random": 30, "queue": 70}
    assert manifest["population"] == 500


def test_rows_that_people_answered_do_not_come_again(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", [f"text {i}" for i in range(50)])
    first = export(run, "csv", n=10, random=0.5, vectors=False)
    assert export(run, "csv", n=10, random=0.5, vectors=False) == first, "the same command gives the same batch"
    file = Path(first["out"])
    file.write_text(file.read_text("utf-8-sig").replace('"","","","q', '"delay","","","q'), encoding="utf-8")
    assert import_answers(run, file)["imported"] == 10
    second = export(run, "csv", n=10, random=0.5, vectors=False)
    ids = [{r["id"]: r["drawn"] for r in json.loads(Path(b["manifest"]).read_text())["rows"]} for b in (first, second)]
    assert not {i for i, how in ids[1].items() if how == "queue"} & ids[0].keys()
    assert not {i for i, how in ids[1].items() if how == "random"} & {i for i, how in ids[0].items() if how == "random"}


def test_vectors_keep_one_question_from_filling_the_queue(tmp_path: Path) -> None:
    texts = [f"my card was charged twice in shop number {i}" for i in range(25)] + [f"{w} lorem" for w in "abcdefgh"]
    run = make_run(tmp_path / "r", texts, [row(i, sure=0.3 if i < 25 else 0.35) for i in range(33)])
    found = [export(run, "csv", n=8, random=0, vectors=v, cache=tmp_path / "cache", blind=v) for v in (False, True)]
    shown = [[r["id"] for r in json.loads(Path(b["manifest"]).read_text())["rows"]] for b in found]
    crowd = [sum(int(i[1:]) < 25 for i in rows) for rows in shown]
    assert crowd[0] == 8 and crowd[1] <= 5
    assert found[0]["vectors"] == "not asked for" and found[1]["vectors"] == "of 33 rows"


def test_without_its_embedder_a_run_is_exported_without_vectors(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", [f"text {i}" for i in range(9)])
    info = json.loads((run / "run.json").read_text())
    info["config"]["embedder"] = "openai:text-embedding-3-small"
    (run / "run.json").write_text(json.dumps(info))
    assert "paid endpoint" in export(run, "csv", n=3)["vectors"]


def test_an_audit_keeps_its_order(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", [f"a long text {i}" for i in range(10)] + [" "])
    rows = [
        {
            "id": f"r{i}", "rank": 9 - i, "given": "refund", "proposed": "=late | DELAYED" if i % 2 else None, "score": 0.1,
            "reason": "odd", "text": f"a lo{i}",
        }
        for i in range(10)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist([*rows, rows[0] | {"id": "r10", "text": " "}]), run / "audit.parquet")
    pool = read_pool(load_run(run), load_run(run).taxonomy)
    picked, note = choose(load_run(run), pool, 3, 0.0, 0, True, None)
    assert {pool.ids[i] for i, _ in picked} == {"r9", "r8", "r7"} and "audit" in note
    batch = batch_of(load_run(run), load_run(run).taxonomy, pool, picked, blind=False)
    assert {r.id: r.labels for r in batch.rows} == {"r9": ["delay"], "r8": ["refund"], "r7": ["delay"]}, (
        "as given where nothing is proposed"
    )
    assert {(r.reason, r.text) for r in batch.rows} == {("odd", f"a long text {i}") for i in (7, 8, 9)}, "whole texts"


def test_other_data_and_unfinished_runs_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", ["one", "two"])
    (run / "copy.parquet").write_bytes((run / "data.parquet").read_bytes())
    pq.write_table(pa.table({"id": ["r0", "r1"], "text": ["one", "TWO"]}), run / "data.parquet")
    with pytest.raises(DataError, match="has changed since"):
        export(run, "csv")
    assert export(run, "csv", data=str(run / "copy.parquet"))["rows"] == 2
    with pytest.raises(ConfigError, match=r"Known: label-studio, argilla, csv"):
        export(run, "excel")
    with pytest.raises(ConfigError, match="--random"):
        export(run, "csv", random=1.5)
    (run / "labels.parquet").unlink()
    with pytest.raises(ConfigError, match="no labels.parquet"):
        export(run, "csv", data=str(run / "copy.parquet"))
    with pytest.raises(ConfigError, match="not a run folder"):
        export(tmp_path, "csv")
