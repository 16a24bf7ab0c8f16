"""What a label may be called: rules the program enforces, whatever a model answers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from llmlabel.records import Label, fold

VAGUE = frozenset(
    "other others misc miscellaneous general various unknown undefined unclassified uncategorized uncategorised none "
    "not applicable na n/a unrelated mixed everything anything stuff things catch-all remaining rest".split()
)
FILLERS = frozenset(
    "topic topics category categories label labels issue issues question questions request requests query queries "
    "inquiry inquiries text texts item items matter matters information content and or the a of for".split()
)


def words(text: str) -> list[str]:
    return re.findall(r"[\w'’&/+#.-]+", text)


def is_vague(name: str) -> bool:
    """True for a bucket that says nothing: Other, General Inquiries, Misc. Topics."""
    said = [w.strip(".").casefold() for w in words(name)]
    return all(w in VAGUE or w in FILLERS for w in said) or bool(said and said[0] in VAGUE - {"general", "mixed"})


def other_script(name: str, use_case: str) -> bool:
    """True where a name is written in another script than a use case in Latin letters: most likely the wrong language."""
    return _latin(use_case) > 0.5 > _latin(name)


def _latin(text: str) -> float:
    letters = [c for c in text if c.isalpha()]
    return sum(unicodedata.name(c, "").startswith("LATIN") for c in letters) / len(letters) if letters else 0.5


def same_name(a: str, b: str) -> bool:
    """True where two names differ only in case, order, fillers, or a plural s."""
    return _core(a) == _core(b)


def _core(name: str) -> frozenset[str]:
    kept = [w for w in map(fold, words(name)) if w not in FILLERS]
    return frozenset(_stem(w) for w in kept) or frozenset([fold(name)])


def _stem(word: str) -> str:
    for ending, put in (("ies", "y"), ("sses", "ss"), ("s", "")):
        if word.endswith(ending) and len(word) > len(ending) + 2 and not word.endswith("ss"):
            return word[: -len(ending)] + put
    return word


def name_problem(name: str, taken: Iterable[Label], max_words: int) -> str | None:
    """Why this name cannot stand, in words a model can act on; None when it can."""
    clean = name.strip()
    if not clean or not re.search(r"\w", clean):
        return "the name is empty"
    if len(words(clean)) > max_words:
        return f"the name {clean!r} has more than {max_words} words"
    if is_vague(clean):
        return f"the name {clean!r} is a vague bucket; say what the texts are about"
    if twin := next((label for label in taken if same_name(label.name, clean)), None):
        return f"the name {clean!r} says the same as the label {twin.id} ({twin.name!r})"
    return None


def shorten(text: str, max_words: int) -> str:
    """Cut a description after a sentence or a comma where there is one before the limit, else at the limit."""
    parts = " ".join(text.split()).split(" ")
    if len(parts) <= max_words:
        return " ".join(parts)
    cut = " ".join(parts[:max_words])
    end = max(cut.rfind(". "), cut.rfind("; "), cut.rfind(", "))
    return (cut[:end] if end > len(cut) // 3 else cut).rstrip(",;. ") + "."
