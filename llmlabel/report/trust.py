"""Can the labels be trusted? Accuracy, the promise made for the accepted labels, confidence, and where people should look."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmlabel.report import words
from llmlabel.report.charts import Chart
from llmlabel.report.curves import reliability, risk
from llmlabel.report.parts import Estimate, estimate, part, parts, sentence, whole

ENOUGH = 100  # known labels; with fewer hardly any promise can be made
CALIBRATED = {
    "isotonic": "a rising staircase fitted to the known labels",
    "temperature": "all confidences made milder or bolder by one number",
    "platt": "an S-shaped curve fitted to the known labels",
    "beta": "a curve of three numbers fitted to the known labels",
}


@dataclass
class Trust:
    """The opening. `facts`: (figure, what it says); `said`: (what about, sentences); `export`: how to get more known labels."""

    known: int
    accuracy: Estimate
    facts: list[tuple[str, str]]
    said: list[tuple[str, list[str]]]
    reliability: Chart | None
    risk: Chart | None
    export: str


@dataclass
class People:
    """What waits for people, and what came back from them."""

    said: list[str]
    export: str


def export_command(run: Mapping[str, Any], folder: str) -> str:
    """The command that writes the texts people should look at to a file."""
    out = str(part(run, "config").get("out") or folder)
    return words.clean(shlex.join(["llmlabel", "review", "export", words.without_credentials(out)]), 400)


def trust(metrics: Mapping[str, Any], export: str) -> Trust:
    """What there is to say; without known labels, that nothing can be promised."""
    known = whole(part(metrics, "gold"), "rows") or 0
    right = estimate(part(part(metrics, "scores"), "llmlabel"), "accuracy", "accuracy_low", "accuracy_high")
    deferral, calibration = part(metrics, "deferral"), part(metrics, "calibration")
    coverage = _threshold(deferral) and words.figure(deferral.get("coverage"))
    pairs = [(words.figure(p.get("coverage")), words.figure(p.get("error"))) for p in parts(deferral, "curve")]
    said = {
        "The promise": _promise(deferral) if known else [],
        "Confidence": _calibrated(calibration),
        "People or model": _alt_test(part(metrics, "alt_test")),
        "Known labels": _gold(part(metrics, "gold")) if known else [],
    }
    return Trust(
        known,
        right,
        _facts(right, known, deferral, calibration) if known else [],
        [(about, lines) for about, lines in said.items() if lines],
        reliability([words.figures(b) for b in parts(calibration, "bins")]),
        risk([(c, e) for c, e in pairs if c is not None and e is not None], coverage, words.figure(deferral.get("target"))),
        f"{export} --n {ENOUGH} --random 1",
    )


def _threshold(deferral: Mapping[str, Any]) -> float | None:
    return words.figure(deferral.get("threshold"))


def _facts(right: Estimate, known: int, deferral: Mapping[str, Any], calibration: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = []
    if right.value is not None:
        between = f"95% interval {right.interval}; " if right.interval else ""
        facts.append((words.percent(right.value), f"of the labels are right ({between}{words.count(known, 'known label')})"))
    coverage, target = (words.figure(deferral.get(key)) for key in ("coverage", "target"))
    if _threshold(deferral) is not None and coverage is not None and target is not None:
        delta = words.figure(deferral.get("delta"))
        sure = "" if delta is None else f", with {words.percent(1 - delta)} certainty"
        say = f"of the texts need no second look: at least {words.percent(target)} of their labels are right{sure}"
        facts.append((words.percent(coverage), say))
    if (ece := words.figure(calibration.get("ece"))) is not None:
        facts.append((_points(ece), "is how far confidence is from the share that is right, on average"))
    return facts


def _points(ece: float) -> str:
    return f"{words.number(round(100 * ece, 1))} points"


def _gold(gold: Mapping[str, Any]) -> list[str]:
    off, reviewed = whole(gold, "off_list"), whole(gold, "from_reviews")
    said = [f"{words.count(reviewed, 'known label')} came from people's reviews."] if reviewed else []
    if off:
        said.append(f"{words.count(off, 'known label is', 'known labels are')} not in the taxonomy.")
    return [*said, *sentence(gold, "note")]


def _promise(deferral: Mapping[str, Any]) -> list[str]:
    """The promise of deferral in one plain sentence, or why there is none."""
    target, delta, coverage = (words.figure(deferral.get(key)) for key in ("target", "delta", "coverage"))
    if target is None:
        return sentence(deferral) or ["No share of right labels was asked for (--target-precision), so none is promised."]
    threshold = _threshold(deferral)
    if threshold is None:
        none = f"That {words.percent(target)} of the labels are right cannot be promised, however many unsure ones are left out."
        return [none, *sentence(deferral)]
    said = [f"At least {words.percent(target)} of the labels with a confidence of {words.percent(threshold)} or more are right."]
    if delta is not None:
        said.append(f"The promise itself holds with {words.percent(1 - delta)} certainty.")
    said += _checked(deferral)
    if coverage is not None:
        said.append(f"{words.percent(coverage)} of the texts are labelled so surely; the others should be seen by a person.")
    return [*said, *sentence(deferral)]


def _checked(deferral: Mapping[str, Any]) -> list[str]:
    """What the promise rests on."""
    errors, rows, accepted = (whole(deferral, key) for key in ("errors", "rows", "accepted"))
    if errors is None or not rows:
        return []
    reach = "those that reach it" if accepted is None else f"the {accepted:,} that reach it"
    return [f"It rests on {words.count(rows, 'known label')}: of {reach} {errors:,} {'was' if errors == 1 else 'were'} wrong."]


def _alt_test(raw: Mapping[str, Any]) -> list[str]:
    """May the model take a human annotator's place?"""
    if not raw:
        return []
    rate, advantage, epsilon = (words.figure(raw.get(key)) for key in ("winning_rate", "advantage", "epsilon"))
    passed = raw.get("passed")
    verdict = "cannot be said" if passed is None or rate is None else "yes" if passed else "no"
    said = f"May it take a human annotator's place? By the alternative annotator test: {verdict}."
    if rate is not None:
        worth = "" if epsilon is None else f" (a person, who costs more, must be {100 * epsilon:.0f} points better to win)"
        said += f" Beside one person after the other, it is as good as {words.percent(rate)} of them{worth}; half is enough."
    if advantage is not None:
        said += f" On {words.percent(advantage)} of the texts it agrees with the others at least as well as that person."
    return [said, *sentence(raw)]


