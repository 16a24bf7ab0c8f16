"""Does a text look like an attack on whoever labels it?

Reasons, not verdicts: a person writing about prompts is flagged too, and a new kind of attack is not. Only `suspicions` is
meant to be called; it is cheap enough for every row of a large data set. Every repetition in a pattern is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import eq

from llmlabel.suspect_disguise import LONG, decoded, undisguised
from llmlabel.suspect_phrases import ASCII_PARTS, PARTS, STEMS

REPEATS = 5  # times something has to be said again, right after itself, to count as stuffing
SHOWN = 60

TURNS = re.compile(
    r"^[ \t>*#]{0,8}(?:assistant|chatbot|gpt|chatgpt|llm|ai)[ \t]{0,3}\*{0,2}:"
    r"|^[ \t>*#]{0,8}(?:system (?:prompt|message|note|override|instructions?)|developer message)[ \t]{0,3}:"
    r"|^# ?(?:system|assistant|user)[ \t]{0,3}$"
    r"|^#{2,4} ?(?:system|instructions?|assistant|response|human|user)\b[ \t]{0,3}(?::|$)"
    r"|^(?:system|user|human)[ \t]{0,3}:[^\n]{0,300}\n{1,3}(?:system|user|human|assistant)[ \t]{0,3}:"
    r"|[\"']role[\"']\s{0,5}:\s{0,5}[\"'](?:system|assistant|user|developer|tool)[\"']"
    r"|</?(?:system|assistant|instructions?|user_input|prompt)>",
    re.MULTILINE,
)
MARKS = re.compile(
    r"<[|\uff5c][^<>|\uff5c\s]{1,40}[|\uff5c]>|\[/?inst\]|<</?sys>>|</?(?:start|end)_of_turn>|\[/?system\b[^\]\n]{0,40}\]"
    r"|\[/?(?:system_prompt|available_tools|tool_calls|tool_results)\]"
)
TEMPLATES = re.compile(
    r"\{\{[^{}\n]{0,80}?(?:[.()\[\]|*+%='\"]|__)[^{}\n]{0,120}\}\}"  # not {{Order Number}}, a mail merge's blank
    r"|\{%[-+]?\s{0,4}[a-z][^%\n]{0,160}%\}|\{#[^#\n]{1,160}#\}"
    r"|\$\{[^{}\n]{0,80}?[.(:*+][^{}\n]{0,120}\}|<%[=@-]?[^%\n]{1,160}%>"
)
FENCE = re.compile(
    r"<\s{0,3}/\s{0,3}data\b|<\s{0,3}data [0-9a-f]{6,16}\s{0,3}>|</?(?:document|untrusted|text_to_label|input_text)>"
)
ANSWERS = re.compile(
    r"[{,]\s{0,8}[\"'](?:label|labels|category|class|answer|intent|topic|codes?|output)[\"']\s{0,4}:\s{0,4}[\"'\[]"
    r"|(?:^|\n)[ \t]{0,4}(?:text|input|message|example)[ \t]{0,2}\d{0,2}:[^\n]{1,300}\n{1,2}[ \t]{0,4}"
    r"(?:label|category|class|answer|output)[ \t]{0,2}\d{0,2}:"
    r"|(?:^|\n)[ \t]{0,4}(?:label|category|class|classification)[ \t]{0,2}:[^\n]{1,100}\n{1,2}[ \t]{0,4}"
    r"(?:label|category|class|classification)[ \t]{0,2}:"
)
MARKUP = re.compile(
    r"<!--[^<>]{0,60}[a-z]{3}|display\s{0,3}:\s{0,3}none|font-size\s{0,3}:\s{0,3}0|<script\b|javascript:|\]\(data:|^\[//\]: #"
    r"|\x1b\[|\x08{3}",
    re.MULTILINE,
)

BETWEEN = str.maketrans(dict.fromkeys("\"'.,;:!?()[]{}<>|#*-_=`~/\\", " "))
ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz")
TURN_STEMS = frozenset("assis syste human user gpt chatg llm ai chatb devel role instr respo promp".split())
ANSWER_STEMS = frozenset("label categ class answe inten topic code codes outpu".split())
SPELLED = re.compile(r"(?<![a-z])(?:[a-z][ ._*-]){5,40}[a-z](?![a-z])")
TELLING = re.compile("ignor|instruct|label|answer|system|prompt|disregard|classif")


def suspicions(text: str) -> list[str]:
    """Short reasons why a text may try to steer a model; none for an ordinary one.

    A reason is its kind, a colon, and the place that gave it away: `instruction to the model: ignore all rules`.
    """
    found: dict[str, str] = {}
    if not text.isascii():
        text = undisguised(text, found)
    low = text.lower()
    words = low.translate(BETWEEN).split()
    for kind, place in _plain(low, words):
        found.setdefault(kind, place)
    if words and len(max(low.split(), key=len)) >= LONG:
        for payload in map(str.lower, decoded(text)):
            if any(_plain(payload, payload.translate(BETWEEN).split())):
                found.setdefault("encoded instruction", payload)
    if stuffed := _stuffed(words):
        found.setdefault("the same words again and again", stuffed)
    return [f"{kind}: {_shown(place)}" for kind, place in found.items()]


def kind_of(reason: str) -> str:
    """What a reason of `suspicions` is counted as."""
    return reason.partition(":")[0]


def _plain(low: str, words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What a lower-case text says openly, as kind and place."""
    stems = {word[:5] for word in words}
    patterns = [pattern for stem in stems & STEMS.keys() for pattern in STEMS[stem]]
    patterns += [pattern for part, own in (ASCII_PARTS if low.isascii() else PARTS).items() if part in low for pattern in own]
    matches = filter(None, (pattern.search(low) for pattern in dict.fromkeys(patterns)))
    yield from (("instruction to the model", match[0]) for match in islice(matches, 1))
    if len(stems & ALPHABET) >= 5 and (spelled := SPELLED.search(low)) and TELLING.search(re.sub("[ ._*-]", "", spelled[0])):
        yield "instruction to the model", spelled[0]
    if stems & TURN_STEMS and (":" in low or "#" in low or ">" in low):
        yield from _first("a turn of its own", TURNS, low)
    if stems & ANSWER_STEMS and ":" in low and ("\n" in low or "{" in low):
        yield from _first("an answer of its own", ANSWERS, low)
    if "<" in low or "[" in low or "{" in low or "\x1b" in low or "\x08" in low:
        yield from _first("chat-template mark", MARKS, low)
        yield from _first("template code", TEMPLATES, low)
        yield from _first("closes the data fence", FENCE, low)
        yield from _first("hidden markup", MARKUP, low)


def _first(kind: str, pattern: re.Pattern[str], text: str) -> Iterator[tuple[str, str]]:
    if match := pattern.search(text):
        yield kind, match[0]


def _stuffed(words: list[str]) -> str:
    """Words said over and over: `loans loans loans loans loans loans`; up to three words as one."""
    for period in (1, 2, 3):
        same = bytes(map(eq, words, words[period:]))
        at = same.find(b"\1" * REPEATS * period)
        again = words[at : at + period] if at >= 0 else []
        if any(len(word) > 3 and not word.startswith("@") for word in again):
            return " ".join(again * (REPEATS + 1))
    return ""


def _shown(place: str) -> str:
    """A place in a text as one short line that can be printed anywhere."""
    line = " ".join(place.split())
    return "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in line)[:SHOWN]
