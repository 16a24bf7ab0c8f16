"""The one question every annotator comes down to: ask a model about texts, then settle its answers into labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmlabel.annotation.annotators import classify, likelihood, vote
from llmlabel.annotation.asking import NONE as NONE_LABEL
from llmlabel.annotation.asking import How, Kind
from llmlabel.annotation.calibration.batch import batch_calibrate, matrix, pool
from llmlabel.errors import ConfigError
from llmlabel.llm.client import Client
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Status, Taxonomy

PROMPTS = {f"{way.__name__.rpartition('.')[2]}_{use}": i for way in (classify, likelihood) for use, i in way.PROMPTS.items()}
NONE = NONE_LABEL.id
MOST_SAMPLES = 100  # of one round
RETRY_TEMPERATURE = 0.5
FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class Evidence:
    """What the vectors say: (N, L) log-probabilities of the taxonomy's leaves for the examples, in their order.

    `weight` is their share in the pool with the model's own distribution, 0 to 1.
    """

    logps: FloatArray
    weight: float


def ask(examples: Sequence[Example], taxonomy: Taxonomy, client: Client, prompts: PromptLibrary, how: How) -> list[Annotation]:
    """The model's own answers, one per example, in order. Their `probs` are log-probabilities until `settle`.

    Args:
        how: `probs` says where label distributions come from. `sequence`: likelihood of each label's whole name; `code`:
            alternatives of the answer's first token; `vote`: shares among `samples` answers; `auto`: see `kind_of`.
            `retry`: every round draws other answers than those in the store (except by likelihood, where only requests
            without any answer fail).
    Raises: ConfigError when the model cannot give what `probs` asks for; what stopped the model.
    """
    kind = kind_of(client, how.probs, how.samples)
    way = {"sequence": likelihood, "vote": vote}.get(kind, classify)
    warmth = RETRY_TEMPERATURE if how.retry and way is classify else 0.0
    how = replace(how, sample=how.sample + how.retry * MOST_SAMPLES, temperature=warmth)
    full = [e for e in examples if e.text.strip()]
    by_id = {row.id: row for row in way.annotate(full, taxonomy, client, prompts, how)}
    return [by_id.get(e.id) or no_text(e.id, client.backend.model) for e in examples]


def kind_of(client: Client, probs: Kind, samples: int) -> Kind:
    """Where this model's label distributions come from.

    `auto`: `sequence` where it scores but does not write, `code` where it gives log-probabilities, `vote` where it gives
    neither and may be asked several times. Else it is asked as for `code`, and its word stands without a distribution.
    Raises: ConfigError when the model cannot give what is asked for.
    """
    features, model = client.backend.features, client.backend.model
    if probs == "auto":
        if features.score and not features.writes:
            return "sequence"
        return "code" if features.logprobs or samples == 1 else "vote"
    if probs == "sequence" and not features.score:
        raise ConfigError(f"label_probs sequence: {model} cannot score given text; use code or vote")
    if probs == "code" and not features.logprobs:
        raise ConfigError(f"label_probs code: {model} gives no log-probabilities; use vote, with samples of 2 or more")
    if probs == "vote" and samples < 2:
        raise ConfigError("label_probs vote: needs samples of 2 or more, as in --set samples=5")
    return probs


def no_text(row_id: str, annotator: str = "") -> Annotation:
    return Annotation(row_id, None, Status.ERROR, annotator=annotator, reason="the text is empty")


def settle(
    rows: Sequence[Annotation], taxonomy: Taxonomy, evidence: Evidence | None = None, strength: float = 1.0, multi: bool = False
) -> list[Annotation]:
    """Turn raw answers into final labels: calibrate over the whole batch, pool with the evidence, take the best label.

    Rows that failed stay as they are; where a model gives no log-probabilities its word stands, without a confidence.

    Args:
        strength: of the batch calibration, 0 to 1. multi: any number of labels per text: each probability stands alone, and
            the labels are those that were named.
    """
    if multi:
        return [replace(row, probs=_alone(row.probs)) for row in rows]
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


def _alone(logps: dict[str, float]) -> dict[str, float]:
    return {label: round(min(float(np.exp(p)), 1.0), 6) for label, p in logps.items()}


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
