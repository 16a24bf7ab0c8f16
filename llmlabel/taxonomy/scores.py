"""How good is a taxonomy and its labels? With gold labels, and without."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from llmlabel.llm.structured import Question, ask_all
from llmlabel.records import Annotation, Example, Label, Taxonomy, fold
from llmlabel.taxonomy.cluster import cluster
from llmlabel.taxonomy.settings import Setting

JUDGED = 100
KMEANS_RUNS = 5
KMEANS_KEEP = ("k_found", "k_gold", "rows", "exact")
REDUNDANT = 0.8  # cosine from which two labels count as near-duplicates
PROMPTS = {"forced_choice": "taxonomy/forced_choice@1.0.0", "relevance": "taxonomy/relevance@1.0.0"}
FloatArray = NDArray[np.floating]


class Better(BaseModel):
    better: Literal["A", "B", "neither"]


class Relevant(BaseModel):
    relevant: bool


def against_gold(found: Sequence[str | None], gold: Sequence[str], names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Agreement of a partition with gold labels.

    Args:
        found: a label per row; None (no label) counts as a group of its own, and as wrong in `accuracy`.
        gold: a gold label per row. names: label id -> name, for `exact`.
    Returns: nmi, ami, ari, v_measure, homogeneity, completeness, accuracy (best one-to-one match of labels, Kuhn 1955),
        purity, k_found, k_gold, rows; and exact, the share of rows whose label's id or name is the gold label, over the
        rows whose gold label is in the taxonomy (null where none is).
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn import metrics
    from sklearn.metrics.cluster import contingency_matrix

    groups = ["\0none" if f is None else f for f in found]
    table = contingency_matrix(list(gold), groups)
    real = [k for k, g in enumerate(sorted(set(groups))) if g != "\0none"]
    rows, columns = linear_sum_assignment(-table[:, real])
    homogeneity, completeness, v_measure = metrics.homogeneity_completeness_v_measure(gold, groups)
    return {
        "nmi": _round(metrics.normalized_mutual_info_score(gold, groups)),
        "ami": _round(metrics.adjusted_mutual_info_score(gold, groups)),
        "ari": _round(metrics.adjusted_rand_score(gold, groups)),
        "v_measure": _round(v_measure), "homogeneity": _round(homogeneity), "completeness": _round(completeness),
        "accuracy": _round(table[:, real][rows, columns].sum() / len(gold)),
        "purity": _round(table.max(axis=0).sum() / len(gold)),
        "k_found": len(real), "k_gold": len(set(gold)), "rows": len(gold),
        "exact": _exact(found, gold, names or {}),
    }  # fmt: skip


def _round(value: Any) -> float:
    return round(float(value), 4)


def _exact(found: Sequence[str | None], gold: Sequence[str], names: Mapping[str, str]) -> float | None:
    said = {fold(i): {fold(i), fold(n)} for i, n in names.items()}
    known = set().union(*said.values()) if said else set()
    pairs = [(f, fold(g)) for f, g in zip(found, gold, strict=True) if fold(g) in known]
    return _round(np.mean([f is not None and g in said[fold(f)] for f, g in pairs])) if pairs else None


def kmeans_baseline(vectors: FloatArray, gold: Sequence[str], seed: int) -> dict[str, Any]:
    """What k-means reaches on the same vectors when it is told the true number of classes: the mean of `KMEANS_RUNS`
    runs of 10 starts each, since single runs differ by several points."""
    from sklearn.cluster import KMeans

    k = min(len(set(gold)), len(np.unique(vectors, axis=0)))
    runs = []
    for n in range(KMEANS_RUNS):
        groups = KMeans(k, n_init=10, random_state=seed + n).fit_predict(vectors)
        runs.append(against_gold([str(g) for g in groups], gold))
    means = {name: _round(np.mean([run[name] for run in runs])) for name in runs[0] if name not in KMEANS_KEEP}
    return {**runs[0], **means}


def without_gold(
    taxonomy: Taxonomy, rows: Sequence[Annotation], texts: Mapping[str, Example], setting: Setting
) -> dict[str, float | None]:
    """Scores that need no gold labels.

    coverage: share of usable answers that are not "none fits". hit_rate_random, hit_rate_nearest: how often a judge
    prefers the given label to a random and to the nearest other one. relevance: share of labels that serve the use
    case. redundancy: share of label pairs above `REDUNDANT` cosine; max_similarity: the highest. Null where the judge
    cannot write.
    """
    usable = [row for row in rows if not row.status.failed]
    scores: dict[str, float | None] = {"coverage": _round(np.mean([row.label is not None for row in usable])) if usable else None}
    alike = _similarities(taxonomy, setting)
    pairs = alike[np.triu_indices(len(alike), 1)]
    scores["redundancy"] = _round(np.mean(pairs > REDUNDANT)) if len(pairs) else None
    scores["max_similarity"] = _round(pairs.max()) if len(pairs) else None
    judge = setting.models["judge"]
    labelled = [row for row in usable if row.label is not None]
    if not judge.backend.features.writes or len(taxonomy.leaves) < 2 or not labelled:
        return scores | dict.fromkeys(("hit_rate_random", "hit_rate_nearest", "relevance"))
    chosen = random.Random(f"{setting.seed}/judged").sample(labelled, min(JUDGED, len(labelled)))
    index = {label.id: k for k, label in enumerate(taxonomy.leaves)}
    np.fill_diagonal(alike, -1.0)
    near = {i: taxonomy.leaves[int(alike[k].argmax())] for i, k in index.items()}
    draw = random.Random(f"{setting.seed}/distractors")
    far = [draw.choice([label for label in taxonomy.leaves if label.id != row.label]) for row in chosen]
    scores["hit_rate_random"] = _hit_rate(chosen, far, taxonomy, texts, setting)
    scores["hit_rate_nearest"] = _hit_rate(chosen, [near[str(r.label)] for r in chosen], taxonomy, texts, setting)
    scores["relevance"] = _relevance(taxonomy, setting)
    return scores


def _similarities(taxonomy: Taxonomy, setting: Setting) -> FloatArray:
    meanings = setting.encode([label.meaning for label in taxonomy.leaves])
    return np.asarray(meanings @ meanings.T, dtype=np.float64)


def _hit_rate(
    rows: Sequence[Annotation],
    others: Sequence[Label],
    taxonomy: Taxonomy,
    texts: Mapping[str, Example],
    setting: Setting,
) -> float | None:
    """How often the judge prefers the given label; which of the two stands first is drawn for every text."""
    prompt, draw = setting.prompts.get(PROMPTS["forced_choice"]), random.Random(f"{setting.seed}/sides")
    sides = [draw.choice("AB") for _ in rows]
    questions = []
    for row, other, side in zip(rows, others, sides, strict=True):
        given = taxonomy[str(row.label)]
        a, b = (given, other) if side == "A" else (other, given)
        text = texts[row.id].text[: setting.max_text_chars]
        questions.append(Question(prompt.render(use_case=setting.use_case, text=text, a=a, b=b), Better, max_tokens=30))
    answers = ask_all(setting.models["judge"], questions, "judge", setting.counter("judge", len(questions)))
    hits = [a.better == side for a, side in zip(answers, sides, strict=True) if isinstance(a, Better)]
    return _round(np.mean(hits)) if hits else None


def _relevance(taxonomy: Taxonomy, setting: Setting) -> float | None:
    prompt = setting.prompts.get(PROMPTS["relevance"])
    questions = [
        Question(prompt.render(use_case=setting.use_case, label=label), Relevant, max_tokens=30) for label in taxonomy.labels
    ]
    said = [a.relevant for a in ask_all(setting.models["judge"], questions, "judge") if isinstance(a, Relevant)]
    return _round(np.mean(said)) if said else None


def stability(vectors: FloatArray, max_labels: int, seed: int, draws: int = 2) -> float | None:
    """Mean adjusted Rand index between clusterings of overlapping random 80% samples, on the rows they share."""
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng(seed)
    size = int(0.8 * len(vectors))
    if size < 10:
        return None
    found = []
    for n in range(draws + 1):
        rows = np.sort(rng.choice(len(vectors), size, replace=False))
        found.append(dict(zip(rows.tolist(), cluster(vectors[rows], max_labels=max_labels, seed=seed + n).tolist(), strict=True)))
    values = []
    for a, b in zip(found, found[1:], strict=False):
        shared = sorted(a.keys() & b.keys())
        values.append(adjusted_rand_score([a[i] for i in shared], [b[i] for i in shared]))
    return _round(np.mean(values))
