"""llmlabel: taxonomies, labels and small classifiers from raw text.

`llmlabel.taxonomy.induce`, `llmlabel.annotation.annotate` and `llmlabel.load_run` are the way in for programs.
"""

from llmlabel.runs import Run, load_run

__all__ = ["Run", "load_run"]
