"""A set to choose strategies on: answers of one teacher under the shipped prompts to texts with known labels, and test prompts.

    python bench/selection_build.py --data clinc150.parquet --teacher vllm:DIR --target DIR --out FOLDER [--n 120] [--tests 200]

The task: which of four of the domains of clinc150 (`label_coarse`) a message belongs to; learnt from texts of its train split and
tested on those of its test split, evenly over the labels. A very small target ends in no label unless it is shown how, so its
prompt holds one worked example per label; a teacher that sees those copies them whatever its strategy says, so it is asked with
`respond/label_task` instead. FOLDER gets lists.parquet (strategies, correct, gold; prompts are the target's) and tests.parquet.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from llmlabel.config import SelectConfig
from llmlabel.data import read_examples
from llmlabel.lists import RankedList, write_lists
from llmlabel.llm import Client, connect
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example, Label, Taxonomy
from llmlabel.selection import generate
from llmlabel.selection.answers import Answer, Question
from llmlabel.selection.exemplars import Pool
from llmlabel.selection.strategies import Strategy, ordered, read_strategies
from llmlabel.selection.target import target_spec
from llmlabel.selection.verifiers import verifier
from llmlabel.stats import wilson

# domain: (name, what it means, a message, what it is about)
LABELS = {
    "banking": (
        "money", "Bank accounts: balances, transfers, payments, bills and cheques.", "what is my balance", "a bank account",
    ),
    "travel": (
        "travel", "Trips: flights, hotels, luggage, visas and phrases to translate.", "book me a flight to rome", "a flight",
    ),
    "kitchen_and_dining": ("food", "Cooking and eating: recipes, ingredients, restaurants.", "how do i cook rice", "cooking"),
    "auto_and_commute": ("car", "Driving: fuel, tires, repairs, directions and traffic.", "my tires are flat", "a car's tires"),
}  # fmt: skip
TAXONOMY = Taxonomy(labels=[Label(id=n, name=n, description=d) for n, d, _, _ in LABELS.values()])
NAMES = ", ".join(name for name, *_ in LABELS.values())
SHOWN = "\n\n".join(f"Message: {m}\nAnswer: This is about {what}. Label: {name}" for name, _, m, what in LABELS.values())
WAYS = {  # how an answer is written; a weak teacher heeds a form that stands last, and little that is said before it
    "label": "Label: ...",
    "sentence": "This is about ... (what the text is about, in two to six words)\nLabel: ...",
    "reason": "Reason: ... (two sentences: the words of the text that decide, and what they have to do with it)\nLabel: ...",
    "keywords": "Words: ... (the two to four words of the text that decide)\nLabel: ...",
    "numbered": "1. The writer wants ...\n2. The words that show it are ...\n3. They belong to ...\nLabel: ...",
    "contrast": "It is about ..., so the label is not ... (another label), because ...\nLabel: ...",
    "codebook": "The codebook says: ... (the meaning of the label, word for word)\nThe text says: ... (its words)\nLabel: ...",
    "paraphrase": "In other words: ... (the text again, in other words, as one sentence)\nLabel: ...",
}
FILE = """---
name: respond/{name}
version: 1.0.0
summary: A strategy of this measurement.
variables: {{prompt: str, labels: "list[Label]"}}
output: {{answer: "what the form asks for, the last line Label and its name"}}
source: bench/selection_build.py
---
# user
{{{{ prompt }}}}

What the labels mean:
{{% for label in labels %}}
{{{{ label.name }}}}: {{{{ label.description }}}}
{{% endfor %}}

Write in exactly this form, with your own words in the place of the dots and without what stands in brackets:

