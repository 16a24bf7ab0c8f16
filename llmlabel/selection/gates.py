"""What keeps a strategy out of the ranking however well it fits: wrong, cut off, telling of its hint, all alike, or too short."""

from __future__ import annotations

import re
import warnings as python_warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmlabel.errors import DataError
from llmlabel.selection.answers import Table
from llmlabel.stats import larger_share, sign_test, wilson_effective

FloatArray = NDArray[np.float64]
MARGIN = 0.05  # of correctness, below the best
CHANCE = 0.05  # p-value; Wilson's bounds alone shut out 26 to 57 % of those as often right as the best (bench: --gate)
MOST = 0.02  # share of answers that are cut off, or tell of a hint
LEAST_ANSWERED = 0.5
LEAST_DIVERSITY = 0.7  # times the median strategy's
SHORT = 5  # tokens
LENGTHS = (0.25, 4.0)

_ANSWER = (
    r"(?:answer|label|solution|classification)\b"
    r"(?! *(?:choices?|options?|formats?|sets?|lists?|names?|definitions?|descriptions?)\b)"
)
_HINTS = re.compile(
    r"\bgold(?:en)?[- ](?:standard )?(?:answer|label|solution|classification)s?\b"
    r"|\bground[- ]truth (?:answer|label|solution|classification|is\b|says\b)"
    rf"|\b(?:reference|expected) {_ANSWER}"
    rf"|\b(?:the|this|that) (?:(?:already )?(?:given|provided|supplied|hinted)|pre-?assigned) (?:correct |right |true )?{_ANSWER}"
    r"|\blabel (?:(?:that|which) (?:was|is|has been) |was |is |has been |I was )?(?:already )?(?:given|provided|supplied)\b"
    r"|\b(?:the|this|your|given|provided) hint (?:says|said|tells|states|suggests|indicates|confirms|provided|given|that)\b"
    r"|\b(?:in|by|from|per|to|with|on|using) the (?:(?:given|provided) )?hint\b"
    r"|\b(?:I|we)(?:'ve| have|'m| am|'re| are| was| were)? (?:been )?(?:already )?(?:given|told|provided with|shown) "
    rf"(?:that )?the (?:correct |right |true |final )?{_ANSWER}"
    r"|\b(?:in|by|from|per|to|with) the answer key\b",
    re.IGNORECASE,
)


def leaks(text: str) -> bool:
    """Whether an answer tells that its writer was shown the right one: `the gold label`, `as given in the hint`.

    A short list of English phrases; `the correct answer is` alone is none of them. Texts on answer keys, or on other people's
    answers, set it off too: look at what was found before you believe the gate.
    """
    return _HINTS.search(text) is not None


@dataclass(frozen=True)
class Gate:
    """One check of one strategy. `value`: None where it is not known, which passes. `note`: counts, or why it is not known."""

    gate: str
    value: float | None
    bound: float | None
    passed: bool
    note: str

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass
class Checked:
    """What the gates and the warnings say of one strategy."""

    gates: list[Gate] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[Gate]:
        return [g for g in self.gates if not g.passed]

    @property
    def passed(self) -> bool:
        return not self.failed

    @property
    def usable(self) -> bool:
        """Whether its answers could be trained on, ranked or not."""
        return all(g.gate in ("short", "scored") for g in self.failed)

    @property
    def short(self) -> bool:
        return any(g.gate == "short" for g in self.failed)


def scored(table: Table, score: str) -> FloatArray:
    """(S, N) one score.

    Raises: DataError for one the table does not have.
    """
    if score not in table.scores:
        raise DataError(f"no score {score}: the answers have {', '.join(table.scores) or 'none'}")
    return table.scores[score]


def gates(table: Table, score: str) -> dict[str, Checked]:
    """Every strategy through every gate, on what the table knows.

    answered: at least half of the prompts have a whole answer. scored: at least half of those have the score. correctness, where
    gold exists: the lower end of Wilson's interval is at most .05 below the best of the strategies that pass the others, on the
    same prompts (one dropped after 10 prompts is not compared with one of 100), or the difference may be chance (sign test in
    pairs, Fisher's over all, p above .05); missing answers count under `answered` only.
    truncation, leakage: below 2 % of the answers, or a single one. collapse: at least .7 of the median strategy's diversity, from
    3 strategies on. short: a median above 5 tokens.
    Raises: DataError for a score the table does not have.
    """
    values = scored(table, score)
    median = float(np.nanmedian(table.diversity)) if (~np.isnan(table.diversity)).sum() >= 3 else np.nan
    found: dict[str, Checked] = {}
    for s, name in enumerate(table.strategies):
        one = Checked()
        one.gates = [
            _answered(table, s), _scored(table, s, values[s], score), _rare("truncation", table.truncated[s], "cut off"),
            _rare("leakage", np.where(table.answered[s], table.leaks[s], np.nan), "that tell of a hint"),
            _collapse(float(table.diversity[s]), median), _short(table.tokens[s]),
        ]  # fmt: skip
        one.warnings = _warnings(table, s)
        found[name] = one
    for one, gate in zip(found.values(), _correctness(table, [one.usable for one in found.values()]), strict=True):
        one.gates.insert(2, gate)
    return found


