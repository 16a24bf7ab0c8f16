"""What `llmlabel run graph` will ask and cost, before it asks anything."""

from __future__ import annotations

from typing import Any

from llmlabel.flows.estimates.annotate import asked
from llmlabel.flows.estimates.common import total
from llmlabel.flows.graph import PER_LABEL
from llmlabel.flows.steps.annotation.annotators import read_annotators, way_of

from llmlabel.config import GraphConfig
from llmlabel.graph.read import read_graph
from llmlabel.records import Taxonomy
from llmlabel.runs import load_run


def estimate_graph(config: GraphConfig) -> dict[str, Any]:
    """Calls, tokens and US dollars by annotator, counted on the first nodes with a text; nothing where labels are looked up."""
    examples, edges, _ = read_graph(
        config.data, config.edges, text_column=config.text_column, id_column=config.id_column, gold_column=None,
        edges_column=config.edges_column,
    )  # fmt: skip
    found = {"nodes": len(examples), "edges": len(edges.source)}
    if config.annotations is not None:
        return {**found, "annotated": 0, **total([], config)}
    taxonomy = Taxonomy.load(config.taxonomy) if config.taxonomy else load_run(str(config.from_run)).taxonomy
    full = [e for e in examples if e.text.strip()]
    some = full[: config.budget_nodes or PER_LABEL * len(taxonomy.leaves)]
    who = [(one, way_of(one, taxonomy)) for one in read_annotators(config)]
    steps = [step for one, way in who if way != "nearest" for step in asked(config, one, way, taxonomy, some)]
    return {**found, "annotated": len(some), **total(steps, config)}
