"""Names for clusters of texts when no model can write: phrases of the texts themselves, ranked by contrast.

Candidates are runs of one to three words. A phrase is ranked in a cluster by the log-odds of a text holding it, against
the other clusters, with an informative Dirichlet prior, in standard errors (Monroe, Colaresi, Quinn 2008,
https://doi.org/10.1093/pan/mpn018). A model that can score text may then say which candidates fit (``calibrate``,
``choose_names``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from llmlabel.taxonomy.names import is_vague
from llmlabel.taxonomy.words import CHARACTERS, VAGUE, Counts, Key, count, key_of, stem, tokens

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

SAME_TEXTS = 0.5  # a part found at most twice as often as the longer phrase gives way to it
RARE_PART = 0.15  # a longer phrase found less than this often beside its part gives way to the part
COMMON_SHARE = 0.15  # of the texts elsewhere; a commoner phrase is no name
MODEL_WEIGHT = 2.0  # of the model's score where there is no similarity
MODEL_WEIGHT_BESIDE = 0.5  # and where there is
SIMILARITY_WEIGHT = 2.0
QUOTED_WORDS, QUOTED_CHARACTERS = 16, 160


def candidate_names(texts: Sequence[str], assignment: IntArray, *, per_cluster: int = 12) -> list[list[str]]:
    """Readable candidate names of every cluster, best first.

    Args:
        texts: N texts.
        assignment: (N,) cluster ids 0..K-1.
        per_cluster: at most this many candidates a cluster.

    Returns:
        K lists of title-cased phrases of one to three words; a list is empty where a cluster has no usable word.
    """
    counts = count(texts, assignment)
    ranked = ([_display(counts.forms[key]) for key in _ranked(counts, k)] for k in range(len(counts.texts)))
    return [[name for name in names if not is_vague(name)][:per_cluster] for names in ranked]


def calibrate(scores: FloatArray) -> FloatArray:
    """Remove what a model thinks of a name anyway: subtract each column's mean over the other rows.

    Args:
        scores: (K, J) log-probability of name j under the prompt of cluster k.

    Returns:
        (K, J); above 0 where the cluster makes the name likelier than the other clusters do.
    """
    if len(scores) < 2:
        return np.asarray(scores, dtype=np.float64)
    others = (scores.sum(axis=0, keepdims=True) - scores) / (len(scores) - 1)
    return np.asarray(scores - others)


def choose_names(
    candidates: Sequence[Sequence[str]],
    scores: Sequence[Sequence[float]],
    similarity: Sequence[Sequence[float]] | None = None,
) -> list[str]:
    """One distinct name for every cluster, by the best assignment over all clusters at once.

    A name is worth its score and its similarity, each standardised among the candidates of the cluster and weighted,
    minus log2 of its place among the keyphrases. The weights were fixed on support requests, banking requests and
    newsgroup posts by how near the chosen names come to the names of the classes.

    Args:
        candidates: K lists of names, best keyphrase first.
        scores: scores[k][j] of candidates[k][j] by a model, calibrated, higher better; all equal where none is asked.
        similarity: the same shape; cosine of the name's vector and the cluster's centroid, calibrated.

    Returns:
        K names, no two of which share their word stems.
    """
    keys = sorted({key_of(name) for names in candidates for name in names})
    column = {key: j for j, key in enumerate(keys)}
    utility = np.full((len(candidates), len(keys) + len(candidates)), -1e6)
    for k, names in enumerate(candidates):
        weight = MODEL_WEIGHT if similarity is None else MODEL_WEIGHT_BESIDE
        values = weight * _standard(scores[k]) - np.log2(1.0 + np.arange(len(names)))
        if similarity is not None:
            values = values + SIMILARITY_WEIGHT * _standard(similarity[k])
        for name, value in zip(names, values, strict=True):
            utility[k, column[key_of(name)]] = max(utility[k, column[key_of(name)]], value)
    columns = linear_sum_assignment(-utility)[1]
    result: list[str] = []
    for k, names in enumerate(candidates):
        fitting = [name for name in names if column[key_of(name)] == columns[k]]
        result.append(fitting[0] if fitting else _fallback(names, k, result))
    return result


def describe(texts: Sequence[str], assignment: IntArray, k: int, keyphrases: Sequence[str]) -> str:
    """A description of cluster ``k`` taken from its texts, of at most about 30 words.

    Args:
        texts: N texts.
        assignment: (N,) cluster ids.
        k: the cluster.
        keyphrases: its phrases, best first; the first three are named, the example is the text that holds most of all
            of them for its length.
    """
    members = [texts[i] for i in np.flatnonzero(assignment == k).tolist()]
    about = ", ".join(phrase if not phrase.istitle() else phrase.lower() for phrase in keyphrases[:3])
    wanted = {word for phrase in keyphrases for word in key_of(phrase)}
    example = max(members, key=lambda text: _closeness(text, wanted), default="")
    quote = _cut(example)
    return f"Texts about {about}; for example: «{quote}»" if about else f"For example: «{quote}»"


def _cut(text: str) -> str:
    words = text[:CHARACTERS].split()
    short = " ".join(words[:QUOTED_WORDS])[:QUOTED_CHARACTERS]
    return short if short == " ".join(text.split()) else f"{short} …"


def _closeness(text: str, wanted: set[str]) -> float:
    own = {stem(word.lower()) for word in tokens(text) if word[0].isalpha()}
    return len(own & wanted) / (8 + len(own))


def _fallback(names: Sequence[str], k: int, taken: Sequence[str]) -> str:
    pairs = (f"{a} and {b}" for i, a in enumerate(names) for b in names[i + 1 :])
    return next((name for name in pairs if name not in taken), f"Group {k + 1}")


def _standard(scores: Sequence[float]) -> FloatArray:
    values = np.asarray(scores, dtype=np.float64)
    spread = float(values.std()) if len(values) else 0.0
    return (values - values.mean()) / spread if spread > 1e-12 else np.zeros_like(values)


def _ranked(counts: Counts, k: int) -> list[Key]:
    floor = max(2, counts.texts[k] // 20) if counts.texts[k] >= 8 else 1
    usable = [
        key for key, seen in counts.phrases[k].items() if seen >= floor and _usable(key) and not _everywhere(counts, key, k)
    ]
    scores = {key: _contrast(counts, key, k) for key in usable}
    kept = _folded(counts.phrases[k], scores)
    return sorted(kept, key=lambda key: (-kept[key], key))


def _everywhere(counts: Counts, key: Key, k: int) -> bool:
    """Whether so many texts of the other clusters hold the phrase that it tells nothing apart."""
    outside = sum(phrases[key] for j, phrases in enumerate(counts.phrases) if j != k)
    return outside > COMMON_SHARE * max(1, sum(counts.texts) - counts.texts[k])


def _usable(key: Key) -> bool:
    return not any(word in VAGUE for word in key) and any(len(word) > 2 for word in key)


def _contrast(counts: Counts, key: Key, k: int) -> float:
    """Log-odds of a text of cluster k holding the phrase against the texts elsewhere, in standard errors."""
    here, size = counts.phrases[k][key], counts.texts[k]
    everywhere, total = sum(phrases[key] for phrases in counts.phrases), sum(counts.texts)
    prior = 2.0 * everywhere / total
    inside = np.log((here + prior) / (size - here + 2.0 - prior + 1e-9))
    rest, others = everywhere - here, total - size
    outside = np.log((rest + prior) / (others - rest + 2.0 - prior + 1e-9))
    error = np.sqrt(1.0 / (here + prior) + 1.0 / (rest + prior))
    last = _commonest(counts.forms[key]).lower().split()[-1]
    return float((inside - outside) / error) * _wording(counts, last)


def _wording(counts: Counts, last: str) -> float:
    """From 1 down to 0.4 the more the last word of a phrase is used like a verb."""
    noun = (counts.nouns[last] + 2.0) / (counts.nouns[last] + counts.verbs[last] + 2.0)
    return 0.4 + 0.6 * noun


def _folded(frequency: Counter[Key], scores: dict[Key, float]) -> dict[Key, float]:
    """Drop the phrases that say nothing beyond another: of two, one in the other, in mostly the same texts, the longer.

    A longer phrase that is rare beside its part goes instead. What stays takes the better of the two scores.
    """
    kept: dict[Key, float] = {}
    for key in sorted(scores, key=lambda key: (-len(key), -scores[key], key)):
        longer = [other for other in kept if set(key) < set(other)]
        same = [other for other in longer if frequency[other] >= SAME_TEXTS * frequency[key]]
        for other in [other for other in longer if frequency[other] < RARE_PART * frequency[key]]:
            del kept[other]
        if same:
            best = max(same, key=lambda other: (frequency[other], kept.get(other, -1.0), other))
            kept[best] = max(scores[key], kept.get(best, scores[key]))
        else:
            kept[key] = scores[key]
    return kept


def _display(forms: Counter[str]) -> str:
    """The commonest writing of a phrase in title case; words with capitals inside (JSON, NumPy) stay."""
    words = _commonest(forms).split()
    return " ".join(word if any(c.isupper() for c in word[1:]) else word.capitalize() for word in words)


def _commonest(forms: Counter[str]) -> str:
    return max(forms, key=lambda form: (forms[form], form))
