"""Does the promise of `choose_threshold` hold when the confidence was fitted on gold too, and what does it accept?

    python bench/deferral.py --data cfpb_llm_annotators.parquet
    python bench/deferral.py --data clinc150.parquet --train 1500
    python bench/deferral.py --data newsgroups20.parquet --train 1000

Per random split: `--rows` gold rows, the rest are test rows. `free`: a confidence no gold was used for (share of equal votes;
highest class probability). Then a confidence fitted on gold (consensus of the votes; a model of being right), used in
three ways: `same` rows fit and set the threshold, `cross` fitted (five folds), `halves` of gold for the one and the other.
Sets without annotators get one: logistic regression on MiniLM vectors of `--train` rows.
`broken`: share of splits with more than alpha wrong among accepted test rows; it must not pass delta by more than noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmlabel.annotation.consensus import together as consensus
from llmlabel.annotation.deferral.threshold import choose_threshold
from llmlabel.embedding import VectorCache, connect

Scores = tuple[NDArray[np.float64], NDArray[np.bool_]]  # confidence, right


class Votes:
    """Several annotators, brought together by `annotation.consensus`."""

    def __init__(self, data: pl.DataFrame, method: str) -> None:
        self.names, self.gold = np.unique(data["label"].to_numpy(), return_inverse=True)
        index = {str(name): k for k, name in enumerate(self.names)}
        self.votes = np.array([[index.get(a, -1) for a in row] for row in data["annotations"].to_list()])
        self.method, self.rows = method, np.arange(len(data))

    def free(self, rows: NDArray[np.int64]) -> Scores:
        return self._scores(np.stack([(self.votes[rows] == k).mean(axis=1) for k in range(len(self.names))], axis=1), rows)

    def fitted(self, fit: NDArray[np.int64], rows: NDArray[np.int64]) -> Scores:
        gold = np.full(len(self.gold), -1)
        gold[fit] = self.gold[fit]
        fusion = consensus.fit(self.votes, list(self.names), gold=gold, method=self.method)
        return self._scores(fusion.predict(self.votes[rows]), rows)

    def _scores(self, probs: NDArray[np.float64], rows: NDArray[np.int64]) -> Scores:
        return np.minimum(probs.max(axis=1), 1.0), probs.argmax(axis=1) == self.gold[rows]


class OneModel:
    """One annotator with class probabilities: what is fitted is the probability that it is right."""

    def __init__(self, data: pl.DataFrame, train: int, cache: Path, seed: int) -> None:
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression

        vectors = VectorCache(cache).encode(connect("minilm"), data["text"].fill_null("").to_list())
        gold = np.unique(data["label"].to_numpy(), return_inverse=True)[1]
        drawn = np.random.default_rng(seed).permutation(len(data))
        fit, self.rows = drawn[:train], drawn[train:]
        model = LogisticRegression(C=10, max_iter=300).fit(vectors[fit], gold[fit])
        probs = model.predict_proba(vectors)
        top = np.sort(probs, axis=1)[:, ::-1]
        self.top, self.right = top[:, 0], model.classes_[probs.argmax(axis=1)] == gold
        entropy = -(probs * np.log(probs + 1e-12)).sum(axis=1)
        sure = np.stack([np.log(top[:, 0]), top[:, 0] - top[:, 1], entropy], axis=1)
        self.features = np.hstack([sure / sure.std(axis=0), 4 * PCA(24, random_state=seed).fit_transform(vectors)])

    def free(self, rows: NDArray[np.int64]) -> Scores:
        return self.top[rows], self.right[rows]

    def fitted(self, fit: NDArray[np.int64], rows: NDArray[np.int64]) -> Scores:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(max_iter=200).fit(self.features[fit], self.right[fit])
        return model.predict_proba(self.features[rows])[:, 1], self.right[rows]


def cross(score: Callable[..., Scores], gold: NDArray[np.int64], folds: int = 5) -> Scores:
    """Every gold row scored by a model that was not fitted on it."""
    confidence, right = np.empty(len(gold)), np.empty(len(gold), dtype=bool)
    for k in range(folds):
        inside = np.arange(len(gold)) % folds == k
        confidence[inside], right[inside] = score(gold[~inside], gold[inside])
    return confidence, right


def split(data: Votes | OneModel, gold: NDArray[np.int64], test: NDArray[np.int64]) -> dict[str, tuple[Scores, Scores]]:
    """What sets the threshold, and the test rows, by way of using gold."""
    half = len(gold) // 2
    tested = data.fitted(gold, test)
    return {
        "free": (data.free(gold), data.free(test)),
        "same": (data.fitted(gold, gold), tested),
        "cross": (cross(data.fitted, gold), tested),
        "halves": (data.fitted(gold[:half], gold[half:]), data.fitted(gold[:half], test)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=400, help="gold rows")
    parser.add_argument("--train", type=int, default=1500)
    parser.add_argument("--method", default="stacked", help="of the consensus; `auto` takes minutes")
    parser.add_argument("--sample", type=int, default=8000)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--alpha", type=float, nargs="+", default=[0.05, 0.1, 0.2])
    parser.add_argument("--delta", type=float, default=0.1)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/llmlabel-bench"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    frame = pl.read_parquet(args.data)
    frame = frame.sample(min(args.sample, len(frame)), seed=args.seed, shuffle=True)
    data = Votes(frame, args.method) if "annotations" in frame.columns else OneModel(frame, args.train, args.cache, args.seed)
    rng = np.random.default_rng(args.seed)
    found: dict[tuple[float, str], list[tuple[float, float]]] = {}
    wrong = []
    for _ in range(args.splits):
        drawn = rng.permutation(data.rows)
        for way, ((confidence, right), (test, truth)) in split(data, drawn[: args.rows], drawn[args.rows :]).items():
            wrong.append((way, 1 - truth.mean()))
            for alpha in args.alpha:
                accepted = choose_threshold(confidence, right, alpha=alpha, delta=args.delta).accepts(test)
                error = float((~truth[accepted]).mean()) if accepted.any() else 0.0
                found.setdefault((alpha, way), []).append((float(accepted.mean()), error))
    noise = 2 * np.sqrt(args.delta * (1 - args.delta) / args.splits)
    print(f"{args.data.stem}: {args.rows} gold rows, {args.splits} splits, delta {args.delta}, seed {args.seed}")
    print(f"broken may reach {args.delta + noise:.3f}\nalpha   way     error  broken  accepted  promised  error among accepted")
    for (alpha, way), rows in found.items():
        share, error = np.array(rows).T
        all_wrong = np.mean([e for w, e in wrong if w == way])
        some = error[share > 0].mean() if (share > 0).any() else float("nan")
        shares = f"{all_wrong:.3f}  {np.mean(error > alpha):.3f}   {share.mean():.3f}     {np.mean(share > 0):.3f}     {some:.3f}"
        print(f"{alpha:<7} {way:<7} {shares}")


if __name__ == "__main__":
    main()
