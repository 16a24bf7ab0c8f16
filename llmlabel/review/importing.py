"""`llmlabel review import`: check what came back, keep what can be used, say what cannot."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmlabel.errors import DataError
from llmlabel.records import NONE_FITS, Taxonomy, fold
from llmlabel.review.answers import Answer
from llmlabel.review.batch import NONE_TEXT, Manifest, digest, load_manifest, options
from llmlabel.review.corrections import Correction, append, history, line, locked, resolve
from llmlabel.review.formats import read
from llmlabel.review.pool import present
from llmlabel.runs import load_run, write_atomic

OK = "ok"  # in a spreadsheet: the suggestion is right
NONE = {fold(NONE_TEXT), NONE_FITS}


class Unusable(Exception):
    """Why an answer cannot be used. `kind`: `unknown_id`, `off_list` or `unusable`."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass
class Checked:
    """The answers of a file, sorted. `counts`: skipped, duplicates, older_taxonomy, and rejected ones by kind."""

    corrections: list[Correction] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def import_answers(path: Path, file: Path) -> dict[str, Any]:
    """Add the answers in a file to a run's corrections.jsonl; list those that cannot be used in review/rejected-BATCH.jsonl.

    Returns: counts by name; `rejected_in`: files with the rejected answers.
    Raises: ConfigError when it is no run folder; DataError when the file cannot be read at all.
    """
    run = load_run(path)
    taxonomy = run.taxonomy
    ours = present(run, taxonomy)
    answers = read(file)
    where = [path / "review", file.resolve().parent]
    manifests = {a.batch: load_manifest(a.batch, where) for a in answers}
    checked = check(answers, taxonomy, ours, manifests)
    new = append(path, checked.corrections, file.name)
    listed = _write_rejected(path, file.name, checked.rejected)
    kinds = Counter(_kind(c, ours[c.id]) for c in checked.corrections)
    state, rows = resolve(history(path)), {c.id for c in checked.corrections}
    count = checked.counts
    return {
        "imported": len(new), "answers": len(checked.corrections), "confirmed": kinds["confirmed"], "changed": kinds["changed"],
        "none_fits": kinds["none_fits"], "skipped": count["skipped"], "unknown_ids": count["unknown_id"],
        "off_list": count["off_list"], "unusable": count["unusable"], "duplicates": count["duplicates"],
        "conflicts": len(rows & set(state.disputed)), "unresolved": len(rows & set(state.unresolved)),
        "older_taxonomy": count["older_taxonomy"], "rejected_in": listed,
    }  # fmt: skip


def _kind(correction: Correction, ours: list[str] | None) -> str:
    if ours is not None and set(ours) == set(correction.labels):
        return "confirmed"
    return "changed" if correction.labels else "none_fits"


def check(
    answers: Sequence[Answer], taxonomy: Taxonomy, ids: Mapping[str, Any], manifests: Mapping[str, Manifest | None]
) -> Checked:
    """Sort answers into corrections and what cannot be used.

    Args:
        ids: the rows there are. manifests: by batch; None where it is not known: today's ids and names must do then.
    """
    done, now = Checked(), digest(taxonomy.dump())
    today = Manifest(now, {fold(text): label for text, label in options(taxonomy).items()})
    for answer in answers:
        manifest = manifests.get(answer.batch) or today
        done.counts["older_taxonomy"] += manifest.taxonomy != now
        if answer.choices is None and not answer.problem:
            done.counts["skipped"] += 1
            continue
        try:
            done.corrections.append(_correction(answer, taxonomy, ids, manifest))
        except Unusable as e:
            done.counts[e.kind] += 1
            done.rejected.append(_rejected(answer, e))
    done.corrections, done.counts["duplicates"] = _one_each(done.corrections)
    return done


def _correction(answer: Answer, taxonomy: Taxonomy, ids: Mapping[str, Any], manifest: Manifest) -> Correction:
    if answer.problem:
        raise Unusable("unusable", answer.problem)
    row = _row(answer, ids, manifest)
    labels = _labels(answer, taxonomy, manifest)
    first = labels[0] if labels else None
    return Correction(row, first, labels, answer.by, answer.at, manifest.drawn.get(row, ""), answer.batch, answer.note)


