"""What `llmlabel run annotate` will ask and cost, before it asks anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from llmlabel.flows.estimates.common import Step, filled, label_table, total
from llmlabel.flows.steps.annotation.annotators import ORDER_SHARE, Annotator, read_annotators, way_of

from llmlabel.annotation.annotators import rank
from llmlabel.annotation.annotators.classify import PROMPTS
from llmlabel.annotation.explain import EXPLAIN, TOKENS
from llmlabel.config import AnnotateConfig, GraphConfig
from llmlabel.data import read_examples
from llmlabel.llm.specs import parse_spec
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example, Taxonomy
from llmlabel.runs import load_run

ONE, MANY = 1, 3  # tokens of an answer with one code, and with several


def estimate_annotate(config: AnnotateConfig) -> dict[str, Any]:
    """Calls, tokens and US dollars by annotator, at the most: in a cascade all rows, of an earlier run nothing is spared.

    Money is None where no table knows the model's price.
    """
    examples = read_examples(config.data, text_column=config.text_column, id_column=config.id_column)
    full = [e for e in examples if e.text.strip()]
    return {"rows": len(examples), **total(_steps(config, full[: config.label_with_llm]), config)}


def _steps(config: AnnotateConfig, examples: Sequence[Example]) -> Iterator[Step]:
    taxonomy = Taxonomy.load(config.taxonomy) if config.taxonomy else load_run(str(config.from_run)).taxonomy
    for annotator in read_annotators(config, default=config.annotations is None):
        way = way_of(annotator, taxonomy)
        if way != "nearest":
            yield from asked(config, annotator, way, taxonomy, examples)
    if config.explain:
        label = taxonomy.leaves[0]
        values = [{"text": e.text[: config.max_text_chars], "use_case": config.use_case, "label": label} for e in examples]
        yield filled(
            "explain", parse_spec(config.llm.spec("label")), PromptLibrary(config.prompts).get(EXPLAIN), values, TOKENS // 2
        )


def asked(
    config: AnnotateConfig | GraphConfig, annotator: Annotator, way: str, taxonomy: Taxonomy, examples: Sequence[Example]
) -> Iterator[Step]:
    """The requests of one annotator about some rows."""
    spec, library = parse_spec(annotator.spec or config.llm.spec("label")), PromptLibrary(config.prompts)
    if spec.kind == "openai":
        yield Step("probe", spec, 2, 40, 10)
    levels = max(len(taxonomy.path(leaf.id)) for leaf in taxonomy.leaves) if way == "descent" else 1
    shown = taxonomy.roots if way == "descent" else taxonomy.leaves
    times = levels * (max(config.samples, 2) if way in ("vote", "rank") or config.label_probs == "vote" else 1)
    if way == "rank":
        table = [SimpleNamespace(code=row.code, text=row.name) for row in label_table(shown)]
        values = [{"text": e.text[: config.max_text_chars], "task": rank.TASK, "candidates": table} for e in examples]
        yield filled(annotator.name, spec, library.get(rank.PROMPTS["rank"]), values, 2 * len(table), times)
        return
    shots = [SimpleNamespace(text=e.text[: config.max_text_chars], codes="A") for e in examples[: config.few_shot]]
    common = {"use_case": config.use_case or taxonomy.use_case, "labels": label_table(shown), "shots": shots}
    values = [{"text": e.text[: config.max_text_chars], **common} for e in examples]
    many, order = (getattr(config, "multi_label", False), getattr(config, "order_sample", 0))
    prompt, answer = library.get(PROMPTS["many" if many else "one"]), MANY if many else ONE
    yield filled(annotator.name, spec, prompt, values, answer, times)
    again = values[: min(order, int(ORDER_SHARE * len(values)))]
    yield filled(f"{annotator.name}, order of labels", spec, prompt, again, answer)
