"""Personal data out of texts before they leave the machine, and back into the answers.

What is found becomes a placeholder such as `<EMAIL_1>`, numbered by first appearance within the texts that are masked
together, so that the same request is masked the same way every time. A placeholder that some text already contains is not
given out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from typing import Protocol

from llmlabel.errors import ConfigError
from llmlabel.personal import Finder, find


@dataclass(frozen=True, order=True)
class Span:
    """Something personal: characters `start` to `end` of a text, and what they are."""

    start: int
    end: int
    kind: str


class Masker(Protocol):
    """Replaces personal data in texts, and puts it back."""

    def mask(self, texts: list[str]) -> tuple[list[str], dict[str, str]]:
        """The texts, masked, and what each placeholder stands for."""
        ...

    def unmask(self, text: str, mapping: Mapping[str, str]) -> str:
        """A text with the values back in place of their placeholders."""
        ...


class SpanMasker:
    """Masks whatever a finder finds.

    Args:
        finder: text -> (start, end, kind) triples; they may overlap, the one that begins first (then the longest) counts.
    """

    def __init__(self, finder: Finder) -> None:
        self._finder = finder

    def mask(self, texts: list[str]) -> tuple[list[str], dict[str, str]]:
        found = [_apart(Span(*span) for span in self._finder(text)) for text in texts]
        kinds: dict[str, str] = {}
        for text, spans in zip(texts, found, strict=True):
            for span in spans:
                kinds.setdefault(text[span.start : span.end], span.kind)
        if not kinds:
            return list(texts), {}
        found = [_apart([*spans, *_again(text, kinds)]) for text, spans in zip(texts, found, strict=True)]
        placeholders = _Placeholders(texts, kinds)
        masked = [_filled(text, spans, placeholders) for text, spans in zip(texts, found, strict=True)]
        return masked, {placeholder: value for value, placeholder in placeholders.given.items()}

    def unmask(self, text: str, mapping: Mapping[str, str]) -> str:
        return unmask(text, mapping)


def unmask(text: str, mapping: Mapping[str, str], written: Callable[[str], str] = str) -> str:
    """Put values back where their placeholders stand. `written`: how a value is written there."""
    if not mapping:
        return text
    return re.sub("|".join(map(re.escape, mapping)), lambda match: written(mapping[match[0]]), text)


def _apart(spans: Iterable[Span]) -> list[Span]:
    """Spans that do not overlap, in order; what overlaps an earlier one and reaches further is joined to it."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
        elif span.end > kept[-1].end:
            kept[-1] = Span(kept[-1].start, span.end, kept[-1].kind)
    return kept


def _again(text: str, kinds: Mapping[str, str]) -> list[Span]:
    """Every further place of a value that was recognised somewhere: a phone number once called that stays one."""
    return [
        Span(m.start(), m.end(), kind)
        for value, kind in kinds.items()
        if any(c.isdigit() or c == "@" for c in value) and value in text
        for m in re.finditer(rf"(?<![\w.]){re.escape(value)}(?!\w)", text)
    ]


class _Placeholders:
    """Gives each value its placeholder, numbered by kind in order of asking."""

    def __init__(self, texts: Sequence[str], kinds: Mapping[str, str]) -> None:
        self.given: dict[str, str] = {}
        self._texts, self._kinds = texts, kinds
        self._numbers = {kind: count(1) for kind in kinds.values()}

    def __call__(self, value: str, kind: str) -> str:
        if value not in self.given:
            kind = self._kinds.get(value, kind)
            names = (f"<{kind}_{n}>" for n in self._numbers.setdefault(kind, count(1)))
            self.given[value] = next(name for name in names if not any(name in text for text in self._texts))
        return self.given[value]


def _filled(text: str, spans: Sequence[Span], placeholders: _Placeholders) -> str:
    parts, at = [], 0
    for span in spans:
        parts += [text[at : span.start], placeholders(text[span.start : span.end], span.kind)]
        at = span.end
    return "".join([*parts, text[at:]])


def connect(kind: str) -> Masker | None:
    """`none`: nothing is masked; `regex`: numbers, addresses and keys that have a form; `presidio`: those, what
    presidio-analyzer's own patterns find, and names and places where a spaCy model is installed.

    Raises: ConfigError for an unknown kind, or where presidio-analyzer is missing.
    """
    if kind == "none":
        return None
    if kind == "regex":
        return SpanMasker(find)
    if kind == "presidio":
        return SpanMasker(import_module("llmlabel.presidio").finder())
    raise ConfigError(f"mask: {kind!r} is unknown; there are none, regex, presidio")