def _calibrated(raw: Mapping[str, Any]) -> list[str]:
    """What was done to the confidence, and what it changed."""
    if not raw:
        return []
    method, rows = words.field(raw, "method", 60), whole(raw, "rows")
    before, after = (words.figure(raw.get(key)) for key in ("ece_before", "ece"))
    said = []
    if after is not None:
        was = "" if before is None else f"; before calibration {_points(before)}"
        on = f" on {words.count(rows, 'text')} with a known label" if rows else ""
        said.append(f"Confidence and the share that is right are {_points(after)} of 100 apart{on} (ECE {after:.3f}){was}.")
    if method:
        meant = f" ({CALIBRATED[method]})" if method in CALIBRATED else ""
        said.append(f"Calibration: {method}{meant}.")
    return [*said, *sentence(raw)]


def people(metrics: Mapping[str, Any], statuses: Mapping[str, int], export: str) -> People:
    """Where people should look."""
    unsure, unfit = statuses.get("low_confidence", 0), statuses.get("none_fits", 0)
    said = [f"{words.count(unsure, 'text was', 'texts were')} left open as too unsure."] if unsure else []
    said += [f"{words.count(unfit, 'text fits', 'texts fit')} no label."] if unfit else []
    reviews = part(metrics, "reviews")
    imported, changed, confirmed = (whole(reviews, key) for key in ("imported", "changed", "confirmed"))
    if imported:
        parted = [f"{n:,} {word}" for n, word in ((confirmed, "confirmed"), (changed, "changed")) if n is not None]
        how = f": {words.listed(parted)}" if parted else ""
        said.append(f"{words.count(imported, 'label')} came back from people so far{how}.")
    return People(said, export)
