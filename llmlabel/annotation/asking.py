"""What annotators are told besides the texts and the labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmlabel.records import NONE_FITS, Example, Label, Taxonomy

Kind = Literal["auto", "sequence", "code", "vote"]
NONE = Label(id=NONE_FITS, name="None of these", description="No label above fits the text.")


@dataclass(frozen=True)
class Shot:
    """A solved example: a text and the ids of its labels; none: no label fits."""

    text: str
    labels: Sequence[str]


@dataclass(frozen=True)
class How:
    """How texts are asked about. What an annotator has no use for it leaves alone.

    Args:
        use_case: the question the labels answer. seed: of the order of labels. max_text_chars: what is seen of a text.
        multi: any number of labels per text. shown: row id -> ids of the labels to show; None: all.
        shots: row id -> solved examples to show. gold: examples whose `golds` may be used for shots and neighbours.
        encode: texts -> (N, D) unit vectors. few_shot: how many of `gold` to show.
        probs: where distributions come from, see `label.ask`. samples: answers asked per text where they are votes.
        retry: number of the round in which rows that failed are asked again, 0 for the first.
        sample, temperature: of one draw; set by `label.ask` and `vote`. step: under which the books have the requests.
        on_done: is told how many texts are done.
    """

    use_case: str = ""
    seed: int = 0
    max_text_chars: int = 4000
    multi: bool = False
    shown: Mapping[str, Sequence[str]] | None = None
    shots: Mapping[str, Sequence[Shot]] = field(default_factory=dict)
    gold: Sequence[Example] = ()
    encode: Callable[[Sequence[str]], NDArray[np.floating[Any]]] | None = None
    few_shot: int = 0
    probs: Kind = "auto"
    samples: int = 1
    retry: int = 0
    sample: int = 0
    temperature: float = 0.0
    step: str = "label"
    on_done: Callable[[int], None] | None = None

    def labels(self, row_id: str, taxonomy: Taxonomy) -> list[Label]:
        """The labels to show for a row, in the taxonomy's order or that of the shortlist."""
        return taxonomy.leaves if self.shown is None else [taxonomy[i] for i in self.shown[row_id]]

    def solved(self, row_id: str, shown: Sequence[Label]) -> list[tuple[str, list[Label]]]:
        """The solved examples of a row whose labels are all among those shown, texts cut."""
        by_id = {label.id: label for label in shown}
        usable = [shot for shot in self.shots.get(row_id, ()) if all(label in by_id for label in shot.labels)]
        return [(shot.text[: self.max_text_chars], [by_id[label] for label in shot.labels] or [NONE]) for shot in usable]
