"""The only place that labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmlabel.annotation.asking import How, Kind, Shot
from llmlabel.annotation.calibration.batch import unseen_mass
from llmlabel.annotation.label import Evidence, ask, settle
from llmlabel.llm import connect
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Taxonomy

__all__ = ["Evidence", "How", "Kind", "Shot", "annotate", "ask", "settle", "unseen_mass"]


def annotate(
    texts: Sequence[str],
    taxonomy: Taxonomy,
    *,
    llm: str | None = None,
    cache: Path | None = None,
    seed: int = 0,
    probs: Kind = "auto",
    samples: int = 1,
) -> list[Annotation]:
    """Label texts with a model.

    Args:
        texts: N texts. taxonomy: what to label with. llm: a model spec. cache: where answers are kept.
        probs, samples: where label distributions come from, see `ask`.
    Returns: N annotations, in order; their ids are "0", "1", ...
    Raises: BackendError when the model cannot be reached; ConfigError when it cannot give such distributions.
    """
    client = connect(llm, cache=cache)
    examples = [Example(str(i), text) for i, text in enumerate(texts)]
    try:
        how = How(use_case=taxonomy.use_case, seed=seed, probs=probs, samples=samples)
        rows = ask(examples, taxonomy, client, PromptLibrary(), how)
    finally:
        client.close()
    return settle(rows, taxonomy)
