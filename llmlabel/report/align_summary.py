"""The lead of a report about lists of answers: the whole run in a few plain sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llmlabel.report import words
from llmlabel.report.align_measures import Change
from llmlabel.report.align_training import Data
from llmlabel.report.parts import part, whole

if TYPE_CHECKING:
    from llmlabel.report.align import AlignSection

Json = Mapping[str, Any]


def summary(run: Json, metrics: Json, told: Json, section: AlignSection) -> list[str]:
    """`told`: trained.json of the training that the section is about."""
    if section.flow == "rank":
        return _rank(section)
    return _evaluate(run, section) if section.flow == "evaluate" else _align(run, metrics, told, section)


def _align(run: Json, metrics: Json, told: Json, section: AlignSection) -> list[str]:
    lines = _cycled(run, told, section) if section.cycles else _trained(run, told)
    if section.change:
        lines += _changed(section.change, section.which)
    elif told:
        lines.append("No lists were held out, so what training changed was not measured.")
    return [*lines, *_worth(section), *_found(section.data)]


def _trained(run: Json, told: Json) -> list[str]:
    if not told:
        return [f"The training of {_model(run, False)} has not ended."]
    return [f"{_model(run)} was trained on {_lists(told)}{_loss(run)}{_effort(told)}."]


def _cycled(run: Json, told: Json, section: AlignSection) -> list[str]:
    turns = section.cycles.rows if section.cycles else []
    lines = [
        f"{_model(run)} went through {words.count(len(turns), 'cycle')} of answering, being judged and being trained{_loss(run)}."
    ]
    lines += section.cycles.ended if section.cycles else []
    done = f"{section.which[:1].upper()}{section.which[1:]} trained on {_lists(told)}{_effort(told)}."
    return [*lines, done] if told else [*lines, "No cycle trained a model."]


def _model(run: Json, first: bool = True) -> str:
    name = words.field(part(run, "config"), "policy", 120)
    if name in ("", "embedded"):
        return f"{'The' if first else 'the'} {'packaged small ' if name else ''}model"
    return name


def _loss(run: Json) -> str:
    loss = words.field(part(run, "config"), "loss", 60)
    return f" with the loss {loss}" if loss else ""


def _changed(change: Change, which: str) -> list[str]:
    first, rest = change.answer[:1], change.answer[1:]
    return [f"In {which}: {first.lower()}{rest}" if which else change.answer, *change.displaced]


def _lists(told: Json) -> str:
    counts = part(told, "counts")
    lists, answers = whole(counts, "lists"), whole(counts, "answers")
    if lists is None:
        return "ranked lists"
    return words.count(lists, "list") + (f" with {answers:,} ranked answers" if answers else " of ranked answers")


def _effort(told: Json) -> str:
    steps, seconds = whole(told, "steps"), words.figure(told.get("seconds"))
    return "" if not steps else f": {words.count(steps, 'step')}" + (f", {words.duration(seconds)}" if seconds else "")


def _worth(section: AlignSection) -> list[str]:
    if section.wins:
        return [section.wins.answer]
    return [section.no_wins] if section.no_wins else []


def _found(found: Data | None) -> list[str]:
    if not found or not found.findings:
        return []
    many = {kind: sum(one.severity == kind for one in found.findings) for kind in ("error", "warning")}
    told = [words.count(n, kind) for kind, n in many.items() if n]
    return [f"The check of the data has {words.listed(told)}."] if told else []


def _rank(section: AlignSection) -> list[str]:
    shown, by = section.lists, section.judge
    done = sum(one.lists for one in shown.outcomes if one.kind == "ok") if shown else 0
    failed = sum(one.lists for one in shown.outcomes if one.kind == "failed") if shown else 0
    lines = [f"{words.count(done, 'list')} of answers put in order{f' by {by.name}' if by and by.name else ''}"]
    lines[0] += f", {failed:,} failed." if failed else "."
    if not shown or not shown.total:
        lines = ["No list has been put in order yet."]
    if by and by.problems:
        lines.append(f"Before you rely on the order, read the {words.count(len(by.problems), 'warning')} about the judge below.")
    if section.agreement and section.agreement.rows:
        best = section.agreement.rows[-1]
        lines.append(
            f"Where the data has an order of its own, the judge puts {best.text} of the pairs in it; chance would {best.chance}."
            if best.name == "Pairs"
            else f"{best.name} with the order in the data: {best.text}, by chance {best.chance}."
        )
    else:
        lines.append("The data has no order of its own, so whether the judge is right was not measured.")
    return lines


def _evaluate(run: Json, section: AlignSection) -> list[str]:
    name = words.field(part(run, "config"), "run", 120)
    lines = [f"The model of {name} against the one it started from."] if name else []
    lines += [section.checked.answer] if section.checked else []
    lines += _worth(section) if section.wins or not section.checked else []
    return lines + ([section.change.answer] if section.change else [])
