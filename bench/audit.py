"""Find planted label errors: `run audit`'s ranking beside cleanlab's, on the same out-of-sample probabilities.

    python bench/audit.py --data clinc150.parquet --label label --noise .05 .1 .2 --seeds 5

Noise: a random share of the rows gets the label of the class whose centre is nearest to their own class's (asymmetric), or any
other label (`--kind uniform`). With `--annotators`, instead: the labels that annotators of the data itself gave (a column
`annotations` with a list per row), errors being where they differ from `--label`.

Prints, by level of noise, means over seeds: precision at k = number of wrong labels, of cleanlab's self-confidence and normalised
margin and of ours; the share of rows flagged, how many of those are wrong (precision) and which share of the wrong ones they are
(recall); the share of wrong labels as expected by the scores and by cleanlab's joint; mean differences with standard errors.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from llmlabel import embedding
from llmlabel.annotation.audit import noise
from llmlabel.students import logistic_regression
from llmlabel.students.train import out_of_sample

STUDENT = "logistic_regression"


def centres_nearest(vectors: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(L,) the class most easily confused with each, by centres."""
    centres = np.stack([vectors[truth == k].mean(axis=0) for k in range(truth.max() + 1)])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    alike = centres @ centres.T
    np.fill_diagonal(alike, -2)
    return alike.argmax(axis=1)


def planted(vectors: np.ndarray, truth: np.ndarray, share: float, kind: str, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    rows, given = draw.permutation(len(truth))[: round(share * len(truth))], truth.copy()
    if kind == "asymmetric":
        given[rows] = centres_nearest(vectors, truth)[truth[rows]]
    else:
        given[rows] = (truth[rows] + draw.integers(1, truth.max() + 1, len(rows))) % (truth.max() + 1)
    return given


def cell(vectors: np.ndarray, given: np.ndarray, wrong: np.ndarray, classes: int, seed: int) -> dict[str, float]:
    from cleanlab.rank import get_label_quality_scores

    kept: list[np.ndarray] = []

    def learn(rows: np.ndarray) -> np.ndarray:
        kept.append(out_of_sample(vectors, given, classes, seed, STUDENT, rows))
        return kept[-1]

    shares = noise.neighbour_shares(*noise.neighbours(vectors), given, classes)
    _, probs = noise.class_probs(learn, shares, given)
    joint = noise.confident_joint(probs, given)
    ours = noise.wrongness(probs, given, noise.transition(joint))
    flagged = ours > 0.5

    def at_k(score: np.ndarray) -> float:
        return float(wrong[np.argsort(-score, kind="stable")[: wrong.sum()]].mean())

    return {
        "self-conf": at_k(-get_label_quality_scores(given, kept[0])),
        "margin": at_k(-get_label_quality_scores(given, kept[0], method="normalized_margin")),
        "ours": at_k(ours),
        "flagged": float(flagged.mean()), "precision": float(wrong[flagged].mean()) if flagged.any() else 0.0,
        "recall": float(flagged[wrong].mean()), "expected": float(ours.mean()),
        "joint": float(1 - np.trace(joint) / joint.sum()),
    }  # fmt: skip


def show(name: str, cells: list[dict[str, float]]) -> None:
    means = {key: float(np.mean([c[key] for c in cells])) for key in cells[0]}
    gains = {key: np.array([c["ours"] - c[key] for c in cells]) for key in ("self-conf", "margin")}
    errors = {key: g.std(ddof=1) / np.sqrt(len(g)) if len(g) > 1 else 0.0 for key, g in gains.items()}
    said = [f"{key} {value:.3f}" for key, value in means.items()]
    said += [f"ours - {key} {g.mean():+.3f} (se {errors[key]:.3f})" for key, g in gains.items()]
    print(f"{name:10}", "  ".join(said), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.05, 0.1, 0.2])
    parser.add_argument("--kind", choices=["asymmetric", "uniform"], default="asymmetric")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--annotators", action="store_true")
    parser.add_argument(
        "--penalty", type=float, default=0.1, help="of the classifier; 0: searched for in every fold, as a run does"
    )
    parser.add_argument("--cache", type=Path, default=None, help="where vectors are kept; default: nowhere")
    args = parser.parse_args()
    if args.penalty:
        logistic_regression.PENALTIES = (args.penalty,)
    table = [row for row in pq.read_table(args.data).to_pylist() if row[args.label] and (row[args.text] or "").strip()]
    rows = np.sort(np.random.default_rng(0).permutation(len(table))[: args.rows])
    table = [table[i] for i in rows]
    labels, truth = np.unique([row[args.label] for row in table], return_inverse=True)
    with tempfile.TemporaryDirectory() as scratch:
        cache = embedding.VectorCache(args.cache or Path(scratch))
        vectors = cache.encode(embedding.connect("minilm"), [row[args.text] for row in table])
        cache.close()
    print(f"{args.data}: {len(table)} rows, {len(labels)} classes")
    if args.annotators:
        place, cells = {label: k for k, label in enumerate(labels)}, []
        for a in range(len(table[0]["annotations"])):
            given = np.array([place.get(row["annotations"][a], -1) for row in table])
            on = given >= 0
            cells.append(cell(vectors[on], given[on], (given != truth)[on], len(labels), 0))
        show("annotators", cells)
        return
    for share in args.noise:
        cells = []
        for seed in range(args.seeds):
            given = planted(vectors, truth, share, args.kind, seed)
            cells.append(cell(vectors, given, given != truth, len(labels), seed))
        show(f"{share:.0%}", cells)


if __name__ == "__main__":
    main()
