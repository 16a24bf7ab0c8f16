"""What is known to be true of a run's rows: a gold column, and what people said of an earlier run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from llmlabel.annotation.panel import Gold, read_gold
from llmlabel.records import NONE_FITS, Example, Taxonomy, fold
from llmlabel.review import Correction
from llmlabel.runs import read_json


@dataclass
class Known:
    """True labels by row id. `corrections`: of an earlier run, by row id."""

    examples: Sequence[Example]
    taxonomy: Taxonomy
    corrections: Mapping[str, Correction]

    @cached_property
    def by_id(self) -> dict[str, Example]:
        return {e.id: e for e in self.examples}

    @cached_property
    def column(self) -> Gold:
        """Of the gold column alone."""
        return read_gold(self.examples, self.taxonomy)

    @cached_property
    def gold(self) -> Gold:
        """True labels to learn from and to measure by: the gold column, and what people said of rows drawn at random."""
        found = self.column
        drawn, told = self._reviewed(only_random=True), self._reviewed(only_random=False)
        return Gold({i: told.get(i, labels) for i, labels in found.labels.items()} | drawn, found.strange)

    @cached_property
    def human(self) -> dict[str, tuple[str, ...]]:
        """What people said of rows, whatever they were drawn by: their label is the row's label."""
        return self._reviewed(only_random=False)

    @cached_property
    def unreviewed(self) -> list[str]:
        """Rows with gold whose final label is not a person's word: what labels the others can be measured on them."""
        return [i for i in self.gold.labels if i not in self.human]

    @cached_property
    def reviewed(self) -> dict[str, Correction]:
        """By row id, what people said with labels this taxonomy has; also of other rows with the very same text."""
        known = {label.id for label in self.taxonomy.leaves}
        said = {i: c for i, c in self.corrections.items() if i in self.by_id and known.issuperset(c.labels)}
        twins: dict[str, Correction] = {}
        for i, c in said.items():
            twins.setdefault(fold(self.by_id[i].text), replace(c, drawn="queue"))
        if not twins:
            return said
        return {e.id: twins[fold(e.text)] for e in self.examples if fold(e.text) in twins} | said

    def _reviewed(self, only_random: bool) -> dict[str, tuple[str, ...]]:
        return {i: tuple(c.labels) for i, c in self.reviewed.items() if c.drawn == "random" or not only_random}

    @cached_property
    def solved(self) -> list[Example]:
        """Rows with a known label, to be shown as examples and looked for as neighbours; `gold` holds label ids."""
        labels = {**self.gold.labels, **self.human}
        return [Example(i, self.by_id[i].text, "|".join(names) or NONE_FITS) for i, names in labels.items() if i in self.by_id]

    def notes(self) -> Iterator[str]:
        """What a user should know of it, in plain sentences."""
        if strange := self.column.strange:
            most = ", ".join(f"{value!r} ({n})" for value, n in Counter(strange).most_common(5))
            yield f"{sum(strange.values())} gold labels are no label of the taxonomy and are not used: {most}"
        if lost := [i for i in self.corrections if i not in self.reviewed]:
            why = "their rows are not in the data, or their labels not in the taxonomy"
            yield f"{len(lost)} of {len(self.corrections)} corrections are not used: {why} ({', '.join(lost[:3])})"
        known = self.column.labels
        if differ := [i for i, labels in self.human.items() if i in known and set(known[i]) != set(labels)]:
            said = f"{len(differ)} rows have another label in the gold column than people gave them ({', '.join(differ[:3])})"
            yield f"{said}; what people said is taken"
        if not self.gold.labels:
            yield "no gold: confidences are not calibrated and nothing is promised"


def known_before(run: Path) -> dict[str, list[str]]:
    """By row id, the labels people had given when a run began."""
    try:
        return dict(read_json(run / "steps" / "corrections.json"))
    except FileNotFoundError:
        return {}
