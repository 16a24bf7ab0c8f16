"""From texts to a taxonomy: choose the method, run it, and again inside each category for a second level."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from llmlabel import embedding
from llmlabel.config import TaxonomyConfig
from llmlabel.errors import DataError
from llmlabel.llm import Models
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example, Label, Taxonomy, slug
from llmlabel.taxonomy.ability import can_edit
from llmlabel.taxonomy.chain import induce_by_chain
from llmlabel.taxonomy.edits import Limits
from llmlabel.taxonomy.guided import induce_by_clusters
from llmlabel.taxonomy.settings import Induction, Setting
from llmlabel.taxonomy.summarise import summarise

FEWEST_TEXTS = 4
SPLIT_FROM = 20  # texts in a category, for a second level inside it
METHODS = {"tnt": induce_by_chain, "cluster": induce_by_clusters}


def induce(
    texts: Sequence[str], use_case: str, *, llm: str | None = None, cache: Path | None = None, **options: object
) -> Induction:
    """Induce a taxonomy from texts.

    Args:
        texts: what is to be sorted. use_case: the question the taxonomy answers. llm: a model spec.
        cache: where answers and vectors are kept. options: any setting of `TaxonomyConfig`, such as max_labels, levels,
            method, seed or embedder.
    Returns: an Induction; `.taxonomy` has the labels, `.assignment` maps "0", "1", ... to label ids.
    Raises: DataError when there are too few distinct texts; BackendError when the model cannot be reached.
    """
    values = {"data": "texts", "out": ".", "use_case": use_case, "llm": llm or {}, "cache": cache, **options}
    config = TaxonomyConfig.model_validate(values)
    examples = [Example(str(i), text) for i, text in enumerate(texts)]
    chosen = sample(examples, config.induce_on, config.seed)
    with Models(config) as models:
        return induce_taxonomy(chosen, setting_of(config, models, chosen), config)


def setting_of(config: TaxonomyConfig, models: Models, chosen: Sequence[Example]) -> Setting:
    """The doors a run of `config` needs; TF-IDF vectors learn their words from the induction sample, `chosen`."""
    fit_on = [e.text for e in chosen]
    embedder = embedding.connect(config.embedder, fit_on=fit_on, seed=config.seed, client=models.embeddings)
    return Setting(
        use_case=config.use_case,
        limits=Limits(config.max_labels, config.name_words, config.description_words),
        models=models,
        embedder=embedder,
        vectors=embedding.VectorCache(config.cache),
        prompts=PromptLibrary(config.prompts),
        seed=config.seed,
        batch_size=config.batch_size,
        chains=config.chains,
        summary_words=config.summary_words,
        max_text_chars=config.max_text_chars,
    )


def sample(examples: Sequence[Example], size: int, seed: int) -> list[Example]:
    """At most `size` examples with distinct, non-empty texts, drawn with the seed, in input order."""
    distinct = list({e.text.strip(): e for e in reversed(examples) if e.text.strip()}.values())[::-1]
    if len(distinct) <= size:
        return distinct
    chosen = set(random.Random(f"{seed}/sample").sample(range(len(distinct)), size))
    return [e for i, e in enumerate(distinct) if i in chosen]


def induce_taxonomy(examples: Sequence[Example], setting: Setting, config: TaxonomyConfig) -> Induction:
    """The whole of phase 1 on a sample.

    Args:
        examples: distinct, non-empty texts.
    """
    if len(examples) < FEWEST_TEXTS:
        raise DataError(f"a taxonomy needs at least {FEWEST_TEXTS} different texts; there are {len(examples)}")
    setting.able, why = can_edit(setting)
    method: str = config.method
    if method == "auto":
        method = "tnt" if setting.able else "cluster"
    else:
        why = "as asked for"
    texts = [e.text[: setting.max_text_chars] for e in examples]
    failures: list[dict[str, str]] = []
    if method == "tnt":
        texts, failures = summarise(examples, setting)
    flat = METHODS[method](examples, texts, setting)
    induction = replace(flat, why=why, failures=failures + flat.failures)
    if config.levels == 2:
        return _second_level(examples, texts, induction, setting)
    return induction


def nearest(examples: Sequence[Example], texts: Sequence[str], taxonomy: Taxonomy, setting: Setting) -> dict[str, str]:
    """Row id -> id of the label whose name and description are nearest by cosine."""
    meanings = setting.encode([label.meaning for label in taxonomy.leaves])
    best = np.argmax(setting.encode(texts) @ meanings.T, axis=1)
    return {e.id: taxonomy.leaves[k].id for e, k in zip(examples, best.tolist(), strict=True)}


def _second_level(examples: Sequence[Example], texts: Sequence[str], flat: Induction, setting: Setting) -> Induction:
    """Run the same method inside every category that has enough texts (after a chain: of those nearest by vectors)."""
    assignment = dict(flat.assignment) or nearest(examples, texts, flat.taxonomy, setting)
    labels = [label.model_copy(deep=True) for label in flat.taxonomy.labels]
    history, failures, probs = list(flat.history), list(flat.failures), dict(flat.probs)
    for category in flat.taxonomy.labels:
        inside = [i for i, e in enumerate(examples) if assignment.get(e.id) == category.id]
        if len(inside) < SPLIT_FROM:
            continue
        narrowed = replace(
            setting,
            use_case=f"{setting.use_case} (within: {category.name}. {category.description})",
            limits=replace(setting.limits, taken=tuple(label.name for label in labels)),
        )
        parts = METHODS[flat.method]([examples[i] for i in inside], [texts[i] for i in inside], narrowed)
        history += [entry | {"within": category.id} for entry in parts.history]
        failures += parts.failures
        if len(parts.taxonomy) < 2:
            continue
        renamed = _adopt(category, parts.taxonomy.labels, labels)
        assignment |= {row: renamed[part] for row, part in parts.assignment.items()}
        probs = _refined(probs, category.id, parts.probs, renamed)
    taxonomy = Taxonomy(use_case=flat.taxonomy.use_case, labels=labels)
    kept = assignment if flat.assignment else {}
    return replace(flat, taxonomy=taxonomy, assignment=kept, probs=probs, history=history, failures=failures)


def _refined(
    probs: Mapping[str, Mapping[str, float]],
    parent: str,
    parts: Mapping[str, Mapping[str, float]],
    renamed: Mapping[str, str],
) -> dict[str, Mapping[str, float]]:
    """Share out the probability of a category among its children; evenly for texts that are not in it."""
    done: dict[str, Mapping[str, float]] = {}
    for row, own in probs.items():
        inside = parts.get(row) or {child: 1 / len(renamed) for child in renamed}
        shares = {renamed[child]: own[parent] * share for child, share in inside.items()}
        done[row] = {label: p for label, p in own.items() if label != parent} | shares
    return done


def _adopt(parent: Label, children: Sequence[Label], labels: list[Label]) -> dict[str, str]:
    """Put children under a parent, each with an id nobody has; returns old id -> new id."""
    renamed = {}
    for child in children:
        new = slug(f"{parent.id} {child.name}", {label.id for label in labels})
        labels.append(child.model_copy(update={"id": new, "parent": parent.id}))
        renamed[child.id] = new
    return renamed
