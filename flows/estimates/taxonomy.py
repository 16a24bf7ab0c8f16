"""What `llmlabel run taxonomy` will ask and cost, before it asks anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmlabel.flows.estimates.common import LOOKED_AT, Step, filled, label_table, total

from llmlabel.annotation.annotators.classify import PROMPTS as LABELLING
from llmlabel.config import TaxonomyConfig
from llmlabel.data import read_examples
from llmlabel.llm.specs import Spec, parse_spec
from llmlabel.llm.tokens import count_tokens
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example, Label, Taxonomy
from llmlabel.runs import load_run
from llmlabel.taxonomy import ability, keywords, naming, scores
from llmlabel.taxonomy.chain import VALIDATION_MOST, VALIDATION_SHARE, VOTES
from llmlabel.taxonomy.induce import SPLIT_FROM, sample
from llmlabel.taxonomy.names import words
from llmlabel.taxonomy.settings import PROMPTS
from llmlabel.taxonomy.summarise import SHORT

EDIT, SCRIPT = 75, 20  # tokens of one edit, and of a script without edits
FIRST_SHARE, LATER_EDITS = 0.8, 1  # of all labels that the first minibatch finds; edits of each later step
ANSWER = {"summarise": 30, "choose": 60, "keywords": 12, "name": 30, "describe": 30, "label": 1, "judge": 8, "probe": 5}
NAME = "delivery and returns"
DESCRIPTION = "Customers who ask where their parcel is, or how to send something back and get their money."


def estimate_taxonomy(config: TaxonomyConfig) -> dict[str, Any]:
    """Calls, tokens and US dollars by step; with method `auto`, of the chain, for models that write.

    Money is None where no table knows the model's price.
    """
    examples = read_examples(config.data, text_column=config.text_column, id_column=config.id_column)
    chosen = sample(examples, config.induce_on, config.seed)
    found = total(_Plan(config, examples, chosen).steps(), config)
    return {"rows": len(examples), "induced_on": len(chosen), **found}


def _spec(config: TaxonomyConfig, role: str) -> Spec:
    return parse_spec(config.embedder if role == "embedder" else config.llm.spec(role))


class _Plan:
    """The steps a run will take, with their prompts filled as the run fills them."""

    def __init__(self, config: TaxonomyConfig, examples: Sequence[Example], chosen: Sequence[Example]) -> None:
        self.config, self.examples = config, examples
        self.library = PromptLibrary(config.prompts)
        self.texts = [e.text[: config.max_text_chars] for e in chosen]
        self.limits = {name: getattr(config, name) for name in ("max_labels", "name_words", "description_words")}
        self.known = _known(config)
        said = " ".join(DESCRIPTION.split()[: config.description_words])
        self.labels = self.known or [Label(id=f"label-{n}", name=NAME, description=said) for n in range(config.max_labels)]
        packaged = parse_spec(config.llm.spec("label"))
        self.writes = packaged.kind != "embedded" or bool(packaged.model)

    def steps(self) -> Iterator[Step]:
        yield from self._probes()
        if not self.known:
            yield from self._induction()
        yield from self._labelling()
        yield from self._embedding()

    def _induction(self) -> Iterator[Step]:
        if not self.writes:
            yield self._filled("name", "name", [{"texts": self.texts[: naming.SCORED]}] * self.config.max_labels, 0, "name_score")
        elif self.config.method == "cluster":
            yield from self._clusters(self.texts)
        else:
            yield from self._chains()

    def _probes(self) -> Iterator[Step]:
        if _spec(self.config, "label").kind == "openai":
            yield Step("probe", _spec(self.config, "label"), 2, 40, 2 * ANSWER["probe"])
        if self.writes:
            texts = [{"id": f"t{i}", "text": text} for i, text in enumerate(ability.TEXTS, 1)]
            values = {"use_case": "why passengers write to the railway", "labels": ability.LABELS, "texts": texts, **self.limits}
            yield self._filled("exercise", "update", [values], SCRIPT + EDIT, "update")

    def _chains(self) -> Iterator[Step]:
        config, long = self.config, [t for t in self.texts if len(words(t)) > SHORT * self.config.summary_words]
        values = [{"text": t, "use_case": config.use_case, "words": config.summary_words} for t in long]
        yield self._filled("summarise", "summarise", values, ANSWER["summarise"])
        summary = " ".join(DESCRIPTION.split() * 9)
        short = [" ".join(summary.split()[: config.summary_words]) if t in set(long) else t for t in self.texts]
        yield from self._one_level("", short, config.chains)
        inside = [short[k :: config.max_labels] for k in range(config.max_labels)] if config.levels == 2 else []
        for part in (p for p in inside if len(p) >= SPLIT_FROM):
            yield from self._one_level(" inside", part, config.chains)

    def _one_level(self, where: str, short: Sequence[str], chains: int) -> Iterator[Step]:
        held = min(VALIDATION_MOST, int(len(short) * VALIDATION_SHARE)) if chains > 1 else 0
        learn, size = short[held:], self.config.batch_size
        common = {"use_case": self.config.use_case, **self.limits}
        batches = [
            {**common, "texts": [{"id": f"t{n}", "text": t} for n, t in enumerate(learn[i : i + size], 1)]}
            for i in range(0, len(learn), size)
        ]
        later = [{**values, "labels": self.labels} for values in batches[1:]]
        first = SCRIPT + int(EDIT * FIRST_SHARE * len(self.labels))
        for name, values, answer in (
            ("generate", batches[:1], first), ("update", later, SCRIPT + LATER_EDITS * EDIT),
            ("review", [{**common, "labels": self.labels}], SCRIPT + LATER_EDITS * EDIT),
        ):  # fmt: skip
            one = self._filled(name, name, values, answer)
            yield Step(f"{name}{where}", one.spec, chains * one.calls, chains * one.read, chains * one.wrote)
        if held:
            vote = {"use_case": self.config.use_case, "candidates": [self.labels] * chains, "texts": short[:held]}
            yield self._filled("choose", "choose", [vote] * VOTES, ANSWER["choose"])

    def _clusters(self, texts: Sequence[str]) -> Iterator[Step]:
        config, use_case = self.config, self.config.use_case
        asked = [{"text": t[: keywords.CHARS], "use_case": use_case, "words": keywords.ASKED} for t in texts]
        yield self._filled("keywords", "summarise", asked, ANSWER["keywords"])
        shown = [t[: naming.SHOWN_CHARS] for t in texts[: naming.SHOWN]]
        contrast = [t[: naming.CONTRASTED_CHARS] for t in texts[: naming.CONTRASTED]]
        name = {"use_case": use_case, "texts": shown, "keywords": NAME.split(), "contrast": contrast, "name_words": 4}
        yield self._filled("name", "name", [name] * config.max_labels, ANSWER["name"])
        describe = {"use_case": use_case, "name": NAME, "texts": shown, "description_words": 15}
        yield self._filled("describe", "name", [describe] * config.max_labels, ANSWER["describe"])

    def _labelling(self) -> Iterator[Step]:
        if not self.writes:
            return  # labels by vectors, and no judge
        config = self.config
        full = [e.text[: config.max_text_chars] for e in self.examples if e.text.strip()]
        asked = min(config.label_with_llm, len(full)) * (config.label_by != "vectors")
        leaves = Taxonomy(labels=self.labels).leaves
        table = label_table(leaves)
        texts = (self.texts + full)[:asked]
        values = [{"text": t, "use_case": config.use_case, "labels": table, "shots": []} for t in texts]
        draws = config.samples if config.label_probs == "vote" else 1
        one = self._filled("label", "label", values, ANSWER["label"], LABELLING["one"])
        yield Step("label", one.spec, draws * one.calls, draws * one.read, draws * one.wrote)
        judged = (self.texts + full)[: min(scores.JUDGED, config.label_with_llm, len(full))]
        pairs = [{"use_case": config.use_case, "text": t, "a": leaves[0], "b": leaves[-1]} for t in judged] * 2
        pairs = pairs[: round(len(judged) * (2 - 1 / max(len(leaves) - 1, 1)))]  # the random label may be the nearest one
        yield self._filled("judge", "judge", pairs, ANSWER["judge"], scores.PROMPTS["forced_choice"])
        one_each = [{"use_case": config.use_case, "label": label} for label in self.labels]
        yield self._filled("relevance", "judge", one_each, ANSWER["judge"], scores.PROMPTS["relevance"])

    def _embedding(self) -> Iterator[Step]:
        if self.config.embedder.startswith("openai:") or "@http" in self.config.embedder:
            texts = list(dict.fromkeys(e.text for e in self.examples))
            read = _scaled(texts, _spec(self.config, "embedder"))
            yield Step("embed", _spec(self.config, "embedder"), -(-len(texts) // 64), read, 0)

    def _filled(self, step: str, role: str, values: Sequence[Mapping[str, Any]], answer: int, prompt: str = "") -> Step:
        return filled(step, _spec(self.config, role), self.library.get(PROMPTS.get(prompt or step, prompt)), values, answer)


def _known(config: TaxonomyConfig) -> list[Label]:
    """The labels of a run that induces none."""
    if config.taxonomy:
        return Taxonomy.load(config.taxonomy).labels
    return load_run(config.from_run).taxonomy.labels if config.from_run else []


def _scaled(texts: Sequence[str], spec: Spec) -> int:
    """Tokens of many texts, from an even sample of them."""
    looked = texts[:: -(-len(texts) // (10 * LOOKED_AT))] if texts else []
    return round(count_tokens(looked, spec) * len(texts) / max(len(looked), 1))
