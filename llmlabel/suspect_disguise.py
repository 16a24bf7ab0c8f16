"""What a text says under its disguise: invisible and look-alike characters, base64, hex and percent signs."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator
from itertools import islice

LONG = 24  # characters without a space from which a word may be an encoded payload
UNSEEN = "\u00ad\u034f\u180e\u200b-\u200d\u2060-\u2064\ufeff\U000e0000-\U000e007f"
DROPPED = UNSEEN + "\u202a-\u202e\u2066-\u2069\ufe00-\ufe0f\U000e0100-\U000e01ef\ufdfa\ufdfb"  # the last two become many letters
REMOVE = re.compile(f"[{DROPPED}]+")
ODD = re.compile(f"[{DROPPED}\ue000-\uf8ff\U000f0000-\U0010ffff]")
FLAG = re.compile("\U0001f3f4\U000e0067\U000e0062(?:\U000e0065\U000e006e\U000e0067|\U000e0073\U000e0063\U000e0074"
                  "|\U000e0077\U000e006c\U000e0073)\U000e007f")  # England, Scotland, Wales  # fmt: skip
LETTER = "A-Za-z\u00c0-\u024f\u0370-\u052f"  # alphabets that never need a joiner inside a word
TAGS = re.compile("[\U000e0020-\U000e007e]")
STRANGE = {
    "text runs backwards": re.compile("[\u202d\u202e]"),
    "invisible tag characters": re.compile("[\U000e0001-\U000e007f]"),
    "private-use characters": re.compile("[\ue000-\uf8ff]{3}|[\U000f0000-\U0010ffff]"),
    "hidden characters": re.compile(f"[{LETTER}][\u034f\u180e\u200b-\u200d\u2060-\u2064\ufeff]{{1,9}}[{LETTER}]|[{UNSEEN}]{{4}}"
                                    "|[\ufe00-\ufe0e\U000e0100-\U000e01ef]{2}"),
}  # fmt: skip
LOOK = dict(zip("аеорсухіјѕԁһӏԛԝԍοανιρυκτε", "aeopcyxijsdhlqwgoavipukte", strict=True))  # Cyrillic, Greek -> Latin
LOOK |= dict(zip("АВЕКМНОРСТУХІЈЅΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEKMHOPCTYXIJSABEZHIKMNOPTYX", strict=True))
LATIN_LOOK = frozenset("aeopcyxABEKMHOPCTYX")
ALIKE = str.maketrans(LOOK)
MIXED = re.compile(f"[A-Za-z][{''.join(LOOK)}]|[{''.join(LOOK)}][A-Za-z]")
WORD = re.compile(r"[^\W\d_]{1,60}")
CODED = re.compile(rf"[A-Za-z0-9+/_-]{{{LONG},8000}}={{0,2}}|(?:%[0-9A-Fa-f]{{2}}){{8,2000}}")


def undisguised(text: str, found: dict[str, str]) -> str:
    """Note unicode tricks in `found`; returns the text as a reader sees it, without them."""
    seen = _bare(text, found) if ODD.search(text) else text
    seen = unicodedata.normalize("NFKC", seen)
    if MIXED.search(seen):
        for word in WORD.findall(seen):
            if _disguised(word):
                found["letters of another alphabet inside a word"] = word
                return seen.translate(ALIKE)
    return seen


def _bare(text: str, found: dict[str, str]) -> str:
    """A text without invisible characters; what was written in tag characters comes at its end."""
    text = FLAG.sub("", text)
    for kind, pattern in STRANGE.items():
        if match := pattern.search(text):
            found[kind] = text[max(0, match.start() - 10) : match.end() + 10]
    tags = "".join(chr(ord(c) - 0xE0000) for c in TAGS.findall(text))
    return REMOVE.sub("", text) + (f"\n{tags}" if tags else "")


def _disguised(word: str) -> bool:
    """Letters of two alphabets, and those of one of them all look like the other's: `pаypal`, but not `SMSка`."""
    latin = [c for c in word if c.isascii()]
    other = [c for c in word if "\u0370" <= c <= "\u052f"]
    if len(word) < 4 or not latin or not other:
        return False
    return all(c in LOOK for c in other) or (len(other) > 2 * len(latin) and all(c in LATIN_LOOK for c in latin))


def decoded(text: str) -> Iterator[str]:
    """Readable texts behind base64, hex and percent signs."""
    for match in islice(CODED.finditer(text), 20):
        run = match[0]
        for decode in (_percent, _hex) if "%" in run or re.fullmatch("[0-9a-fA-F]+", run) else (_base64,):
            try:
                plain = decode(run).decode()
            except (ValueError, binascii.Error):
                continue
            if plain.isprintable() or plain.replace("\n", " ").isprintable():
                yield plain


def _percent(run: str) -> bytes:
    return bytes.fromhex(run.replace("%", ""))


def _hex(run: str) -> bytes:
    return bytes.fromhex(run[: len(run) // 2 * 2])


def _base64(run: str) -> bytes:
    run = run.rstrip("=")
    return base64.b64decode(run[: len(run) // 4 * 4].translate(str.maketrans("-_", "+/")), validate=True)