def _row(answer: Answer, ids: Mapping[str, Any], manifest: Manifest) -> str:
    """The row's id; by its key in the batch where a spreadsheet has spoilt the id."""
    row = manifest.keys.get(answer.key, answer.id)
    if row not in ids:
        raise Unusable("unknown_id", f"the run has no row {answer.id!r}")
    shown = {row} if answer.text is None else manifest.texts.get(digest(answer.text), {row})
    if row not in shown:
        raise Unusable("unusable", f"beside it stands the text of row {min(shown)!r}: was one column sorted alone?")
    return row


def _labels(answer: Answer, taxonomy: Taxonomy, manifest: Manifest) -> list[str]:
    leaves, known = {label.id for label in taxonomy.leaves}, manifest.options
    found = list(dict.fromkeys(_label(text, taxonomy, known) for text in _texts(answer, taxonomy, known)))
    if not found:
        raise Unusable("off_list", "no label in it")
    if NONE_FITS in found:
        if len(found) > 1:
            raise Unusable("unusable", f"{NONE_TEXT!r} beside a label")
        return []
    for label in found:
        if label not in leaves:
            why = "is a group of labels" if taxonomy.find(label) else "is not, or no longer, in the taxonomy"
            raise Unusable("off_list", f"{label!r} {why}")
    return found


def _texts(answer: Answer, taxonomy: Taxonomy, known: Mapping[str, str]) -> list[str]:
    """What was chosen, one by one. `ok` stands for the suggestion; a cell may hold several with `|` between them."""
    texts = []
    for choice in answer.choices or []:
        if fold(choice) == OK and answer.suggestion and not taxonomy.find(choice):
            choice = answer.suggestion
        whole = fold(choice) in known or taxonomy.find(choice)
        texts += [choice] if whole else [part for part in choice.split("|") if part.strip()]
    return texts


def _label(text: str, taxonomy: Taxonomy, known: Mapping[str, str]) -> str:
    """The id behind a text: what the person was shown comes first, for names change; then ids and names of today."""
    if fold(text) in known:
        return known[fold(text)]
    label = taxonomy.find(text)
    return label.id if label else NONE_FITS if fold(text) in NONE else text.strip()


def _one_each(corrections: Sequence[Correction]) -> tuple[list[Correction], int]:
    """The last word of each person about each row, and how many others there were.

    People without a name who differ are told apart by number.
    """
    kept: dict[tuple[str, str], Correction] = {}
    unnamed: dict[str, list[frozenset[str]]] = {}
    for c in corrections:
        said = frozenset(c.labels)
        if not c.by:
            others = unnamed.setdefault(c.id, [])
            if said not in others:
                others.append(said)
            number = others.index(said) + 1
            c = replace(c, by="unnamed" if number == 1 else f"unnamed {number}")
        before = kept.pop((c.id, c.by), None)
        kept[c.id, c.by] = c if before is None or (c.at or "") >= (before.at or "") else before
    return list(kept.values()), len(corrections) - len(kept)


def _rejected(answer: Answer, why: Unusable) -> dict[str, Any]:
    return {
        "where": answer.where, "id": answer.id, "choices": answer.choices, "by": answer.by, "at": answer.at, "note": answer.note,
        "batch": answer.batch, "kind": why.kind, "reason": str(why),
    }  # fmt: skip


def _write_rejected(run: Path, file: str, rejected: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a file brought that cannot be used, in place of what a file of this name brought before."""
    by_batch: dict[str, list[Mapping[str, Any]]] = {}
    for row in rejected:
        batch = str(row["batch"])
        by_batch.setdefault(batch if batch.isascii() and batch.isalnum() else "unknown", []).append(row)
    with locked(run):
        for path in sorted(
            {*(run / "review").glob("rejected-*.jsonl"), *(run / "review" / f"rejected-{b}.jsonl" for b in by_batch)}
        ):
            others = [row for row in _lines(path) if row.get("file") != file]
            mine = [{"file": file, **row} for row in by_batch.get(path.stem.removeprefix("rejected-"), [])]
            if others or mine:
                write_atomic(path, b"".join(line(row) for row in [*others, *mine]))
            else:
                path.unlink(missing_ok=True)
    return [str(run / "review" / f"rejected-{b}.jsonl") for b in sorted(by_batch)]


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        return [json.loads(row) for row in path.read_bytes().splitlines() if row.strip()]
    except ValueError as e:
        raise DataError(f"{path} is damaged ({e}); delete it and import again: it only lists what could not be used") from e
