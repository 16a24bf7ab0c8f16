"""Walk down a deep taxonomy: choose among the roots, then among the children of what was chosen, down to a leaf.

A question holds the labels of one branch only, so a taxonomy of hundreds of labels fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmlabel.annotation.asking import NONE, How, Shot
from llmlabel.annotation.label import PROMPTS as PROMPTS
from llmlabel.annotation.label import ask
from llmlabel.errors import ConfigError
from llmlabel.llm.client import Client
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Label, Status, Taxonomy


def annotate(
    examples: Sequence[Example], taxonomy: Taxonomy, client: Client, prompts: PromptLibrary, how: How
) -> list[Annotation]:
    """One annotation per example, in order. `probs` holds log-probabilities of the leaves that were within reach: the sum
    along the path; a parent that was not chosen leaves its own to all leaves under it, in equal shares.

    Raises: ConfigError with `how.multi`: a text may then belong to several branches.
    """
    if how.multi:
        raise ConfigError("descent chooses one branch; with --multi-label use classify or shortlist")
    rows = ask(examples, _level(taxonomy, taxonomy.roots), client, prompts, _shown(how, taxonomy, taxonomy.roots))
    return _down(examples, rows, taxonomy, client, prompts, replace(how, on_done=None))


def _down(
    examples: Sequence[Example], rows: list[Annotation], taxonomy: Taxonomy, client: Client, prompts: PromptLibrary, how: How
) -> list[Annotation]:
    """Replace rows that stand at a parent by rows at one of its children, until none does."""
    for row in rows:
        row.probs = _spread(row.probs, taxonomy)
    while parents := sorted({row.label for row in rows if row.label and taxonomy.children(row.label)}):
        for parent in parents:
            at = [i for i, row in enumerate(rows) if row.label == parent]
            children = taxonomy.children(parent)
            below = ask([examples[i] for i in at], _level(taxonomy, children), client, prompts, _shown(how, taxonomy, children))
            for i, row in zip(at, below, strict=True):
                rows[i] = _joined(rows[i], row, taxonomy)
    return rows


def _level(taxonomy: Taxonomy, labels: Sequence[Label]) -> Taxonomy:
    return Taxonomy(use_case=taxonomy.use_case, labels=[label.model_copy(update={"parent": None}) for label in labels])


def _shown(how: How, taxonomy: Taxonomy, labels: Sequence[Label]) -> How:
    """Solved examples as they look on this level: under the ancestor that stands on it."""
    wanted = {label.id for label in labels}

    def lifted(shot: Shot) -> Shot:
        return Shot(shot.text, [next((a for a in taxonomy.path(i) if a in wanted), i) for i in shot.labels])

    return replace(how, shown=None, shots={row: [lifted(shot) for shot in shots] for row, shots in how.shots.items()})


def _spread(probs: dict[str, float], taxonomy: Taxonomy) -> dict[str, float]:
    """Log-probabilities of a level's labels as those of the leaves under them."""
    from math import log

    found: dict[str, float] = {}
    for label, p in probs.items():
        leaves = [label] if label == NONE.id else taxonomy.under(label)
        found |= dict.fromkeys(leaves, p - log(len(leaves)))
    return found


def _joined(above: Annotation, below: Annotation, taxonomy: Taxonomy) -> Annotation:
    """A child's answer within its parent's. Where no child fits, or the answer is unusable, the row says so."""
    if above.probs and below.probs and above.label:
        from math import exp, log

        inside = set(taxonomy.under(above.label))
        whole = log(sum(exp(p) for label, p in above.probs.items() if label in inside))
        below.probs = {k: p for k, p in above.probs.items() if k not in inside} | {
            label: p + whole for label, p in _spread(below.probs, taxonomy).items()
        }
    if below.status is Status.NONE_FITS:
        below.reason = f"fits {above.label!r}, but none of the labels under it"
    return below
