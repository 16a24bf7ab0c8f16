"""Personal data that has a form of its own: addresses, card and account numbers, phones, keys.

Regular expressions and check digits.
Recall over precision where a check digit decides; for phone numbers, which have none, the form or the words before it must
speak for a phone and not for a date, price or order number. Every repetition is bounded.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator

Finder = Callable[[str], Iterable[tuple[int, int, str]]]  # text -> (start, end, kind); may overlap
Check = Callable[[str], bool]

EDGE, END = r"(?<![\w.+-])", r"(?!\w|[.-]\d)"
DIGITS = re.compile(r"\D")
PHONE_WORDS = re.compile(
    r"(?:(?<![^\W\d_])(?:(?:tele)?phones?|tel|call|calling|called|mobile|cell|fax|whatsapp|signal|sms|text me|ring|reach me"
    r"|dial|hotline"
    r"|telefon\w{0,12}|handy\w{0,8}|rufnummer|mobilnummer|tél|téléphone|portable|teléfono|móvil|celular|telefone|cellulare"
    r"|telefono"
    r"|телефон\w{0,3}|тел|номер|هاتف|الهاتف|جوال|الجوال|फ़ोन|फोन)(?![^\W\d_])|电话|電話|手机|手機|携帯|전화)[^\d\n]{0,25}$",
    re.IGNORECASE,
)  # fmt: skip
OTHER_WORDS = re.compile(
    r"(?:order|invoice|ref|reference|case|ticket|tracking|parcel|item|sku|isbn|issn|part|serial|model|version|release|article"
    r"|customer|booking"
    r"|transaction|receipt|bestell\w{0,12}|rechnung\w{0,12}|commande|facture|pedido|factura|ordine|заказ\w{0,2}|№|#|[$€£¥₹])"
    r"[^\w\n]{0,3}(?:number|no|nr|id|num|code)?[^\w\n+(]{0,4}$", re.IGNORECASE,
)  # fmt: skip
DATE = re.compile(
    r"(?:\d{1,2}([./-])\d{1,2}\1(?:\d{4}|\d{2})|(?:19|20)\d\d([ ./-])\d{1,2}\2\d{1,2}|\d{1,2} \d{1,2} (?:19|20)\d\d)"
    r"(?:[ T][0-2]?\d(?:[.: ][0-5]\d)?)?"
)
YEARS = re.compile(r"(?:(?:19|20)\d\d[ ./-]{1,3})+(?:19|20)?\d\d")


IBANS = {  # ISO 13616 registry: country and length
    code[:2]: int(code[2:])
    for code in (
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24"
        " FI18 FK18 FO18 "
        "FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21"
        " LY25 MC27 MD24 "
        "ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19"
        " SK24 SM27 SO23 "
        "ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
    ).split()
}


def luhn(number: str) -> bool:
    """Payment cards: 13 to 19 digits that start as cards do, separated in one way or none, with the right check digit."""
    digits = [int(d) for d in DIGITS.sub("", number)]
    if not 13 <= len(digits) <= 19 or not 2 <= digits[0] <= 6 or len(set(re.sub(r"\d", "", number))) > 1:
        return False
    if len(digits) == 15 and digits[:2] not in ([3, 4], [3, 7]):
        return False
    twice = [2 * d - 9 * (d > 4) for d in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(twice)) % 10 == 0


def iban(number: str) -> bool:
    """ISO 13616: letters as numbers, first four characters at the end, remainder 1 modulo 97."""
    plain = re.sub(r"[ \u00a0-]", "", number).upper()
    if len(plain) != IBANS.get(plain[:2]):
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def _six(text: str) -> bool:
    return text.count(":") >= 2 and any(c.isdigit() for c in text) and _address(text)


def _ssn(text: str) -> bool:
    area, group, serial = re.split("[- ]", text)
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


FORMS: tuple[tuple[str, re.Pattern[str], Check | None], ...] = (
    ("URL", re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s/:@<>\"']{1,256}:[^\s/@<>\"']{1,256}@[^\s<>\"']{0,2000}"
                       r"[^\s<>\"'.,;:!?)\]}]"), None),
    ("EMAIL", re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_][\w-]{1,30}"), None),
    ("KEY", re.compile(r"\beyJ[\w-]{5,4000}\.eyJ[\w-]{5,8000}\.[\w-]{0,4000}"), None),
    ("KEY", re.compile(r"\b(?:sk|pk|rk)[-_](?:[A-Za-z0-9]{2,20}[-_]){0,4}[A-Za-z0-9]{16,200}\b"), None),
    ("KEY", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_\w{20,255}|glpat-[\w-]{20,64}|hf_[A-Za-z0-9]{20,64}"
                       r"|xox[abeprs]-[\w-]{10,250}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{35}|ya29\.[\w-]{20,2000})"), None),
    ("KEY", re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:[^-]|-(?!-)){1,8000}-----END [A-Z ]{0,30}PRIVATE"
     r" KEY-----"), None),
    ("IBAN", re.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?:[ \u00a0-]?[A-Za-z0-9]){11,30}(?!\w)"), iban),
    ("CARD", re.compile(r"(?<!\d)\d{4}([ \u00a0.-])(?:\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?|\d{6}\1\d{4,5})(?!\d)"), luhn),
    ("CARD", re.compile(r"(?<!\d)\d{13,19}(?!\d)"), luhn),
    ("CARD", re.compile(r"(?<!\d)\d(?:[ \u00a0.-]?\d){12,18}(?!\d)"), luhn),
    ("SSN", re.compile(rf"{EDGE}\d{{3}}-\d{{2}}-\d{{4}}{END}"), _ssn),
    ("IP", re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)"), _address),
    ("MAC", re.compile(r"(?<![\w:-])(?:[0-9A-Fa-f]{2}([:-]))(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![\w:-])"), None),
    ("IP", re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{0,4}|(?:\d{1,3}\.){3}\d{1,3})(?![\w:])"), _six),
)  # fmt: skip
CALLS: tuple[tuple[re.Pattern[str], int, int], ...] = (  # with fewest and most digits
    (re.compile(r"(?<![\w.+])(?:\+|00(?=[1-9]))\d{1,3}(?:[ \u00a0./-]{0,2}(?:\(\d{1,5}\)|\d{1,5})){1,7}(?!\w)"), 9, 17),
    (re.compile(rf"{EDGE}(?:1[ .-])?(?:\(\d{{3}}\) ?|\d{{3}}[ .-])\d{{3}}[ .-]\d{{4}}{END}"), 10, 11),
    (re.compile(rf"{EDGE}(?:\(0\d{{1,5}}\)|0\d{{1,5}})(?:[ /.-]{{1,2}}\d{{2,8}}){{1,5}}{END}"), 9, 13),
)
VERSION = re.compile(r"(?:version|release|build|firmware|ver\.?|v\.?) ?$", re.IGNORECASE)
NUMBER = re.compile(rf"{EDGE}(?:\(\d{{1,5}}\)[ -]?)?\d(?:[ ()./-]{{0,2}}\d){{6,14}}{END}")


def find(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, kind) of what is found; kinds: URL (one that holds a password), EMAIL, KEY, IBAN, CARD, SSN, IP, MAC,"
    " PHONE."""
    for kind, pattern, check in FORMS:
        for match in pattern.finditer(text):
            if kind == "IP" and VERSION.search(text[max(0, match.start() - 12) : match.start()]):
                continue
            if check is None or check(match[0]):
                yield match.start(), match.end(), kind
            elif kind == "IBAN" and (end := _shorter(match[0])):
                yield match.start(), match.start() + end, kind
    yield from _phones(text)


def _shorter(run: str) -> int:
    """Where an IBAN ends that other words follow without punctuation; 0 when there is none."""
    ends = [m.start() for m in re.finditer("[ \u00a0-]", run)]
    return next((end for end in ends if iban(run[:end])), 0)


def _phones(text: str) -> Iterator[tuple[int, int, str]]:
    for pattern, fewest, most in CALLS:
        for match in pattern.finditer(text):
            if fewest <= len(DIGITS.sub("", match[0])) <= most and not _something_else(text, match):
                yield match.start(), match.end(), "PHONE"
    for match in NUMBER.finditer(text):
        before = text[max(0, match.start() - 40) : match.start()]
        if PHONE_WORDS.search(before) and not _something_else(text, match):
            yield match.start(), match.end(), "PHONE"


def _something_else(text: str, match: re.Match[str]) -> bool:
    before = text[max(0, match.start() - 30) : match.start()]
    if DATE.fullmatch(match[0]) or YEARS.fullmatch(match[0]):
        return True
    return match[0][0] != "+" and OTHER_WORDS.search(before) is not None
