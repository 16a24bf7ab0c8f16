"""Where an answer says what it ends in."""

from __future__ import annotations

import re

MARKUP = " \t>*_#`"
LABEL = re.compile(rf"^[{MARKUP}-]*label[{MARKUP}]*[:：][{MARKUP}]*\s*(?P<said>\S.*)$", re.IGNORECASE | re.MULTILINE)
ANSWER = re.compile(
    rf"^[{MARKUP}-]*(?:(?:so|thus|hence|therefore),? )?(?:the )?(?:final |correct |right )?answer(?: is)?"
    rf"[{MARKUP}]*[:：][{MARKUP}]*\s*(?P<said>\S.*)$",
    re.IGNORECASE | re.MULTILINE,
)
HASHES = re.compile(r"^[ \t]*####[ \t]*(?P<said>\S.*)$", re.MULTILINE)
SHORT = re.compile(r"^A:[ \t]*(?P<said>\S.*)\Z", re.MULTILINE)  # as the last line only; elsewhere A is one of several choices
BOXED = re.compile(r"\\f?boxed\s*(?=\{)|\\boxed\s+(?P<bare>[^\s{$]+)")
QUOTES = "\"'`“”‘’«»"


def label_line(answer: str) -> str | None:
    """What stands after the last `Label:` at the start of a line; None where there is none."""
    found = list(LABEL.finditer(answer))
    return found[-1]["said"].strip() if found else None


def final_answer(answer: str) -> str | None:
    """What stands in the last of: a line `Answer: X` or `#### X`, a last line `A: X`, or a LaTeX box; None without any."""
    text = answer.rstrip()
    marked = [(m.start("said"), m["said"].strip()) for pattern in (ANSWER, HASHES, SHORT) for m in pattern.finditer(text)]
    marked += [(m.start(), m["bare"] or _braces(text, m.end())) for m in list(BOXED.finditer(text))[-1:]]
    return max(marked)[1] if marked else None


def _braces(text: str, start: int) -> str:
    """What stands between the brace at `start` and the one that closes it, or the end."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if not depth:
            return text[start + 1 : at]
    return text[start + 1 :]


def bare(text: str) -> str:
    """Without quotation marks, emphasis and the final period around it."""
    before = None
    while before != text:
        before, text = text, text.strip().strip(QUOTES + "*").removesuffix(".")
    return text
