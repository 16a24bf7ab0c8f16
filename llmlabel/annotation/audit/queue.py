"""The queue of an audit: rows whose given label may be wrong, worst first, each with the reason in a sentence.

Source: confident learning (arXiv 1911.00068) for how many and which; an ensemble of LLM judges (arXiv 2410.18889) for what the
classifier suspects; the numbers are in `noise`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmlabel.annotation.audit.noise import FEWEST, FloatArray, IntArray, second_choice
from llmlabel.errors import DataError
from llmlabel.records import NONE_FITS, Annotation, Example, Status, Taxonomy, fold


@dataclass(frozen=True)
class Given:
    """Labels somebody gave.

    Args:
        taxonomy: the one given, or one made of the distinct labels. label: N ids, None where there is no label, or one that is
            not in the taxonomy. off_list: row id -> label that is not in the taxonomy, as it stands there.
    """

    taxonomy: Taxonomy
    label: Sequence[str | None]
    off_list: Mapping[str, str]

    def judged(self, examples: Sequence[Example]) -> tuple[list[int], list[str], dict[str, int]]:
        """Rows that can be judged, their classes, and rows of classes with fewer than `FEWEST` rows by label."""
        rows = [i for i, e in enumerate(examples) if self.label[i] is not None and e.text.strip()]
        counts = Counter(str(self.label[i]) for i in rows)
        order = [label.id for label in self.taxonomy.leaves] + [NONE_FITS]
        classes = [label for label in order if counts[label] >= FEWEST]
        return [i for i in rows if self.label[i] in classes], classes, {k: n for k, n in counts.items() if n < FEWEST}


def read_given(examples: Sequence[Example], taxonomy: Taxonomy | None) -> Given:
    """Match labels (the examples' `gold`) with a taxonomy's, by id or name after trimming and case-folding.

    Raises: DataError when no row has a label, or when rows hold several.
    """
    said = [None if e.gold is None or not e.gold.strip() else fold(e.gold) for e in examples]
    known = {s for s in said if s}
    if not known:
        raise DataError("no row has a label; name the column that holds them with --label-column")
    if several := next((s for s in known if "|" in s and known.issuperset(fold(p) for p in s.split("|"))), None):
        raise DataError(f"rows hold several labels, as in {several!r}; an audit takes one label per row")
    tree = taxonomy or Taxonomy.of(e.gold for e in examples)
    place = {fold(label.name): label.id for label in tree.leaves} | {fold(label.id): label.id for label in tree.leaves}
    place |= {NONE_FITS: NONE_FITS}
    off = {e.id: str(e.gold) for e, s in zip(examples, said, strict=True) if s and s not in place}
    return Given(tree, [place.get(s) if s else None for s in said], off)


@dataclass(frozen=True)
class Evidence:
    """What is known of the n rows that can be judged; K classes.

    Args:
        given: (n,) class index. classifier: (n, K) trained without the row. pooled: (n, K) with neighbours and judges.
        wrong: (n,) probability that the given label is wrong. near: (n, k) class index of the neighbours' labels.
        joint: (K, K) rows by given label and true class, estimated. said: row id -> answers of the judges.
    """

    classes: Sequence[str]
    given: IntArray
    classifier: FloatArray
    pooled: FloatArray
    wrong: FloatArray
    near: IntArray
    joint: FloatArray
    said: Mapping[str, Sequence[Annotation]] = field(default_factory=dict)


def queue(examples: Sequence[Example], given: Given, rows: Sequence[int], found: Evidence) -> list[dict[str, Any]]:
    """One entry per row that has a label: `id, given, proposed, score, flagged, reason`; flagged rows first, worst first.

    `score` is None, and stands last, where a row cannot be judged. Flagged are labels that are more likely wrong than right,
    labels that are not in the taxonomy, and texts that stand there twice with different labels.
    """
    names = {label.id: label.name for label in given.taxonomy.labels} | {NONE_FITS: NONE_FITS}
    clash = conflicts(examples, given)
    place = {i: n for n, i in enumerate(rows)}
    other = second_choice(found.pooled, found.given)
    made = []
    for i, e in enumerate(examples):
        label = given.label[i]
        entry: dict[str, Any] = {"id": e.id, "given": names.get(label or "", e.gold), "proposed": None, "score": None}
        if e.id in given.off_list:
            entry |= {"score": 1.0, "flagged": True, "reason": f"off list: `{e.gold}` is not a label of the taxonomy"}
        elif label is None or not e.text.strip():
            continue
        elif i in place:
            n = place[i]
            flagged, score = bool(found.wrong[n] > 0.5) or i in clash, float(found.wrong[n])
            alternative = names[found.classes[other[n]]] if flagged else None
            entry |= {"proposed": alternative, "score": max(score, clash[i][1] if i in clash else 0.0), "flagged": flagged}
            entry["reason"] = "; ".join([*(clash[i][:1] if i in clash else ()), _reason(found, n, e.id, int(other[n]), names)])
        elif i in clash:
            entry |= {"score": clash[i][1], "flagged": True, "reason": clash[i][0]}
        else:
            entry |= {"flagged": False, "reason": f"not judged: fewer than {FEWEST} rows are labelled `{names[label]}`"}
        made.append(entry)
    made.sort(key=lambda row: (not row["flagged"], row["score"] is None, -(row["score"] or 0.0)))
    return [{"rank": n, **row} for n, row in enumerate(made, 1)]


def conflicts(examples: Sequence[Example], given: Given) -> dict[int, tuple[str, float]]:
    """Rows whose very text also stands there with another label: the reason, and the share of its copies that differ."""
    labels, names = given.label, {label.id: label.name for label in given.taxonomy.labels}
    groups: dict[str, list[int]] = defaultdict(list)
    for i, e in enumerate(examples):
        if labels[i] is not None and e.text.strip():
            groups[fold(e.text)].append(i)
    found = {}
    for rows in groups.values():
        counts = Counter(labels[i] for i in rows)
        for i in rows if len(counts) > 1 else ():
            others = ", ".join(f"`{names.get(label, label)}`" for label in sorted(str(c) for c in counts if c != labels[i]))
            found[i] = (f"the same text is also labelled {others}", 1 - counts[labels[i]] / len(rows))
    return found


def _reason(found: Evidence, n: int, row_id: str, other: int, names: Mapping[str, str]) -> str:
    """What the classifier, the neighbours and the judges say, in a sentence."""
    name = [names[label] for label in found.classes]
    given = int(found.given[n])
    counts = Counter(found.near[n].tolist())
    parts = [
        f"the classifier, trained without this row, gives {found.classifier[n, other]:.2f} to `{name[other]}` and "
        f"{found.classifier[n, given]:.2f} to the given `{name[given]}`",
        f"{counts[other]} of its {found.near.shape[1]} nearest neighbours are `{name[other]}`, {counts[given]} `{name[given]}`",
    ]
    for answer in found.said.get(row_id, ()):
        if answer.status is Status.NONE_FITS:
            parts.append(f"{answer.annotator} finds that no label fits")
        elif answer.label is not None:
            sure = f" ({answer.confidence:.2f})" if answer.confidence is not None else ""
            parts.append(f"{answer.annotator} says `{names.get(answer.label, answer.label)}`{sure}")
    return "; ".join(parts)