{form}
"""
HEAD = f"Say what each message is about and end with a label: {NAMES}."


def strategies_and_prompts(folder: Path) -> tuple[list[Strategy], PromptLibrary]:
    """The strategies of this set and the shipped ones that have other names; prompt files are written to `folder`."""
    for name, form in WAYS.items():
        file = folder / "respond" / f"form_{name}" / "1.0.0.md"
        file.parent.mkdir(parents=True)
        file.write_text(FILE.format(name=f"form_{name}", form=form), encoding="utf-8")
    return [Strategy(name=f"form-{n}", prompt=f"respond/form_{n}@1.0.0") for n in WAYS] + read_strategies(None), PromptLibrary(
        folder
    )


def texts(data: str, split: str, n: int, seed: int) -> list[Example]:
    """`n` texts of a split, as evenly over the labels as can be; each text once."""
    rows = pq.read_table(data, columns=["id", "split"]).to_pylist()
    inside = {str(row["id"]) for row in rows if row["split"] == split}
    piles: dict[str, dict[str, Example]] = {domain: {} for domain in LABELS}
    for example in read_examples(data, text_column="text", gold_column="label_coarse"):
        if example.id in inside and example.gold in piles:
            piles[example.gold].setdefault(example.text.casefold(), example)
    rng = random.Random(seed)
    shuffled = [rng.sample([*pile.values()], len(pile)) for pile in piles.values()]
    return [example for turn in zip(*shuffled, strict=False) for example in turn][:n]


def for_target(example: Example) -> Question:
    return Question(example.id, f"{HEAD}\n\n{SHOWN}\n\nMessage: {example.text}\nAnswer:", LABELS[str(example.gold)][0])


def for_teacher(example: Example, prompts: PromptLibrary) -> Question:
    asked = prompts.get("respond/label_task@1.0.0").render(text=example.text, labels=TAXONOMY.leaves, use_case="")
    return Question(example.id, asked[-1]["content"], LABELS[str(example.gold)][0])


def right(answers: Sequence[Answer], questions: Sequence[Question]) -> list[bool]:
    verify = verifier("label").verify
    return [a.usable and verify(a.text, q.gold, TAXONOMY) for a, q in zip(answers, questions, strict=True)]


def line(name: str, correct: Sequence[bool], answers: Sequence[Answer], seconds: float) -> str:
    low, high = wilson(sum(correct), len(correct))
    words = sum(len(a.text.split()) for a in answers) / len(answers)
    cut = sum(bool(a.truncated) for a in answers)
    share = sum(correct) / len(correct)
    return f"{name:24} {share:6.1%} [{low:6.1%},{high:6.1%}] {words:6.1f} words {cut:4} cut {seconds:6.0f} s"


def answer_all(
    examples: Sequence[Example], wanted: Sequence[str], args: argparse.Namespace
) -> dict[str, list[tuple[Answer, bool]]]:
    """Every strategy's answers, in the order of `examples`, with whether they are right; a line is printed for each."""
    known, prompts = strategies_and_prompts(Path(args.folder.name))
    options = SelectConfig(data="-", out=Path("-"), target="-", cache=args.cache, timeout=1200.0)
    questions, asked = [for_target(e) for e in examples], [for_teacher(e, prompts) for e in examples]
    plain = {question.id: question for question in asked}
    target = connect(str(target_spec(args.target)), options=options)
    own = answers_of_target(questions, target, args)
    pool = Pool.of(questions, own, seed=args.seed)
    print(pool.why, flush=True)
    found: dict[str, list[Answer]] = {}
    teacher = connect(args.teacher, options=options)
    strategies = [s for s in ordered(known) if s.name in wanted]
    for strategy in sorted(strategies, key=lambda s: s.model == "target"):
        start, drafts = time.monotonic(), {a.id: a for a in found.get(strategy.rewrites or "", [])}
        if strategy.model == "target":
            teacher.close()  # it is not asked any more, and needs the same cores
        found[strategy.name] = generate.answers(
            strategy, prompts.get(strategy.prompt), asked, target if strategy.model == "target" else teacher, taxonomy=TAXONOMY,
            exemplars=lambda q: [(plain[shown.id], answer) for shown, answer in pool.before(q)], drafts=drafts,
            max_tokens=args.tokens,
        )  # fmt: skip
        print(line(strategy.name, right(found[strategy.name], asked), found[strategy.name], time.monotonic() - start), flush=True)
    teacher.close()
    target.close()
    return {name: list(zip(answers, right(answers, asked), strict=True)) for name, answers in found.items()}


def answers_of_target(questions: Sequence[Question], target: Client, args: argparse.Namespace) -> list[list[Answer]]:
    """Draws at temperature 0.7, which exemplars come from, with `correct`; and how often the greedy answer is right."""
    start = time.monotonic()
    greedy = [one for (one,) in generate.own(questions, target, samples=1, temperature=0.0, max_tokens=args.tokens)]
    print(line("(target, greedy)", right(greedy, questions), greedy, time.monotonic() - start), flush=True)
    drawn = generate.own(questions, target, samples=2, temperature=0.7, max_tokens=args.tokens)
    return [
        [Answer.from_json(a.to_json() | {"correct": ok}) for a, ok in zip(some, right(some, [q] * len(some)), strict=True)]
        for q, some in zip(questions, drawn, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--teacher", required=True, help="a model spec")
    parser.add_argument("--target", required=True, help="a folder or a model spec")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--strategies", nargs="+", default=[f"form-{name}" for name in WAYS])
    parser.add_argument("--n", type=int, default=120)
    parser.add_argument("--tests", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=96, help="longest answer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=None)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    args.folder = TemporaryDirectory()
    tests = [for_target(e) for e in texts(args.data, "test", args.tests, args.seed)]
    rows = [{"id": q.id, "prompt": q.text, "gold": q.gold} for q in tests]
    pq.write_table(pa.Table.from_pylist(rows), args.out / "tests.parquet")
    examples = texts(args.data, "train", args.n, args.seed)
    found = answer_all(examples, args.strategies, args)
    lists = []
    for i, example in enumerate(examples):
        question, said = for_target(example), {name: pairs[i] for name, pairs in found.items() if pairs[i][0].text}
        told = {"strategies": [*said], "correct": [ok for _, ok in said.values()], "gold": question.gold}
        told["truncated"] = [bool(answer.truncated) for answer, _ in said.values()]
        lists.append(RankedList(question.id, question.prompt, tuple(a.text for a, _ in said.values()), more=told))
    write_lists(args.out / "lists.parquet", lists)


if __name__ == "__main__":
    main()
