"""Which prompts begin alike, so that their beginning is computed once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import takewhile
from typing import TypeVar

from llmlabel.llm.causal_lm import SHARED

K = TypeVar("K", bound=Hashable)


def families(prompts: Mapping[K, Sequence[int]]) -> list[tuple[int, list[K]]]:
    """Prompts that begin alike: (tokens in common, their names), each name once; those without a family last, together, with 0.

    A prompt joins those before it in alphabetical order where at least half of it, its last token apart, is what they share.
    """
    found: list[tuple[int, list[K]]] = []
    for name in sorted(prompts, key=lambda name: list(prompts[name])):
        prompt = prompts[name][:-1]
        shared, family = found[-1] if found else (0, [])
        first = prompts[family[0]][:shared] if family else ()
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, prompt, strict=False)))
        if alike >= max(SHARED, len(prompt) / 2):
            found[-1] = (alike, [*family, name])
        else:
            found.append((len(prompt), [name]))
    alone = [name for _, family in found if len(family) == 1 for name in family]
    return [(shared, family) for shared, family in found if len(family) > 1] + [(0, alone)] * bool(alone)
