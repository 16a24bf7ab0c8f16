"""Models with stated rules for selections: a teacher that adds up as it is told, and a target that finds steps likeliest."""

from __future__ import annotations

import hashlib
import re

from llmlabel.llm.requests import AnyRequest, Completion, Features, Request, ScoreRequest

SUM = re.compile(r"What is (\d+) \+ (\d+)\?")
NATS = {"step": 0.8, "short": 1.5, "hint": 1.2}  # per token, before noise


def question(number: int) -> str:
    return f"What is {number} + {number % 7 + 1}?"


def gold(number: int) -> str:
    return str(number + number % 7 + 1)


def teacher(request: AnyRequest) -> str | Completion:
    """Answers in few words where it is told to, else in steps. Of 13 it will not tell in few words; of 17 it is cut off."""
    assert isinstance(request, Request)
    told = "\n".join(m["content"] for m in request.messages)
    a, b = map(int, SUM.findall(told)[-1])
    if "few words" in told:
        if a == 13:
            return Completion("", refusal="I would rather not.", prompt_tokens=9, completion_tokens=1)
        text = f"Adding {a} and {b} in short gives the sum.\nAnswer: {a + b}"
    else:
        text = f"Step one takes {a}. Step two adds {b} to it, which makes {a + b}.\nAnswer: {a + b}"
    finish = "length" if a == 17 and "few words" in told else "stop"
    return Completion(text, finish=finish, prompt_tokens=20, completion_tokens=len(text.split()))


def target(request: AnyRequest) -> Completion:
    """Adds up, but for every fifth number; finds answers in steps likelier than short ones, with a noise of its own."""
    if isinstance(request, ScoreRequest):
        counts = [len(text.split()) for text in request.completions]
        return Completion(
            scores=[-n * _nats(t, str(request.prompt)) for t, n in zip(request.completions, counts, strict=True)],
            token_counts=counts,
            prompt_tokens=5,
        )
    a, b = map(int, SUM.findall(request.messages[-1]["content"])[-1])
    wrong = a % 5 == 0
    return Completion(f"It is step by step {a + b + wrong}. Draw {request.sample}.\nAnswer: {a + b + wrong}", completion_tokens=8)


def wrong_target(request: AnyRequest) -> Completion:
    """The same, but it cannot add."""
    return target(request) if isinstance(request, ScoreRequest) else Completion("I do not know.\nAnswer: -1", completion_tokens=8)


def _nats(text: str, prompt: str) -> float:
    kind = "step" if "Step" in text else "short" if "short" in text else "hint"
    noise = hashlib.blake2b((text + prompt).encode(), digest_size=2).digest()
    return NATS[kind] + (int.from_bytes(noise) / 65535 - 0.5) * 0.2


target.features = Features(schema=False, logprobs=False, score=True)  # type: ignore[attr-defined]
wrong_target.features = target.features  # type: ignore[attr-defined]


THINGS = {"fruit": ("apple", "pear", "plum"), "tool": ("saw", "drill", "axe")}


def labeller(request: AnyRequest) -> str:
    """Says what kind of thing a text is about, in the words of `THINGS`."""
    assert isinstance(request, Request)
    asked = request.messages[-1]["content"]
    label = next(name for name, words in THINGS.items() if any(f"my {word}" in asked for word in words))
    number = asked.rpartition("number ")[2][:2]
    return f"Number {number}, {'-'.join(number)}, asks where {number}'s {label} is.\nLabel: {label}"
