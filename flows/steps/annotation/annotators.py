"""Who labels in a run: every annotator asked in shards, what an earlier run's answers spare, and order bias measured."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from llmlabel.flows.steps.annotation.labelling import ask_in_shards, from_json, from_table, stale_rows, table_of

from llmlabel import annotation
from llmlabel.annotation import annotators as ways
from llmlabel.annotation.annotators import classify, few_shot, nearest
from llmlabel.annotation.asking import How
from llmlabel.annotation.calibration.batch import matrix
from llmlabel.annotation.calibration.order_bias import FEWEST_ROWS, code_prior, flip_rate, without_prior
from llmlabel.annotation.label import MOST_SAMPLES
from llmlabel.annotation.label import PROMPTS as LABEL_PROMPTS
from llmlabel.annotation.panel import Column
from llmlabel.config import LabellingConfig, without_url
from llmlabel.embedding import Vectors
from llmlabel.errors import ConfigError
from llmlabel.events import Progress, counter, emit
from llmlabel.llm import Client, Models
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Annotation, Example, Taxonomy
from llmlabel.runs import Run, RunFolder, read_json

ANOTHER_ORDER = 50  # number of the draw whose order of labels is compared with the first one's
ORDER_SHARE = 0.1  # of the texts, at most, are asked again for it
WEAK_KIND = "sequence"  # a model that only scores favours labels whatever the text; so its answers are calibrated over the batch


@dataclass(frozen=True)
class Annotator:
    """`way`: a file of `annotation.annotators`, or auto. `spec`: a model spec; None: the role `label`."""

    name: str
    way: str
    spec: str | None = None


@dataclass
class Asking:
    """What all annotators of a run share."""

    config: LabellingConfig
    folder: RunFolder
    models: Models
    taxonomy: Taxonomy
    prompts: PromptLibrary
    encode: Callable[[Sequence[str]], Vectors]
    use_case: str
    progress: Progress
    multi: bool = False
    few_shot: int = 0
    order_sample: int = 0
    gold: Sequence[Example] = ()  # for shots and neighbours; their `gold` holds label ids
    fresh: frozenset[str] = frozenset()  # rows whose gold is newer than the earlier run
    old: Run | None = None
    order_bias: list[dict[str, Any]] = field(default_factory=list)

    def how(self, rows: Sequence[Example], on_done: Callable[[int], None] | None, retry: int = 0, step: str = "label") -> How:
        config = self.config
        how = How(
            use_case=self.use_case, seed=config.seed, max_text_chars=config.max_text_chars, multi=self.multi, gold=self.gold,
            encode=self.encode, few_shot=self.few_shot, probs=config.label_probs, samples=config.samples, retry=retry,
            step=step, on_done=on_done,
        )  # fmt: skip
        return replace(how, shots=few_shot.nearest_shots(rows, how)) if self.few_shot and self.gold and rows else how


def read_annotators(config: LabellingConfig, *, default: bool = True) -> list[Annotator]:
    """The annotators a run names; without any, the model of the role `label` (or nobody: `default=False`).

    Raises: ConfigError when one stands there twice.
    """
    found = [_annotator(spec) for spec in config.annotators]
    names = [a.name for a in found]
    for twice in {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"--annotator {twice!r} stands there twice; its answers would be the same")
    return found or ([Annotator("label", "auto")] if default else [])


def _annotator(spec: str) -> Annotator:
    way, _, rest = spec.partition(":")
    if spec == "nearest":
        return Annotator(spec, spec)
    if way in ways.names():
        if not rest:
            raise ConfigError(f"--annotator {spec!r}: say which model, as in {way}:openai:MODEL")
        return Annotator(without_url(spec) or spec, way, rest)
    return Annotator(without_url(spec) or spec, "auto", spec)


def way_of(annotator: Annotator, taxonomy: Taxonomy) -> str:
    """`auto`: down the tree where a deep taxonomy does not fit one question, a shortlist where a flat one does not."""
    if annotator.way != "auto":
        return annotator.way
    if len(taxonomy.leaves) <= classify.MOST_LABELS:
        return "classify"
    return "descent" if len(taxonomy.roots) < len(taxonomy.leaves) else "shortlist"


def answers(asking: Asking, annotator: Annotator, number: int, examples: Sequence[Example], part: str = "") -> Column:
    """One annotator's settled answers on some rows, those of an earlier run where they still hold.

    Args:
        number: of the annotator; part: of the rows; both name the step files.
    """
    way = way_of(annotator, asking.taxonomy)
    if way == "nearest":
        count = counter(asking.progress, annotator.name, len(examples))
        how = replace(asking.how(examples, count), few_shot=0, shots={})
        raw = nearest.annotate([e for e in examples if e.text.strip()], asking.taxonomy, None, None, how)
        return _column(asking, annotator.name, way, raw)
    client = asking.models.client(annotator.spec or asking.config.llm.spec("label"))
    name = client.backend.model if annotator.name == "label" else annotator.name
    kept = _kept(asking, name, examples)
    rows = [e for e in examples if e.id not in kept]
    raw = ask_in_shards(
        asking.folder, f"annotate-{number}{part}", len(rows), asking.config.shard_size,
        lambda part, retry, count: [asdict(a) for a in _ask(asking, way, client, [rows[i] for i in part], number, count, retry)],
        lambda step, total: counter(asking.progress, name if step.startswith("annotate") else f"{name}, {step}", total),
    )  # fmt: skip
    found = [from_json(values) for values in raw]
    if part in ("", "-rest"):
        _order_bias(asking, way, client, name, rows, found, number)
    column = _column(asking, name, way, found, f"means-{number}")
    spec = asking.models.spec_of(annotator.spec or asking.config.llm.spec("label"))
    return replace(column, rows=kept | dict(column.rows), spec=spec, step=_step(number))


def _step(number: int) -> str:
    return f"label {number}"


def _ask(
    asking: Asking, way: str, client: Client, rows: Sequence[Example], number: int, count: Callable[[int], None] | None,
    retry: int = 0, sample: int = 0,
) -> list[Annotation]:  # fmt: skip
    """Raw answers; a way of asking that is not the plain question may ask it inside."""
    plain = way == "classify"
    draw = sample + (0 if plain or ways.annotator(way).PROMPTS is LABEL_PROMPTS else retry * MOST_SAMPLES)
    how = replace(asking.how(rows, count, retry, step=_step(number)), sample=draw)
    ask = annotation.ask if plain else ways.annotator(way).annotate
    full = [e for e in rows if e.text.strip()]
    by_id = {row.id: row for row in ask(full, asking.taxonomy, client, asking.prompts, how)}
    return [by_id.get(e.id) or annotation.label.no_text(e.id, client.backend.model) for e in rows]


def _column(asking: Asking, name: str, way: str, raw: Sequence[Annotation], means: str = "") -> Column:
    weak = any(row.probs_kind == WEAK_KIND for row in raw) and not asking.multi
    rows = _less_means(asking, raw, means) if weak and means else None
    settled = annotation.settle(rows or raw, asking.taxonomy, strength=float(weak and rows is None), multi=asking.multi)
    return Column(name, way, {row.id: row for row in settled})


def _less_means(asking: Asking, raw: Sequence[Annotation], step: str) -> list[Annotation] | None:
    """Raw answers less what the model thinks of each label whatever the text, as an earlier run with many more rows found it;
    None where there is none, and these rows are many enough to say it."""
    labels = [label.id for label in asking.taxonomy.leaves]
    told = [row for row in raw if row.probs and not row.status.failed]
    if asking.old and len(told) < FEWEST_ROWS:
        known = _step_of(asking.old, step)
        if known.keys() == set(labels):
            asking.folder.step(step, lambda: known)
            return [replace(row, probs={k: p - known.get(k, 0.0) for k, p in row.probs.items()}) for row in raw]
    if told:
        found = matrix([row.probs for row in told], labels).mean(axis=0).tolist()
        asking.folder.step(step, lambda: dict(zip(labels, found, strict=True)))
    return None


def _step_of(run: Run, name: str) -> dict[str, float]:
    try:
        return dict(read_json(run.path / "steps" / f"{name}.json"))
    except FileNotFoundError:
        return {}


def _kept(asking: Asking, name: str, examples: Sequence[Example]) -> dict[str, Annotation]:
    """What this annotator said in the earlier run, where text, labels and shown examples are what they were."""
    if asking.old is None or not (asking.old.path / "annotations.parquet").is_file():
        return {}
    told = table_of(asking.old, "annotations.parquet", filters=[("annotator", "=", name)])
    said = {row["id"]: row for row in told.to_pylist()}
    labels = {i: row["label"] or ("" if row["status"] == "none_fits" else None) for i, row in said.items()}
    why, stale = stale_rows(asking.old, examples, asking.taxonomy, labels, asking.encode)
    if asking.few_shot and asking.fresh:
        touched = {e.text for e in asking.gold if e.id in asking.fresh}
        held = [e for e in examples if e.id in said and e.id not in stale]
        shots = asking.how(held, None).shots
        moved = {e.id for e in held if any(shot.text in touched for shot in shots[e.id])}
        stale, why = stale | moved, why | ({"other examples to show": len(moved)} if moved else {})
    kept = {e.id: from_table(said[e.id]) for e in examples if e.id in said and e.id not in stale}
    emit("note", text=f"{name}: {len(kept)} answers taken over from {asking.old.path}; asked again: {why or 'none'}")
    return kept


def _order_bias(
    asking: Asking, way: str, client: Client, name: str, rows: Sequence[Example], raw: list[Annotation], number: int
) -> None:
    """Ask a sample, if there is to be one, again with the labels in another order; take what a code itself is worth out of the
    distributions."""
    coded = [i for i, row in enumerate(raw) if row.probs_kind == "code"]
    if not coded:
        return
    size = min(asking.order_sample, int(ORDER_SHARE * len(raw)), len(coded))
    flips = _flips(asking, way, client, rows, raw, number, coded, size) if size else {"rows": 0}
    prior: dict[str, float] = {}
    if way == "classify":
        how, leaves = asking.how([], None), asking.taxonomy.leaves
        codes = [{label.id: code for code, label in classify.in_order(e.id, leaves, how).items()} for e in rows]
        prior = code_prior(raw, codes) or _earlier_prior(asking.old, name)
        without_prior(raw, codes, prior)
    found: dict[str, Any] = {"name": name, **flips}
    asking.order_bias.append(found | {"codes": {code: round(p, 3) for code, p in prior.items()}})


def _earlier_prior(old: Run | None, name: str) -> dict[str, float]:
    """What an earlier run found a code to be worth to this annotator: a few new rows cannot tell."""
    try:
        told = old.metrics.get("order_bias") or [] if old else []
    except FileNotFoundError:
        return {}
    return next((dict(one.get("codes") or {}) for one in told if one.get("name") == name), {})


def _flips(
    asking: Asking, way: str, client: Client, rows: Sequence[Example], raw: Sequence[Annotation], number: int,
    coded: Sequence[int], size: int,
) -> dict[str, Any]:  # fmt: skip
    chosen = random.Random(f"{asking.config.seed}/order").sample(coded, size)
    again = [
        from_json(values)
        for values in asking.folder.step(
            f"order-{number}",
            lambda: [asdict(a) for a in _ask(asking, way, client, [rows[i] for i in chosen], number, None, sample=ANOTHER_ORDER)],
        )
    ]
    return flip_rate([raw[i] for i in chosen], again)
