"""TnT-LLM phase 2, the teacher: label texts with a model, calibrate, and pool with the vectors where the model is weak."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmlabel.annotation.annotators import classify, likelihood
from llmlabel.annotation.confidence import batch_calibrate, matrix, pool
from llmlabel.llm.client import Client
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Status, Taxonomy

PROMPTS = {"classify": "annotate/classify@1.0.0", "classify_score": "annotate/classify_score@1.0.0"}
NONE = classify.NONE.id
FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class Evidence:
    """What the vectors say: (N, L) log-probabilities of the taxonomy's leaves for the examples, in their order.

    `weight` is their share in the pool with the model's own distribution, 0 to 1.
    """

    logps: FloatArray
    weight: float


def ask(
    examples: Sequence[Example],
    taxonomy: Taxonomy,
    client: Client,
    prompts: PromptLibrary,
    *,
    use_case: str = "",
    seed: int = 0,
    max_text_chars: int = 4000,
    shortlist: Mapping[str, Sequence[str]] | None = None,
    on_done: Callable[[int], None] | None = None,
) -> list[Annotation]:
    """The model's own answers: in words where it writes, by likelihood where it only scores. `probs` are log-probabilities."""
    empty = {e.id for e in examples if not e.text.strip()}
    full = [e for e in examples if e.id not in empty]
    if client.backend.features.writes:
        prompt = prompts.get(PROMPTS["classify"])
        rows = classify.annotate(
            full, taxonomy, client, prompt, use_case=use_case, seed=seed, max_text_chars=max_text_chars,
            shortlist=shortlist, on_done=on_done,
        )  # fmt: skip
    else:
        rows = likelihood.annotate(full, taxonomy, client, prompts.get(PROMPTS["classify_score"]), on_done=on_done)
    by_id = {row.id: row for row in rows}
    return [by_id.get(e.id) or no_text(e.id, client.backend.model) for e in examples]


def no_text(row_id: str, annotator: str = "") -> Annotation:
    return Annotation(row_id, None, Status.ERROR, annotator=annotator, reason="the text is empty")


def settle(
    rows: Sequence[Annotation], taxonomy: Taxonomy, evidence: Evidence | None = None, strength: float = 1.0
) -> list[Annotation]:
    """Turn raw answers into final labels: calibrate over the whole batch, pool with the evidence, take the best label.

    Rows that failed stay as they are; where a model gives no log-probabilities its word stands, without a confidence.

    Args:
        strength: of the batch calibration, 0 to 1.
    """
    labels = [label.id for label in taxonomy.leaves]
    told = [i for i, row in enumerate(rows) if row.probs and not row.status.failed]
    if not told:
        return list(rows)
    known = [*labels, NONE] if any(NONE in rows[i].probs for i in told) else labels
    logps = batch_calibrate(matrix([rows[i].probs for i in told], known), strength)
    if evidence is not None:
        logps = _pooled(logps, evidence.logps[told], evidence.weight)
    done = list(rows)
    for i, row in zip(told, np.exp(logps), strict=True):
        done[i] = _final(rows[i], known, row)
    return done


def _pooled(logps: FloatArray, evidence: FloatArray, weight: float) -> FloatArray:
    """Vectors know nothing of "none fits": there the model's own probability stays."""
    extra = logps.shape[1] - evidence.shape[1]
    padded = np.hstack([evidence, logps[:, -extra:]]) if extra else evidence
    return pool(logps, padded, weight)


def _final(row: Annotation, known: Sequence[str], probs: FloatArray) -> Annotation:
    best = known[int(probs.argmax())]
    distribution = {label: round(float(p), 6) for label, p in zip(known, probs, strict=True) if label != NONE}
    confidence = round(float(probs.max()), 6)
    status = Status.NONE_FITS if best == NONE else Status.OK
    chosen = [] if best == NONE else [best, *(label for label in row.labels if label not in (best, row.label))]
    return Annotation(
        row.id, None if best == NONE else best, status, chosen, confidence, distribution, row.probs_kind, row.source,
        row.annotator, row.prompt, row.prompt_hash, row.suspect,
    )  # fmt: skip
