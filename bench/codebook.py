"""What a codebook brings: rules drafted from a third of the gold rows, tried on others, measured on the rest.

`--way vectors` needs no model: the reader takes the label whose name and description lie nearest; rules are examples only.
Names of labels are the labelled column's values; descriptions are empty, or those of --taxonomy. The last line is of rows that
chose nothing. Answers are kept in --cache, so the same command again asks nothing.

    python bench/codebook.py --data clinc150.parquet --label-column label_coarse --way vectors --gold 300
    python bench/codebook.py --data clinc150.parquet --label-column label_coarse --model qwen@http://127.0.0.1:8301/v1
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import gettempdir

import polars as pl

from llmlabel import annotation
from llmlabel.annotation.annotators import likelihood
from llmlabel.annotation.asking import How
from llmlabel.annotation.codebook.draft import cases, draft
from llmlabel.annotation.codebook.rules import Rule, build, deal
from llmlabel.annotation.codebook.text import summary, to_json
from llmlabel.config import CommonConfig
from llmlabel.embedding import VectorCache
from llmlabel.embedding import connect as embedder
from llmlabel.errors import LlmlabelError
from llmlabel.llm import Client, connect
from llmlabel.llm.requests import Request
from llmlabel.prompting import PromptLibrary, quote
from llmlabel.records import NONE_FITS, Annotation, Example, Label, Status, Taxonomy

DRAWN = 300  # rows, of which the first --gold are used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--leave-out", default="oos", help="label whose rows are left out")
    parser.add_argument("--taxonomy", type=Path, help="labels whose ids are the column's values")
    parser.add_argument("--model")
    parser.add_argument(
        "--way", choices=("codes", "names", "vectors"), default="codes", help="names: for a model too weak for letters"
    )
    parser.add_argument("--writer", help="model that drafts the rules [default: --model]")
    parser.add_argument("--use-case", default="what the user wants")
    parser.add_argument("--gold", type=int, default=200, help="rows with gold, for all three parts")
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--tries", type=int, default=60)
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path(gettempdir()) / "llmlabel-bench")
    args = parser.parse_args()
    column = pl.col(args.label_column)
    table = pl.read_parquet(args.data).filter(column.is_not_null() & (column != args.leave_out))
    part = table.sample(DRAWN, shuffle=True, seed=args.seed).head(args.gold)
    names = sorted(table[args.label_column].unique().to_list())
    plain = Taxonomy(use_case=args.use_case, labels=[Label(id=n, name=n.replace("_", " ").title()) for n in names])
    taxonomy = Taxonomy.load(args.taxonomy) if args.taxonomy else plain
    rows = [Example(f"r{i}", t, g) for i, (t, g) in enumerate(zip(part["text"], part[args.label_column], strict=True))]
    measure(rows, taxonomy, args)


def by_name(rows: Sequence[Example], tree: Taxonomy, client: Client, prompts: PromptLibrary) -> list[Annotation]:
    """The label whose name the model writes; no answer where it writes no name."""
    prompt, found = prompts.get(likelihood.PROMPTS["writes"]), []
    asked = [prompt.render(text=e.text, use_case=tree.use_case, labels=tree.leaves, shots=[]) for e in rows]
    requests = [Request(messages, max_tokens=12) for messages in asked]
    for example, answer in zip(rows, client.map(requests, "names"), strict=True):
        text = "" if isinstance(answer, LlmlabelError) else answer.text.strip().partition("\n")[0]
        label = tree.find(text.strip(' ".'))
        found.append(Annotation(example.id, label.id if label else None, Status.OK if label else Status.OFF_LIST))
    return found


def measure(rows: list[Example], taxonomy: Taxonomy, args: argparse.Namespace) -> None:
    prompts, by_id, gold = PromptLibrary(), {e.id: e for e in rows}, {e.id: str(e.gold) for e in rows}
    options = CommonConfig(data=args.data, out=args.cache, cache=args.cache, timeout=600)
    client, writer = (
        None if args.way == "vectors" else connect(spec, options=options) for spec in (args.model, args.writer or args.model)
    )
    store, space = VectorCache(args.cache), embedder("auto", fit_on=[e.text for e in rows])
    how = How(use_case=taxonomy.use_case or args.use_case)

    def annotations(tree: Taxonomy, ids: Sequence[str]) -> list[Annotation]:
        if args.way == "vectors":
            meanings = store.encode(space, [label.meaning for label in tree.leaves])
            best = (store.encode(space, [by_id[i].text for i in ids]) @ meanings.T).argmax(axis=1).tolist()
            return [Annotation(i, tree.leaves[k].id, Status.OK) for i, k in zip(ids, best, strict=True)]
        if args.way == "names":
            return by_name([by_id[i] for i in ids], tree, client, prompts)
        return annotation.settle(annotation.ask([by_id[i] for i in ids], tree, client, prompts, how), tree, strength=0.0)

    def ask(tree: Taxonomy, ids: Sequence[str], step: str) -> dict[str, str | None]:
        print(f"  {step}: {len(ids)} rows", flush=True)
        return {r.id: NONE_FITS if r.status is Status.NONE_FITS else r.label for r in annotations(tree, ids)}

    parts = deal(gold, args.seed)
    learn = parts["learn"]
    first = annotations(taxonomy, learn)
    said = {r.id: NONE_FITS if r.status is Status.NONE_FITS else r.label for r in first}
    sure = {r.id: r.confidence for r in first if r.confidence is not None}
    vectors = store.encode(space, [by_id[i].text for i in learn])
    found = cases(learn, gold, said, sure, vectors, [label.id for label in taxonomy.leaves], args.cases)
    shown = {c.label: dict.fromkeys((*c.missed, *c.typical)) for c in found if c.wrong}
    rules, failed = [Rule(label, "example", quote(by_id[i].text)) for label, ids in shown.items() for i in ids], list[str]()
    if writer is not None:
        rules, failed = draft(found, by_id, gold, taxonomy, writer, prompts, how)
    sizes = ", ".join(f"{name} {len(ids)}" for name, ids in parts.items())
    print(f"{args.data}, {len(taxonomy.leaves)} labels, seed {args.seed}; rows: {sizes}; {len(rules)} rules; failed: {failed}")
    book = build(taxonomy, rules[: args.tries], gold, parts, ask, alpha=args.alpha, seed=args.seed)
    for t in book.trials:
        gain = f"{t.gain.gain:+.3f} [{t.gain.low:+.3f}, {t.gain.high:+.3f}]" if t.gain else t.why[:24]
        kept = "kept" if t.kept else ""
        print(f"{kept:5}{t.mended:3} mended {t.broken:3} broken {gain:25} {t.rule.label}, {t.rule.kind}: {t.rule.text}")
    print(json.dumps({k: v for k, v in to_json(book, {}).items() if k in ("f1_before", "chosen", "tested")}))
    print(summary(book))


if __name__ == "__main__":
    main()
