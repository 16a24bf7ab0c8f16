"""A codebook for people (Markdown) and for programs (JSON)."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from llmlabel.annotation.codebook.draft import Cases
from llmlabel.annotation.codebook.rules import SAYS, Codebook, Gain, Rule
from llmlabel.records import NONE_FITS, Example, Label

CHARS = 200  # of a text that is shown
TITLES = {"include": "Belongs here", "exclude": "Does not belong here", "example": "Example for the model"}


def to_json(book: Codebook, about: Mapping[str, Any]) -> dict[str, Any]:
    """codebook.json. A rule's `gain` is in F1 on the rows the rules were chosen on, `tested` on rows that chose nothing."""
    rules = [
        asdict(t.rule) | {"kept": t.rule in book.kept, "why": _why(book, t.rule, t.why), "mended": t.mended, "broken": t.broken,
                          "gain": _gain(t.gain)}
        for t in book.trials
    ]  # fmt: skip
    return {
        "schema": 1, **about, "f1_before": round(book.before, 6), "kept": len(book.kept), "why": book.why,
        "chosen": _gain(book.chosen), "tested": _gain(book.tested), "rules": rules,
    }  # fmt: skip


def _why(book: Codebook, rule: Rule, why: str) -> str:
    return why if why or rule in book.kept else book.why


def _gain(gain: Gain | None) -> dict[str, Any] | None:
    return None if gain is None else {k: round(v, 6) for k, v in (asdict(gain) | {"gain": gain.gain}).items()}


def sentence(gain: Gain) -> str:
    """A gain in words."""
    return (
        f"macro F1 {gain.before:.3f} to {gain.after:.3f} ({gain.gain:+.3f}, 95% interval {gain.low:+.3f} to {gain.high:+.3f}; "
        f"{gain.mended} labels mended, {gain.broken} broken, {gain.rows} rows)"
    )


def summary(book: Codebook) -> str:
    """What came of it, in one line."""
    tried = sum(not t.why.startswith("not tried") for t in book.trials)
    if book.tested is None or not book.kept:
        return f"0 of {len(book.trials)} rules kept ({tried} tried): {book.why}"
    proof = "" if book.tested.low > 0 else "; the interval includes no gain, so more gold is needed to be sure"
    return f"{len(book.kept)} of {len(book.trials)} rules kept; on rows that chose nothing: {sentence(book.tested)}{proof}"


def to_markdown(book: Codebook, found: Sequence[Cases], texts: Mapping[str, Example], gold: Mapping[str, str]) -> str:
    """codebook.md: per label what belongs, what does not, with examples; then what was tried and left out."""
    shown = {c.label: c for c in found}
    names = {label.id: label.name for label in book.taxonomy.labels} | {NONE_FITS: "none fits"}
    lines = ["# Codebook", "", *([book.taxonomy.use_case, ""] if book.taxonomy.use_case else []), summary(book), ""]
    if book.kept and book.chosen:
        lines += [f"On the rows the rules were chosen on, which flatters: {sentence(book.chosen)}", ""]
    for label in book.taxonomy.leaves:
        lines += _label(label, book, shown.get(label.id), texts, gold, names)
    dropped = [t for t in book.trials if t.rule not in book.kept]
    if dropped:
        lines += ["## Tried, and left out", ""]
        for t in dropped:
            counts = f" ({t.mended} mended, {t.broken} broken)" if t.mended or t.broken else ""
            said = f"{_safe(names[t.rule.label])}, {SAYS[t.rule.kind].lower()}: {_safe(t.rule.text)}"
            lines.append(f"- {said}. {_why(book, t.rule, t.why)}{counts}")
    return "\n".join(lines).rstrip() + "\n"


def _label(
    label: Label, book: Codebook, own: Cases | None, texts: Mapping[str, Example], gold: Mapping[str, str],
    names: Mapping[str, str],
) -> list[str]:  # fmt: skip
    lines = [f"## {_safe(label.name)}", "", *([_safe(label.description), ""] if label.description else [])]
    trials = {t.rule: t for t in book.trials}
    for kind, title in TITLES.items():
        rules = [rule for rule in book.kept if rule.label == label.id and rule.kind == kind]
        for rule in rules:
            gain = trials[rule].gain
            lines += [f"- **{title}**: {_safe(rule.text)}" + (f" — {sentence(gain)}" if gain else "")]
    if own:
        lines += ["", "Typical:", "", *(f"- {_safe(texts[i].text)}" for i in own.typical)]
        if own.missed:
            lines += ["", "Belongs here, and was missed:", "", *(f"- {_safe(texts[i].text)}" for i in own.missed)]
        if own.outside:
            near = (f"- {_safe(texts[i].text)} — {_safe(names[gold[i]])}" for i in own.outside)
            lines += ["", "Near, but belongs elsewhere:", "", *near]
    return [*lines, ""]


def _safe(text: str) -> str:
    """One line that Markdown shows as it stands."""
    cut = " ".join(text.split())
    cut = cut if len(cut) <= CHARS else cut[: CHARS - 3] + "..."
    plain = html.escape(cut, quote=False)
    return "".join(f"\\{c}" if c in "*_`[]#|\\" else c for c in plain)
