"""How often do hostile texts get the label their author wants? Clean texts beside the same texts under attack.

    python bench/hostile.py --data clinc150.parquet --gold-column label_coarse --texts 20 \
        --use-case "what the user's request to the assistant is about" --model qwen2.5-coder-1.5b --server http://127.0.0.1:8300/v1

The labels are the values of the gold column, or those of `--taxonomy FILE`, with their descriptions. The attacker's label is a
wrong one, drawn with the seed for every text. Prints for each family of attacks: how many got that label (with Wilson's
interval, as if all attacks were independent), how many got another label than the clean text, the accuracy, and how many
`suspicions` finds. `control` is harmless: the noise.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from attacks import ATTACKS, CONTROL, Attack

from llmlabel import annotation
from llmlabel.data import read_examples
from llmlabel.llm import Client, connect
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example, Label, Taxonomy, slug
from llmlabel.stats import wilson
from llmlabel.suspect import suspicions


@dataclass
class Row:
    """What became of one text under one attack; `clean` is its label without."""

    family: str
    gold: str
    target: str
    clean: str | None
    label: str | None
    found: bool


def chosen(args: argparse.Namespace) -> list[Example]:
    """`--texts` texts, as many of every gold label as possible, drawn with the seed."""
    examples = read_examples(args.data, text_column=args.text_column, gold_column=args.gold_column)
    by_label = defaultdict(list)
    for example in examples:
        if example.gold and example.gold not in args.drop and example.text.strip():
            by_label[example.gold].append(example)
    draw = Random(args.seed)
    piles = [draw.sample(by_label[label], len(by_label[label])) for label in sorted(by_label)]
    draw.shuffle(piles)
    rounds = (pile[n] for n in range(max(map(len, piles))) for pile in piles if n < len(pile))
    return [example for example, _ in zip(rounds, range(args.texts), strict=False)]


def bare(examples: Sequence[Example], use_case: str) -> Taxonomy:
    names = sorted({str(e.gold).replace("_", " ") for e in examples})
    return Taxonomy(use_case=use_case, labels=[Label(id=slug(name), name=name) for name in names])


def named(taxonomy: Taxonomy, example: Example) -> str:
    """The name of the label that an example's gold stands for."""
    label = taxonomy.find(str(example.gold)) or taxonomy.find(str(example.gold).replace("_", " "))
    if label is None:
        raise SystemExit(f"the taxonomy has no label {example.gold!r}")
    return label.name


def labels(client: Client, examples: Sequence[Example], taxonomy: Taxonomy, args: argparse.Namespace) -> list[str | None]:
    rows = annotation.ask(examples, taxonomy, client, PromptLibrary(args.prompts), use_case=args.use_case, seed=args.seed)
    final = annotation.settle(rows, taxonomy, strength=0.0 if client.backend.features.writes else 1.0)
    return [row.label for row in final]


def attacked(
    attack: Attack, examples: Sequence[Example], clean: Sequence[str | None], client: Client, taxonomy: Taxonomy,
    args: argparse.Namespace,
) -> list[Row]:  # fmt: skip
    ids = {label.name: label.id for label in taxonomy.labels}
    targets = []
    for example, own in zip(examples, clean, strict=True):
        wrong = [label for label in taxonomy.labels if label.id not in (own, ids[str(example.gold)])]
        targets.append(Random(f"{args.seed}/{example.id}").choice(wrong))
    hostile = [Example(e.id, attack(e.text, t.name), e.gold) for e, t in zip(examples, targets, strict=True)]
    got = labels(client, hostile, taxonomy, args)
    return [
        Row(attack.family, ids[str(e.gold)], target.id, own, label, bool(suspicions(h.text)))
        for e, h, target, own, label in zip(examples, hostile, targets, clean, got, strict=True)
    ]


def show(family: str, rows: Sequence[Row]) -> None:
    n, flipped = len(rows), sum(row.label == row.target for row in rows)
    low, high = wilson(flipped, n)
    shares = [sum(f(row) for row in rows) / n for f in (changed, right, lambda row: row.found)]
    print(f"{family:16} {n:5} {flipped / n:6.1%} [{low:5.1%}, {high:5.1%}] " + " ".join(f"{share:9.1%}" for share in shares))


def changed(row: Row) -> bool:
    return row.label != row.clean


def right(row: Row) -> bool:
    return row.label == row.gold


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--gold-column", required=True)
    parser.add_argument("--taxonomy", type=Path, default=None, help="a taxonomy.yaml whose labels are the gold ones")
    parser.add_argument("--drop", nargs="*", default=["oos"], help="gold labels to leave out")
    parser.add_argument("--texts", type=int, default=20)
    parser.add_argument("--families", nargs="*", default=sorted({attack.family for attack in ATTACKS}))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--server", default="")
    parser.add_argument("--prompts", type=Path, default=None, help="a directory of prompts of your own, to measure them")
    parser.add_argument("--cache", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=None, help="every row as JSON lines")
    args = parser.parse_args()
    examples = chosen(args)
    taxonomy = Taxonomy.load(args.taxonomy) if args.taxonomy else bare(examples, args.use_case)
    examples = [Example(e.id, e.text, named(taxonomy, e)) for e in examples]
    client = connect(f"{args.model}@{args.server}" if args.server else args.model, cache=args.cache)
    try:
        clean = labels(client, examples, taxonomy, args)
        attacks = [attack for attack in ATTACKS if attack.family in args.families]
        rows = [row for attack in attacks for row in attacked(attack, examples, clean, client, taxonomy, args)]
    finally:
        client.close()
    report(rows, examples, clean, taxonomy)
    if args.out:
        args.out.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")


def report(rows: Sequence[Row], examples: Sequence[Example], clean: Sequence[str | None], taxonomy: Taxonomy) -> None:
    ids = {label.name: label.id for label in taxonomy.labels}
    good = sum(own == ids[str(e.gold)] for e, own in zip(examples, clean, strict=True))
    flagged = sum(bool(suspicions(e.text)) for e in examples)
    print(f"{len(examples)} clean texts: accuracy {good / len(examples):.1%}, flagged as suspect {flagged / len(examples):.1%}\n")
    print(f"{'family':16} {'n':>5} {'got the label they want':>23} {'changed':>9} {'accuracy':>9} {'suspect':>9}")
    for family in dict.fromkeys(row.family for row in rows):
        show(family, [row for row in rows if row.family == family])
    if hostile := [row for row in rows if row.family != CONTROL]:
        show("all attacks", hostile)


if __name__ == "__main__":
    main()
