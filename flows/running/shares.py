"""Caps of a whole whose parts are runs of their own: what every part may use, so that all together keep them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from llmlabel.config import CommonConfig
from llmlabel.llm.ledger import NANO
from llmlabel.report.words import listed, money

Used = Mapping[str, int]  # by name of the cap: billionths of a US dollar, calls, tokens
UNITS = {"budget": NANO, "budget_calls": 1, "budget_tokens": 1}


def used(totals: Mapping[str, Any]) -> Used:
    """What a run has used, from its account, counted as its caps count: with what may yet be billed."""
    cost = totals.get("money", 0.0) + totals.get("maybe_billed", 0.0)
    read_and_written = totals.get("prompt_tokens", 0) + totals.get("completion_tokens", 0)
    return {
        "budget": round(cost * NANO), "budget_calls": totals.get("calls", 0) + totals.get("open_calls", 0),
        "budget_tokens": read_and_written + totals.get("open_tokens", 0),
    }  # fmt: skip


def caps_of(config: CommonConfig | Mapping[str, Any]) -> dict[str, int]:
    """The caps that are set, in whole units."""
    given = config if isinstance(config, Mapping) else {name: getattr(config, name) for name in UNITS}
    return {name: math.floor(given[name] * unit) for name, unit in UNITS.items() if given.get(name) is not None}


class Shares:
    """Shares of caps for parts of which some run at once.

    A part that starts may use what it has used before and an even share of what is left: of the cap less what every part has
    used, and less what those that run may still use. So what all may use is never more than the cap.

    Args:
        caps: of the whole. spent: what each part has used before, by its name; of one that may still run, all it may use.
        at_once: how many run side by side, at most.
    """

    def __init__(self, caps: Mapping[str, int], spent: Mapping[str, Used], at_once: int) -> None:
        self._held = dict(spent)  # by part: of one that runs its caps, of others what they have used
        self._left = {name: cap - sum(one.get(name, 0) for one in spent.values()) for name, cap in caps.items()}
        self._places = at_once

    def begin(self, part: str) -> dict[str, Any]:
        """The caps of a part that starts now, as settings of its run."""
        before = self._held.get(part, {})
        mine = {name: before.get(name, 0) + max(0, left) // max(1, self._places) for name, left in self._left.items()}
        self._hold(part, mine)
        self._places -= 1
        return {name: value / NANO if UNITS[name] == NANO else value for name, value in mine.items()}

    def end(self, part: str, used: Used) -> None:
        """A part has ended: what it did not use is free again."""
        self._hold(part, used)
        self._places += 1

    def _hold(self, part: str, value: Used) -> None:
        before = self._held.get(part, {})
        self._left = {name: left + before.get(name, 0) - value.get(name, 0) for name, left in self._left.items()}
        self._held[part] = value


def in_words(caps: Mapping[str, int]) -> str:
    """`the cap of 40 calls`."""
    said = {
        "budget": lambda n: money(n / NANO),
        "budget_calls": lambda n: f"{n:,} calls",
        "budget_tokens": lambda n: f"{n:,} tokens",
    }
    return f"the cap of {listed([said[name](value) for name, value in caps.items()])}"