def _answered(table: Table, s: int) -> Gate:
    asked, got = int(table.asked[s].sum()), int((table.answered[s] & table.asked[s]).sum())
    if not asked:
        return Gate("answered", None, LEAST_ANSWERED, False, "never asked")
    return Gate(
        "answered", got / asked, LEAST_ANSWERED, got / asked >= LEAST_ANSWERED, f"{got} of {asked} prompts have a whole answer"
    )


def _scored(table: Table, s: int, values: FloatArray, score: str) -> Gate:
    answered = table.answered[s]
    got, of = int((answered & ~np.isnan(values)).sum()), int(answered.sum())
    note = f"{got} of {of} answers have {score}"
    return Gate("scored", got / of if of else None, 0.5, got * 2 >= of, note)


def _correctness(table: Table, usable: list[bool]) -> list[Gate]:
    """Paired: each strategy's lower bound against the best that passes the other gates, on the prompts it was checked on."""
    known = ~np.isnan(table.correct)
    right = np.nan_to_num(table.correct)
    trials = known.astype(float) @ known.T.astype(float)  # of the second, on prompts both were checked on
    hits = known.astype(float) @ right.T
    share = np.divide(hits, trials, out=np.zeros_like(hits), where=trials > 0)
    low = np.where(trials > 0, wilson_effective(share, np.maximum(trials, 1))[0], 0.0)
    low[(~np.array(usable, bool))[None, :] & ~np.eye(len(low), dtype=bool)] = 0.0
    return [_correct(table, s, int(hits[s, s]), int(trials[s, s]), low[s]) for s in range(len(low))]


def _correct(table: Table, s: int, hits: int, trials: int, low: FloatArray) -> Gate:
    if not trials:
        return Gate("correctness", None, None, True, "not known: no gold, or no answer was checked")
    best = max(range(len(low)), key=lambda t: (low[t], t == s))
    bound = max(float(low[best]) - MARGIN, 0.0)
    near, (a, b) = bool(low[s] >= bound), table.correct[[best, s]]
    p = 1.0 if near else min(sign_test(a, b), larger_share(a, b))  # the second, where one was not asked what the other was
    note = f"{hits} of {trials} right, 95 % interval from {low[s]:.1%}"
    if best != s:
        note += f"; {table.strategies[best]}'s from {low[best]:.1%} on these prompts"
    if not near and p > CHANCE:
        note += f"; below the bound, but this may be chance (p = {p:.2f}), so it passes"
    return Gate("correctness", float(low[s]), bound, near or p > CHANCE, note)


def _rare(gate: str, found: FloatArray, what: str) -> Gate:
    known = found[~np.isnan(found)]
    if not len(known):
        return Gate(gate, None, MOST, True, "not known")
    hits = int((known > 0).sum())
    note = f"{hits} of {len(known)} answers {what}" + ("; one alone says little" if hits == 1 and len(known) <= 1 / MOST else "")
    return Gate(gate, hits / len(known), MOST, hits <= 1 or hits / len(known) < MOST, note)


def _collapse(value: float, median: float) -> Gate:
    if np.isnan(value) or np.isnan(median):
        return Gate("collapse", None if np.isnan(value) else value, None, True, "not known: needs the diversity of 3 strategies")
    bound = LEAST_DIVERSITY * median
    return Gate("collapse", value, bound, value >= bound, f"diversity {value:.2f}; the median strategy's is {median:.2f}")


def _short(tokens: FloatArray) -> Gate:
    known = tokens[~np.isnan(tokens)]
    if not len(known):
        return Gate("short", None, SHORT, True, "not known")
    median = float(np.median(known))
    note = f"median of {median:g} tokens in {len(known)} answers"
    if median <= SHORT:
        note += (
            ": the likelihood of so few is how common the label is and how the tokenizer splits it, "
            "not a way of writing, so it cannot be ranked"
        )
    return Gate("short", median, SHORT, median > SHORT, note)


def _warnings(table: Table, s: int) -> list[str]:
    found = []
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore", RuntimeWarning)  # all unknown
        ratio = float(np.nanmedian(table.length_ratio[s]))
    if not np.isnan(ratio) and not LENGTHS[0] <= ratio <= LENGTHS[1]:
        found.append(
            f"its answers are {ratio:.2g} times as long as the target's own (median); "
            f"outside {LENGTHS[0]:g} to {LENGTHS[1]:g} times, length may decide more than the way of writing"
        )
    if missing := int((table.asked[s] & ~table.answered[s]).sum()):
        found.append(f"{missing} of {int(table.asked[s].sum())} prompts have no whole answer")
    return found
