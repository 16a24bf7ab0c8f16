"""CSV for a spreadsheet: one line per row; people fill in `label`, and `note` and `by` where they like.

A cell that a spreadsheet would run as a formula gets an apostrophe in front, which reading takes away again
(https://owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from llmlabel.errors import DataError
from llmlabel.review import label_studio
from llmlabel.review.answers import Answer
from llmlabel.review.batch import Batch

COLUMNS = ("row", "id", "text", "suggestion", "label", "note", "by", "batch")
TYPED = ("note", "by", "at")  # cells that only people fill in are theirs to the letter
BETWEEN = " | "
RUNS = "=+\\-@\t\r\n＝＋－＠"
ESCAPE, UNESCAPE = re.compile(f"'*[{RUNS}]"), re.compile(f"'+[{RUNS}]")


def files(batch: Batch) -> dict[str, str]:
    """`.csv`: UTF-8 with the mark that tells Excel so."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for n, row in enumerate(batch.rows):
        cells = (batch.key(n), row.id, row.text, BETWEEN.join(batch.suggested(row)), "", "", "", batch.id)
        writer.writerow([escape(cell) for cell in cells])
    return {".csv": "\ufeff" + out.getvalue()}


def escape(cell: str) -> str:
    return f"'{cell}" if ESCAPE.match(cell) else cell


def unescape(cell: str) -> str:
    """What `escape` was given; cells that need no escape stay as they are."""
    return cell[1:] if UNESCAPE.match(cell) else cell


def read(content: str, path: Path) -> list[Answer]:
    """The answers of all lines. An empty `label` is no answer; several labels have `|` between them.

    Also reads Label Studio's own CSV export, and other separators (`;`, tab), as spreadsheets write them.
    Raises: DataError when it has no column `label`, or none that says which row it is.
    """
    answers: list[Answer] = []
    lines = _lines(content, path)
    _, header = next(lines, (1, []))
    if missing := _missing(header):
        raise DataError(f"{path}, line 1: no column {missing}. It has: {', '.join(header) or 'nothing'}. Put the first line back")
    if "row_id" in header:
        for n, cells in lines:
            answers += label_studio.parse_short(dict(zip(header, cells, strict=False)), f"line {n}")
        return answers
    return [_answer(header, cells, f"line {n}") for n, cells in lines]


def _missing(header: list[str]) -> str:
    if "label" not in header:
        return "`label`"
    return "" if {"row", "id", "row_id"} & set(header) else "`id` or `row`"


def _lines(content: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number where a row begins, and its cells; rows without any content are left out."""
    csv.field_size_limit(sys.maxsize)  # a text may be long
    first = content.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    before = 0
    try:
        for cells in reader:
            if any(cells):
                yield before + 1, [c.strip().lower() for c in cells] if before == 0 else cells
            before = reader.line_num
    except csv.Error as e:
        raise DataError(f"{path}, the row from line {before + 1} on: {e}; a quote is missing or one too many") from e


def _answer(header: list[str], cells: list[str], where: str) -> Answer:
    row = {name: cell if name in TYPED else unescape(cell) for name, cell in zip(header, cells, strict=False)}
    problem = ""
    if len(cells) != len(header):
        problem = f"{len(cells)} cells where the first line has {len(header)}: is a quote or separator missing?"
    label = row.get("label", "").strip()
    return Answer(
        where, row.get("id", ""), row.get("batch", ""), [label] if label else None, by=row.get("by", "").strip(),
        at=row.get("at") or None, note=row.get("note", ""), key=row.get("row", ""), text=row.get("text"),
        suggestion=row.get("suggestion", ""), problem=problem,
    )  # fmt: skip
