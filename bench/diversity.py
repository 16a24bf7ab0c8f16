"""Is the Vendi score of any use here? Two questions.

    python bench/diversity.py --data clinc150.parquet --gold-column label_coarse

Does it fall when a sample holds duplicates (exact, or with a word dropped)? And does a sample of `--size` rows that scores
higher (k-means, farthest points) teach logistic regression on sentence vectors more than a random one? Without a gold column
the second is left out. The last line says what came of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llmlabel import embedding
from llmlabel.students.logistic_regression import LogisticRegressionStudent

Vectors = NDArray[np.float32]
Ints = NDArray[np.int64]


def vendi(vectors: Vectors, *, q: float = 1.0) -> float:
    """The exponential of the entropy of the eigenvalues of X X' / n: 1 where all rows are alike, n where all are orthogonal.

    Args:
        vectors: (n, D) rows of unit length. q: order of Renyi's entropy (arXiv 2310.12952); larger ones look at large groups.
    It grows with n: compare sets of one size. Source: Friedman and Dieng 2023 (arXiv 2210.02410).
    """
    x = np.asarray(vectors, dtype=np.float64)
    gram = (x.T @ x if x.shape[1] < len(x) else x @ x.T) / len(x)
    values = np.linalg.eigvalsh(gram)
    values = values[values > 1e-12]
    values /= values.sum()
    if q == 1:
        return float(np.exp(-(values * np.log(values)).sum()))
    if np.isinf(q):
        return float(1 / values.max())
    return float((values**q).sum() ** (1 / (1 - q)))


def vendi_of_draws(vectors: Vectors, size: int, *, seed: int, draws: int = 10, q: float = 1.0) -> float:
    """Mean Vendi score of `draws` random subsets of `size` rows: comparable between sets of different sizes."""
    rng = np.random.default_rng(seed)
    picks = (rng.choice(len(vectors), size, replace=False) for _ in range(draws))
    return float(np.mean([vendi(vectors[rows], q=q) for rows in picks]))


def without_a_word(text: str, rng: np.random.Generator) -> str:
    words = text.split()
    if len(words) > 1:
        words.pop(rng.integers(len(words)))
    return " ".join(words)


def duplicates(args: argparse.Namespace, texts: list[str], encode: Callable[[list[str]], Vectors]) -> None:
    print("duplicates   exact   near   (mean Vendi score of 200 of 400 rows)")
    for share in (0.0, 0.25, 0.5):
        scores = []
        for seed in range(args.seeds):
            rng = np.random.default_rng((args.seed, seed))
            rows = rng.choice(len(texts), 400, replace=False)
            kept = rows[: round(400 * (1 - share))]
            again = rng.choice(kept, 400 - len(kept))
            base = encode([texts[i] for i in kept])
            near = encode([without_a_word(texts[i], rng) for i in again]) if share else base[:0]
            same = encode([texts[i] for i in again]) if share else base[:0]
            scores.append([vendi_of_draws(np.concatenate([base, more]), 200, seed=seed) for more in (same, near)])
        exact, close = np.mean(scores, axis=0)
        print(f"{share:10.2f} {exact:7.1f} {close:6.1f}")


def k_means(vectors: Vectors, size: int, seed: int) -> Ints:
    from sklearn.cluster import KMeans

    far = KMeans(size, n_init=1, random_state=seed).fit(vectors).transform(vectors)
    return np.unique(far.argmin(axis=0))


def farthest(vectors: Vectors, size: int, seed: int) -> Ints:
    picked = [int(np.random.default_rng(seed).integers(len(vectors)))]
    nearest = vectors @ vectors[picked[0]]
    while len(picked) < size:
        picked.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors @ vectors[picked[-1]])
    return np.array(picked)


def at_random(vectors: Vectors, size: int, seed: int) -> Ints:
    return np.random.default_rng(seed).choice(len(vectors), size, replace=False)


def samples(args: argparse.Namespace, vectors: Vectors, gold: Ints) -> None:
    found: dict[str, list[tuple[float, float]]] = {}
    within = []
    for seed in range(args.seeds):
        rows = np.random.default_rng((args.seed, seed)).permutation(len(gold))
        pool, test = rows[: args.pool], rows[args.pool : args.pool + 4000]

        def result(picked: Ints, pool: Ints = pool, test: Ints = test, seed: int = seed) -> tuple[float, float]:
            student = LogisticRegressionStudent()
            student.fit(vectors[pool[picked]], gold[pool[picked]], int(gold.max()) + 1, seed)
            right = student.predict_proba(vectors[test]).argmax(axis=1) == gold[test]
            return vendi(vectors[pool[picked]]), float(right.mean())

        for strategy in (at_random, k_means, farthest):
            found.setdefault(strategy.__name__, []).append(result(strategy(vectors[pool], args.size, seed)))
        draws = np.array([result(at_random(vectors[pool], args.size, 1000 * seed + k)) for k in range(8)])
        within.append(np.corrcoef(draws.T)[0, 1])
    print(f"\n{args.size} rows of a pool of {args.pool}    Vendi   accuracy    minus random (standard error)")
    base = np.array(found["at_random"])
    for name, each in found.items():
        gain = np.array(each)[:, 1] - base[:, 1]
        score, right = np.mean(each, axis=0)
        print(f"{name:26} {score:9.1f} {right:10.3f} {gain.mean():+12.3f} ({gain.std(ddof=1) / np.sqrt(len(gain)):.3f})")
    mean = {name: np.mean(each, axis=0) for name, each in found.items()}
    print(f"correlation of Vendi and accuracy among random samples: {np.mean(within):+.2f}")
    best = [max(mean, key=lambda name, k=k: mean[name][k]) for k in (0, 1)]
    print(
        f"highest score: {best[0]}; best student: {best[1]}" + ("" if best[0] == best[1] else "; the score does not choose well")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--gold-column")
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--pool", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--embedder", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    texts = [t or "" for t in pq.read_table(args.data, columns=[args.text_column]).column(0).to_pylist()]
    embedder, cache = embedding.connect(args.embedder, fit_on=texts), embedding.VectorCache()
    duplicates(args, texts, lambda some: cache.encode(embedder, some))
    if args.gold_column:
        names = pq.read_table(args.data, columns=[args.gold_column]).column(0).to_pylist()
        samples(args, cache.encode(embedder, texts), np.unique(names, return_inverse=True)[1])


if __name__ == "__main__":
    main()
