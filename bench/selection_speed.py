"""Scoring answers of several strategies: a prompt computed once for all of them against every prompt and answer by itself.

    python bench/selection_speed.py --model DIR --data FILE [--questions 12 --strategies 2,4,6,8 --repeats 3 --scores sppl,ppl]

FILE: lists of answers. Those of the first `--questions` usable lists are scored; exemplars are answers to other questions of the
file, in groups as in a run. All variants go through the embedded backend with its own batches (equal bytes), interleaved, in one
process; `--threads` of PyTorch; medians of CPU seconds; seed 0.

naive     every prompt and answer a row of its own, nothing shared
once      a prompt is computed once for its answers
shared    as in a run: prompts that begin alike (exemplars) share that beginning too
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import torch

from llmlabel.lists import RankedList, read_lists
from llmlabel.llm import causal_lm, families
from llmlabel.llm.backends.embedded import EmbeddedBackend, connect
from llmlabel.llm.options import Options
from llmlabel.llm.requests import Completion, ScoreRequest
from llmlabel.selection.answers import OWN, Answer, Question
from llmlabel.selection.exemplars import Pool
from llmlabel.selection.scores import chat_turns

VARIANTS = ("naive", "once", "shared")


@contextmanager
def sharing(allowed: bool) -> Any:
    """Whether prompts of one batch may share what they begin with."""
    before = causal_lm.SHARED
    causal_lm.SHARED = families.SHARED = before if allowed else 1 << 30
    yield
    causal_lm.SHARED = families.SHARED = before


def requests_of(lists: Sequence[RankedList], pool: Pool | None, strategies: int) -> list[ScoreRequest]:
    questions = [Question(one.id, one.prompt) for one in lists]
    if pool:
        questions = sorted(questions, key=pool.group)
    by_id = {one.id: one for one in lists}
    return [
        ScoreRequest(chat_turns(q, pool.before(q) if pool else ()), different(by_id[q.id].completions, strategies))
        for q in questions
    ]


def different(completions: Sequence[str], number: int) -> list[str]:
    """As many different answers; where the file has too few, some are others cut in half and put together again."""
    found = list(dict.fromkeys(text.strip() for text in completions if text.strip()))
    for text in list(found):
        half = text.find(" ", len(text) // 2)
        found.append(f"{text[half:].strip()} {text[:half]}")
    return found[:number]


def answered(backend: EmbeddedBackend, requests: Sequence[ScoreRequest], variant: str) -> tuple[float, list[float]]:
    """Seconds and the scores of all answers."""
    if variant == "naive":
        requests = [ScoreRequest(r.prompt, [text]) for r in requests for text in r.completions]
    with sharing(variant == "shared"):
        start = time.process_time()
        answers = backend._work(requests)
        seconds = time.process_time() - start
    assert all(isinstance(a, Completion) for a in answers), [a for a in answers if not isinstance(a, Completion)][:1]
    return seconds, [score for a in answers for score in a.scores]  # type: ignore[union-attr]


def measure(backend: EmbeddedBackend, requests: Sequence[ScoreRequest], repeats: int) -> tuple[dict[str, list[float]], float]:
    """Seconds of each variant, and how far their scores are apart at most (nats per token)."""
    tokens = [n for r in requests for n in (len(backend._lm.text_tokens(t, special=False)) for t in r.completions)]
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    off, expected = 0.0, None
    for _ in range(repeats):
        for name in VARIANTS:
            seconds, scores = answered(backend, requests, name)
            times[name].append(seconds)
            expected = expected or scores
            off = max(off, *(abs(a - b) / n for a, b, n in zip(scores, expected, tokens, strict=True)))
    return times, off


def usable(backend: EmbeddedBackend, lists: Sequence[RankedList], longest: int) -> list[RankedList]:
    """Lists in a random order whose answers have at most `longest` tokens each, as their prompts."""
    order = random.Random(0).sample(list(lists), len(lists))

    def short(one: RankedList) -> bool:
        return all(0 < len(backend._lm.text_tokens(t, special=False)) <= longest for t in (one.text, *one.completions))

    return [one for one in order if short(one)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="", help="a folder with a model; default: the packaged one")
    parser.add_argument("--data", required=True)
    parser.add_argument("--questions", type=int, default=12)
    parser.add_argument("--pool", type=int, default=12, help="exemplars; three stand before a question")
    parser.add_argument("--strategies", default="2,4,6,8")
    parser.add_argument("--scores", default="sppl,ppl")
    parser.add_argument("--longest", type=int, default=400, help="tokens of an answer or a prompt")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    backend = connect(Options(args.model))
    lists = usable(backend, read_lists(args.data), args.longest)
    asked, others = lists[: args.questions], lists[args.questions : args.questions + args.pool]
    shown = [Question(one.id, one.prompt) for one in others]
    own = [[Answer(one.id, OWN, one.completions[0])] for one in others]
    pool = Pool.of([*(Question(one.id, one.prompt) for one in asked), *shown], [*([] for _ in asked), *own])
    backend._lm.score([causal_lm.Branches([1, 2], [[3]])])
    print(f"{len(asked)} questions, {len(pool.groups)} groups of exemplars, {args.threads} thread(s)")
    print("| score | strategies | prompt / answer tokens | naive s | once s | shared s | once | shared | off |")
    print("|---" * 9 + "|")
    for score in args.scores.split(","):
        for number in map(int, args.strategies.split(",")):
            requests = requests_of(asked, pool if score == "sppl" else None, number)
            rows = [row for r in requests for row in backend._branches(r)]
            prompt = statistics.mean(len(row.prompt) for row in rows)
            tail = statistics.mean(len(tail) for row in rows for tail in row.tails)
            times, off = measure(backend, requests, args.repeats)
            naive, once, shared = (statistics.median(times[name]) for name in VARIANTS)
            cells = [f"{prompt:.0f} / {tail:.0f}", *(f"{seconds:.2f}" for seconds in (naive, once, shared))]
            faster = [f"{naive / once:.2f} x", f"{naive / shared:.2f} x", f"{off:.1e}"]
            print(f"| {score} | {number} | {' | '.join([*cells, *faster])} |", flush=True)


if __name__ == "__main__":
    main()
