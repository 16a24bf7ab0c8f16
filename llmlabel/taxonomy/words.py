"""Words and phrases of texts: stop words, vague words, stems, and phrases counted by cluster."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

Key = tuple[str, ...]

MAX_WORDS = 3
CHARACTERS = 2000
LONGEST = 30
ENGLISH_SHARE = 0.1
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u109f"
_WORD = re.compile(rf"[^\W\d_][\w{_MARKS}]*(?:['’-][^\W\d_]+)*|[^\s\w]|\d\S*")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words("a an the my your our his her their its this that these those some any another each every")
VERB_CUES = _words(
    """to i you we they he she it can could will would should shall may might must please not cannot don't didn't
    doesn't won't can't i'd i'll let lets how"""
)
VAGUE = _words(
    """other others general miscellaneous misc various stuff thing something anything everything nothing unknown none
    topic category label cluster group item kind type sort way lot bit etc example"""
)
_CHATTY = _words(
    """want wanna need tell know help like get got let make use using used give say said says think thought look
    looking find please thanks thank hi hello hey okay ok yes no sure really actually just good great bad nice new
    old best better right lot try trying tried able possible come coming going gonna gotta dont doesnt didnt isnt
    wasnt cant wont im ive id ill youre thats whats lets whos hows people person today tomorrow yesterday day time
    long short big small little different same maybe ask question assist assistance check having getting checking
    available soon told times ago keeps keep pretty believe explain happening happen happens seeing expect receive
    receiving contains contain allows allow provides provide provided far entire involved exist ur plz pls u bring
    mean means wondering wonder recently immediately currently quickly properly correctly issue issues problem
    problems trouble troubles error errors fix options option required denied show set put work works working does
    did do don t s m re ve ll d aren couldn didn doesn hadn hasn haven isn mightn mustn needn shan shouldn wasn
    weren wouldn ain won"""
)
_CONTENT = _words("bill call fire system top bottom detail interest mill amount computer")
_PROFANE = _words(
    """fuck fucking fucked fucker shit shitty bullshit bitch ass asshole damn goddamn bloody freaking crap dick bastard
    cunt"""
)
_STOP = (ENGLISH_STOP_WORDS - _CONTENT) | _CHATTY | _PROFANE
_SUFFIXES = (("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x"), ("s", ""))


def is_stop(word: str) -> bool:
    """Whether a lower-case word must not be part of a name."""
    plain = word.replace("’", "'")
    base = plain.split("'")[0]
    return plain in _STOP or base in _STOP or (base != plain and not plain.endswith("'s"))


def stem(word: str) -> str:
    """Fold the plural and the commonest verb endings of a lower-case word; other scripts pass unchanged."""
    if not word.isascii() or len(word) < 4 or word.endswith(("ss", "us", "is")):
        return word
    ending, instead = next(((e, i) for e, i in _SUFFIXES if word.endswith(e) and len(word) > len(e) + 1), ("", ""))
    if ending:
        word = word[: -len(ending)] + instead
    ending = next((e for e in ("ing", "ed") if word.endswith(e) and len(word) >= len(e) + 4), "")
    return word[: -len(ending)] if ending else word


@dataclass
class Counts:
    """Document frequencies of phrases: per cluster, and how each phrase is written; words after verb and noun cues."""

    texts: list[int]
    phrases: list[Counter[Key]]
    forms: dict[Key, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    verbs: Counter[str] = field(default_factory=Counter)
    nouns: Counter[str] = field(default_factory=Counter)


def tokens(text: str) -> list[str]:
    """Words and punctuation marks of the first CHARACTERS characters; letters of any script with their marks."""
    return _WORD.findall(text[:CHARACTERS])


def key_of(name: str) -> Key:
    """The stems of a phrase, sorted: phrases with equal keys say the same."""
    return tuple(sorted({stem(word) for word in name.lower().split()}))


def count(texts: Sequence[str], assignment: npt.NDArray[np.int64]) -> Counts:
    """Count the phrases of ``texts`` by cluster; ``assignment`` holds (N,) ids 0..K-1."""
    size = int(np.max(assignment, initial=-1)) + 1
    split = [tokens(text) for text in texts]
    everywhere = _everywhere(split, assignment, size)
    counts = Counts(np.bincount(assignment, minlength=size).tolist(), [Counter() for _ in range(size)])
    for words, k in zip(split, assignment.tolist(), strict=True):
        _note_context(words, counts)
        seen = {key_of(phrase): phrase for phrase in _phrases(words, everywhere)}
        counts.phrases[k].update(seen.keys())
        for key, phrase in seen.items():
            counts.forms[key][phrase] += 1
    return counts


def _everywhere(split: Sequence[list[str]], assignment: npt.NDArray[np.int64], size: int) -> set[str]:
    """Stop words of a language no list is kept for: frequent words found in most clusters. Empty for English texts."""
    clusters, frequency, total, english = defaultdict(set), Counter[str](), 0, 0
    for words, k in zip(split, assignment.tolist(), strict=True):
        for word in {word.lower() for word in words if word[0].isalpha()}:
            clusters[word].add(k)
            frequency[word] += 1
            total += 1
            english += word in ENGLISH_STOP_WORDS
    if size < 3 or english >= ENGLISH_SHARE * total:
        return set()
    return {w for w, n in frequency.items() if n >= 0.015 * len(split) and len(clusters[w]) >= 0.5 * size}


def _note_context(words: Sequence[str], counts: Counts) -> None:
    """Count words used like verbs (after to, can, I; before a determiner) and like nouns (after the, my)."""
    for before, word in pairwise(word.lower() for word in words):
        if before in VERB_CUES:
            counts.verbs[word] += 1
        elif before in DETERMINERS:
            counts.nouns[word] += 1
        if word in DETERMINERS:
            counts.verbs[before] += 1


def _phrases(words: Sequence[str], everywhere: set[str]) -> Iterator[str]:
    """Runs of up to MAX_WORDS words between stop words and punctuation; determiners inside a run are passed over."""
    run: list[str] = []
    for word in [*words, "."]:
        if word.lower() in DETERMINERS and run:
            continue
        if word[0].isalpha() and len(word) <= LONGEST and not is_stop(word.lower()) and word.lower() not in everywhere:
            run.append(word)
            continue
        yield from (" ".join(run[i : i + n]) for n in range(1, MAX_WORDS + 1) for i in range(len(run) - n + 1))
        run = []
