"""People: a short queue of rows worth a look, out to Label Studio, Argilla or a spreadsheet, and their answers back in."""

from llmlabel.review.corrections import Correction, append, history, load_corrections, resolve
from llmlabel.review.export import export
from llmlabel.review.formats import read
from llmlabel.review.importing import import_answers
from llmlabel.review.queue import draw, order, worth

__all__ = [
    "Correction", "append", "draw", "export", "history", "import_answers", "load_corrections", "order", "read", "resolve",
    "worth",
]  # fmt: skip
