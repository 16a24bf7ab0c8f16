"""How good it is: the scores, and the classifier beside the model that taught it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmlabel.report import words

GOLD = {
    "nmi": ("NMI", "what the labels tell about the true ones; 0 nothing, 1 all"),
    "ami": ("AMI", "the same, less what chance would give"),
    "ari": ("ARI", "pairs of texts rightly together or apart, less what chance would give"),
    "v_measure": ("V-measure", "labels pure, and true classes whole"),
    "accuracy": ("Accuracy", "share right under the best one-to-one match of labels"),
    "homogeneity": ("Homogeneity", "every label holds one true class only"),
    "completeness": ("Completeness", "every true class lies in one label"),
    "purity": ("Purity", "share of texts in the largest true class of their label; grows with the number of labels"),
    "exact": ("Same name", "share whose label has the very name of the true one"),
    "macro_f1": ("Macro F1", "every class counts alike"),
    "micro_f1": ("Micro F1", "every label given or due counts alike"),
    "ece": ("ECE", "how far confidence is from being right; lower is better"),
    "k_found": ("Labels found", ""),
    "k_gold": ("True labels", ""),
    "rows": ("Texts compared", ""),
}
RIGHT = "share of the texts with the right label, and its 95% interval"  # accuracy, where there is nothing to match
INTERVALS = {"accuracy_low", "accuracy_high"}
SHARES = {"coverage", "hit_rate_random", "hit_rate_nearest", "relevance", "redundancy", "unseen_mass"}
LOWER_IS_BETTER, NO_CONTEST = {"ece"}, {"k_found", "k_gold", "rows", "purity"}
PLAIN = {
    "coverage": ("Coverage", "share of the texts that at least one label fits"),
    "hit_rate_random": (
        "Hit rate, random rival",
        "shown a text, its label and another: how often its own is chosen; a coin: 50%",
    ),
    "hit_rate_nearest": (
        "Hit rate, nearest rival",
        "the same beside the most similar label: are neighbours told apart?",
    ),
    "relevance": ("Relevance", "share of the labels that a judge finds to serve the use case"),
    "redundancy": ("Redundancy", "share of the pairs of labels that say nearly the same; lower is better"),
    "max_similarity": ("Closest pair", "cosine of the two labels most alike; lower is better"),
    "unseen_mass": (
        "Unseen mass",
        "probability the model gave to answers that are no label; high: it does not follow the question",
    ),
    "stability_ari": ("Stability", "how alike the groups come out on other samples of the texts (ARI); 1 is identical"),
}


@dataclass
class Cell:
    """One score; `best`: none in its row is better; `interval`: 95%, "" where unknown."""

    text: str
    best: bool = False
    interval: str = ""


@dataclass
class Line:
    """One score for every method, or one score and what it means."""

    name: str
    meaning: str
    cells: list[Cell]


@dataclass
class Scores:
    """`gold`: against true labels, one column per method; `plain`: without them; `groups`: labels are of the run's own making,
    compared as groups of texts."""

    columns: list[str] = field(default_factory=list)
    gold: list[Line] = field(default_factory=list)
    plain: list[Line] = field(default_factory=list)
    groups: bool = True


def scores(metrics: dict[str, Any]) -> Scores:
    """The two tables of scores; what is absent or null is left out."""
    found = {str(k): v for k, v in (metrics.get("scores") or {}).items() if isinstance(v, dict)}
    methods = {k: known for k, v in found.items() if k not in ("no_gold", "student") and (known := words.figures(v))}
    columns = sorted(methods, key=lambda name: name != "llmlabel")
    groups = not _labels_are_given(methods)
    gold = [_gold_line(key, [methods[c] for c in columns], groups) for key in _keys(methods)]
    return Scores([words.clean(c, 40) for c in columns], gold, _plain(found.get("no_gold", {})), groups)


def _labels_are_given(methods: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether the labels are those of the true ones, so that there is nothing to match: such runs have no NMI."""
    return not any("nmi" in known for known in methods.values())


