"""The right label: ids and names of a taxonomy count alike."""

from __future__ import annotations

import re

from llmlabel.records import Label, Taxonomy, fold
from llmlabel.selection.verifiers._final import bare, label_line

NOT = re.compile(r"\b(?:not|no|nor|neither|never|without)\b|n['’]t\b")


def verify(answer: str, gold: str, taxonomy: Taxonomy | None = None) -> bool:
    """Whether the label an answer ends in is one of gold's (ids or names, several with `|`).

    That is what the last `Label:` line says; without one the whole answer, if that is a label. Else the one label named in that
    line, or in the last one, where it is exactly one and not denied. Without a taxonomy texts are compared.
    """
    golds = [part for part in gold.split("|") if part.strip()]
    line = label_line(answer)
    said = answer if line is None else line
    if taxonomy is None:
        return _plain(said) in map(_plain, golds)
    found = _find(said, taxonomy) or _named(_last_line(said), taxonomy)
    known = [label.id for part in golds if (label := taxonomy.find(part)) is not None]
    if found is None:  # gold may be what no label stands for, such as `-`
        return not known and _plain(said) in map(_plain, golds)
    return found.id in known


def _plain(text: str) -> str:
    return bare(fold(text)) or fold(text)


def _find(text: str, taxonomy: Taxonomy) -> Label | None:
    unescaped = text.replace("\\_", "_")
    return taxonomy.find(text) or taxonomy.find(bare(text)) or taxonomy.find(bare(unescaped))


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].replace("\\_", "_") if lines else ""


def _named(line: str, taxonomy: Taxonomy) -> Label | None:
    """The one label whose id or name stands in a line as a whole word; of names within names the longest."""
    words = sorted({fold(word) for label in taxonomy.leaves for word in (label.id, label.name)}, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)")
    text = fold(line)
    found = {label.id: label for word in pattern.findall(text) if (label := taxonomy.find(word)) is not None}
    denied = NOT.search(pattern.sub(" ", text))
    return next(iter(found.values())) if len(found) == 1 and not denied else None
