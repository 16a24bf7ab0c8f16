"""The same number, however it is written; where gold is a formula, the same formula up to layout."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import NamedTuple

from llmlabel.records import Taxonomy, fold
from llmlabel.selection.verifiers._final import bare, final_answer

TOLERANCE = 1e-6  # relative, where one of the two is not a whole number
CHARACTERS = str.maketrans("−–﹣－＋⁄∕٫٬\u00a0\u202f\u2009", "----+//.,   ")
LAYOUT = (  # what changes how a number or formula looks and not what it says
    (re.compile(r"<<[^<>\n]*>>"), ""),  # calculator marks of GSM8K: 9*60=<<9*60=540>>540
    (re.compile(r"(?<=\d)[\u00a0\u202f\u2009](?=\d{3})"), ""),
    (re.compile(r"[¼-¾⅐-⅞]"), lambda found: " " + unicodedata.normalize("NFKC", found[0])),
    (re.compile(r"\\(?:left|right|displaystyle|[!,;: ])"), ""),
    (re.compile(r"\\(?:text|mbox|mathrm|textbf|mathbf)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\[dtc]frac"), r"\\frac"),
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s*(\d)\s*\{"), r"\\frac{\1}{"),
    (re.compile(r"\\frac\s*(\{[^{}]*\})\s*(\d)"), r"\\frac\1{\2}"),
    (re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)"), "°"),
    (re.compile(r"\\([$%#&_])"), r"\1"),
    (re.compile(r"\\[()\[\]]|\$\$"), ""),
    (re.compile(r"(?<=\d)\{,\}(?=\d{3})"), ","),
)
PLAIN = r"(?>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
POWER = r"(?:e[+-]?\d{1,3}(?!\d)|\s*(?:\\times|×|\*)\s*10\s*\^\s*\{?[+-]?\d{1,3}\}?)"
NUMBER = re.compile(
    r"(?<![\w.])(?:(?<![)\]}])(?P<sign>[-+]))?(?:[$€£¥]\s?)?(?P<inner>-)?"
    rf"(?>(?:(?P<whole>\d+)\s?)?\\frac\s*\{{\s*(?P<top>-?{PLAIN})\s*\}}\s*\{{\s*(?P<bottom>{PLAIN})\s*\}}"
    rf"|(?:(?P<mixed>\d+) )?(?P<over>{PLAIN})\s?/\s?(?P<under>{PLAIN})"
    rf"|(?P<plain>{PLAIN})(?P<power>{POWER})?)(?!(?:st|nd|rd|th)\b)",
    re.IGNORECASE,
)
UNIT = r"(?:\s*[$€£¥%°]|\s+[^\W\d_]+|\s*(?:km|cm|mm|kg|ml)\b|\s?/\s?[^\W\d_]+)*[\s.]*"
FORMULA = re.compile(r"[\d\\^*+/=√π∞{}\[\]]|\s-\s|^\s*-|^[^\W\d_]")  # beside a number: then it is not the number that is meant


class Value(NamedTuple):
    """A number; `whole`: so that it is compared exactly."""

    number: float
    whole: bool


def verify(answer: str, gold: str, taxonomy: Taxonomy | None = None) -> bool:
    """Whether an answer ends in gold's number: the only one in its last `Answer:` or `####` line or box, after a sign of equality
    if there is one; without such a mark the last number in it.

    Thousands separators, currencies, percent signs, units, fractions and trailing zeros do not matter. Gold that is not a number
    is compared as text, LaTeX layout aside. Gold may be a whole solution with its answer marked.
    """
    wanted, said = _tidy(_marked(gold)), final_answer(answer)
    value = _number_with_unit(wanted)
    if value is None:
        return _formula(wanted) == _formula(_tidy(_marked(answer)))
    found = _last(_tidy(answer)) if said is None else _only(_tidy(said))
    return found is not None and _equal(found, value)


def is_number(gold: str) -> bool:
    """Whether gold is a number, or a solution that marks one as its answer."""
    return _number_with_unit(_tidy(_marked(gold))) is not None


def _marked(text: str) -> str:
    found = final_answer(text)
    return text if found is None else found


def _equal(a: Value, b: Value) -> bool:
    return a.number == b.number if a.whole and b.whole else math.isclose(a.number, b.number, rel_tol=TOLERANCE)


def _tidy(text: str) -> str:
    for pattern, instead in LAYOUT:
        text = pattern.sub(instead, text)
    return text.translate(CHARACTERS)


def _right_side(text: str) -> str:
    return bare(text.rpartition("=")[2].strip().strip("$"))


def _number_with_unit(text: str) -> Value | None:
    """The number a text is, with or without a unit after it or what it is equal to before it."""
    part = _right_side(text)
    found = NUMBER.match(part)
    return _value(found) if found and re.fullmatch(UNIT, part[found.end() :]) else None


def _only(text: str) -> Value | None:
    """The only number in a line of words."""
    part = _right_side(text)
    if (found := NUMBER.search(part)) is None:
        return None
    around = part[: found.start()], re.sub(f"^{UNIT}", "", part[found.end() :])
    return None if any(map(FORMULA.search, (around[0][::-1], around[1]))) else _value(found)


def _last(text: str) -> Value | None:
    found = list(NUMBER.finditer(text))
    return _value(found[-1]) if found else None


def _value(found: re.Match[str]) -> Value | None:
    part = found.groupdict()
    if part["plain"] is not None:
        number = _float(part["plain"])
        if part["power"]:
            number *= 10.0 ** int(re.findall(r"[+-]?\d+", part["power"])[-1])
    else:
        above, below = _float(part["top"] or part["over"]), _float(part["bottom"] or part["under"])
        number = math.nan if not below else float(part["whole"] or part["mixed"] or 0) + above / below
    sign = -1 if (part["sign"] == "-") != (part["inner"] == "-") else 1
    return Value(sign * number, number.is_integer()) if math.isfinite(number) else None


def _float(digits: str) -> float:
    return float(digits.replace(",", ""))


def _formula(text: str) -> str:
    """A formula as it is compared: without blanks, dollar signs, needless braces, case and a final period."""
    return re.sub(r"[\s$]", "", re.sub(r"\{(\w)\}", r"\1", bare(fold(text))))