def _interval(known: Mapping[str, float]) -> str:
    low, high = known.get("accuracy_low"), known.get("accuracy_high")
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _keys(methods: dict[str, dict[str, float]]) -> list[str]:
    there = {key for values in methods.values() for key in values} - INTERVALS
    return [key for key in GOLD if key in there] + sorted(there - GOLD.keys())


def _gold_line(key: str, methods: Sequence[Mapping[str, float]], groups: bool) -> Line:
    values = [known.get(key) for known in methods]
    known = [v for v in values if v is not None]
    best = min(known) if key in LOWER_IS_BETTER else max(known)
    contest = key in GOLD and key not in NO_CONTEST and len(known) > 1
    name, meaning = GOLD.get(key, (words.clean(key, 40).replace("_", " "), ""))
    between = [_interval(m) if key == "accuracy" else "" for m in methods]
    cells = [Cell(words.score(v), contest and v == best, i) for v, i in zip(values, between, strict=True)]
    return Line(name, RIGHT if key == "accuracy" and not groups else meaning, cells)


def _plain(values: dict[str, Any]) -> list[Line]:
    known = words.figures(values)
    order = [key for key in PLAIN if key in known] + sorted(known.keys() - PLAIN.keys())
    names = {key: PLAIN.get(key, (words.clean(key, 40).replace("_", " "), "")) for key in order}
    return [Line(*names[key], [Cell(_as_plain(key, known[key]))]) for key in order]


def _as_plain(key: str, value: float) -> str:
    return words.percent(value) if key in SHARES and 0 <= value <= 1 else words.score(value)


def in_a_sentence(metrics: dict[str, Any]) -> str:
    """NMI beside k-means', or accuracy, in words, or the hit rate when there is no gold; "" when there is none of them."""
    found = metrics.get("scores") or {}
    ours, theirs = (words.figures(found.get(name)).get("nmi") for name in ("llmlabel", "kmeans"))
    if ours is not None:
        beside = "" if theirs is None else f" (k-means on the same vectors: {theirs:.2f})"
        return f"Against the true labels the NMI is {ours:.2f}{beside}."
    right = words.figures(found.get("llmlabel"))
    if "accuracy" in right:
        low, high = right.get("accuracy_low"), right.get("accuracy_high")
        sure = "" if low is None or high is None else f" (95% interval {words.percent(low)} to {words.percent(high)})"
        return f"Where the true label is known, {words.percent(right['accuracy'])} of the labels are right{sure}."
    hits = words.figures(found.get("no_gold")).get("hit_rate_nearest")
    if hits is None:
        return ""
    return f"Offered a text's label and the one most like it, a judge picks its own {words.percent(hits)} of the time."


@dataclass
class Student:
    """The small classifier. Accuracy is agreement with the teacher on texts it was not trained on."""

    name: str
    accuracy: float | None
    low: float | None
    high: float | None
    macro_f1: float | None
    rows: int | None
    candidates: list[tuple[str, float]]


def student(metrics: dict[str, Any]) -> Student | None:
    raw = (metrics.get("scores") or {}).get("student")
    if not isinstance(raw, dict) or not raw:
        return None
    known = words.figures(raw)
    tried = sorted(words.figures(raw.get("candidates")).items(), key=lambda pair: -pair[1])
    return Student(
        name=_spoken(raw.get("name") or "classifier"),
        accuracy=known.get("accuracy"),
        low=known.get("accuracy_low"),
        high=known.get("accuracy_high"),
        macro_f1=known.get("macro_f1"),
        rows=int(known["rows"]) if "rows" in known else None,
        candidates=[(_spoken(name), value) for name, value in tried],
    )


def _spoken(name: object) -> str:
    known = {"lightgbm": "LightGBM", "mlp": "MLP (a small neural network)"}
    return known.get(str(name), words.clean(name, 60).replace("_", " "))
