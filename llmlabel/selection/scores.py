"""How likely the target finds given answers: self-aligned perplexity, plain perplexity, instruction-following difficulty.

A value is the mean negative log-likelihood of the answer's own tokens, in nats per token; its `exp` is the perplexity. The mark
that ends a turn is not counted: it belongs to the template and not to the strategy, and truncated answers lack it. Prompt and
answer are cut into tokens apart: the model too writes an answer after a finished prompt.

Sources: sppl: Ren, Chen, Liu 2025 (arXiv 2502.11779v3); theirs is a mean of perplexities, which a few answers rule, ours one of
their logarithms. ifd: Superfiltering, Li et al. 2024 (arXiv 2402.00530), a ratio of perplexities; the first form of it (Cherry,
arXiv 2308.12032) divides losses.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from llmlabel.errors import BackendError, ConfigError, RequestRejected, TransientError
from llmlabel.llm.client import Client
from llmlabel.llm.requests import Completion, ScoreRequest
from llmlabel.prompting import PromptLibrary, defuse
from llmlabel.selection.answers import Answer, Question
from llmlabel.selection.exemplars import Pool, Shown

NAMES = ("sppl", "ppl", "ifd")
PLAIN = "select/plain@1.0.0"
Form = Literal["chat", "plain"]
Key = tuple[str, str]  # id of a question, name of a strategy
Turns = list[dict[str, str]]
Found = tuple[float, int] | str  # nats per token and tokens, or why there is no value
OnDone = Callable[[int], None]
NO_TEXT = "no whole answer"
NOT_FINITE = "the target gives no finite probability"
EMPTY = Question("", "")


@dataclass(frozen=True)
class Scores:
    """`values`: (score, tokens of the answer) of every answer, nan and 0 where `reasons` says why there is none."""

    values: dict[Key, tuple[float, int]] = field(default_factory=dict)
    reasons: dict[Key, str] = field(default_factory=dict)


def counted(reasons: Iterable[str]) -> Counter[str]:
    """How often each reason was given; numbers in it (lengths, say) are left out."""
    return Counter(re.sub(r"\d+", "N", reason) for reason in reasons)


@dataclass(frozen=True)
class _Asked:
    """One question's prompt and the different answers to it."""

    prompt: str | Turns
    texts: Sequence[str]


def form_of(client: Client) -> Form:
    """chat where the target has a chat template that takes earlier turns, else plain (`select/plain`). Asks it once or twice.

    Raises: ConfigError where it cannot score given text, BackendError where it does not answer.
    """
    if not client.backend.features.score:
        raise ConfigError(
            f"the target {client.backend.model} cannot tell how likely a given answer is; name a folder or a hub id, as in "
            "--target DIR or --target vllm:DIR"
        )
    turns = [{"role": r, "content": c} for r, c in (("user", "Hello."), ("assistant", "Hello!"), ("user", "Is water wet?"))]
    try:
        client.ask(ScoreRequest(turns, ["Yes."]), "probe")
    except RequestRejected as e:
        if isinstance(e.__cause__, TransientError):
            raise BackendError(str(e)) from e
        client.ask(ScoreRequest("Question: Is water wet?\nAnswer:", [" Yes."]), "probe")
        return "plain"
    return "chat"


def score(
    client: Client,
    name: str,
    questions: Sequence[Question],
    answers: Mapping[str, Sequence[Answer]],
    *,
    pool: Pool | None = None,
    form: Form | None = None,
    prompts: PromptLibrary | None = None,
    step: str = "score",
    on_done: OnDone | None = None,
) -> Scores:
    """The target's score of every answer.

    All answers to a question are one request, so that its prompt is computed once; equal answers are computed once. Where the
    target refuses a request (an answer that does not fit its context, say), its answers are asked for one by one.

    Args:
        name: sppl, ppl or ifd. answers: by question id, at most one of each strategy. pool: of sppl. form: None: asks `form_of`.
        on_done: called with how many more questions are done, now and then.
    Raises: ConfigError for an unknown name, for sppl without enough exemplars; what stops all requests of the client.
    """
    if name not in NAMES:
        raise ConfigError(f"no score {name!r}. There are: {', '.join(NAMES)}")
    if name == "sppl" and (pool is None or not pool.enough):
        raise ConfigError(pool.why if pool else "sppl needs exemplars")
    shape = _Shape(form or form_of(client), prompts or PromptLibrary(), pool if name == "sppl" else None)
    texts = {q.id: some for q in questions if (some := _texts(answers.get(q.id, ())))}
    asked = shape.ordered([q for q in questions if q.id in texts])
    found = _nats(client, [_Asked(shape.prompt(q), shape.answers(texts[q.id])) for q in asked], step, on_done)
    if name == "ifd":
        alone = _nats(client, [_Asked(shape.prompt(EMPTY), shape.answers(texts[q.id])) for q in asked], step, None)
        found = [[_ratio(*pair) for pair in zip(given, empty, strict=True)] for given, empty in zip(found, alone, strict=True)]
    by_text = {q.id: dict(zip(texts[q.id], values, strict=True)) for q, values in zip(asked, found, strict=True)}
    return _scores([a for q in questions for a in answers.get(q.id, ())], by_text)


def chat_turns(question: Question, shown: Sequence[Shown]) -> Turns:
    """The question's system message, exemplars as earlier turns, the question. Exemplars leave their own system message out."""
    said = list(question.messages)
    first = 1 if said and said[0]["role"] == "system" else 0
    turns = said[:first]
    for other, answer in shown:
        turns += [m for m in other.messages if m["role"] != "system"]
        turns.append({"role": "assistant", "content": _text(answer)})
    return [{"role": m["role"], "content": str(defuse(m["content"]))} for m in [*turns, *said[first:]]]


@dataclass(frozen=True)
class _Shape:
    """How a question and its answers are put to the target; `pool`: whose exemplars stand before it, None: none do."""

    form: Form
    prompts: PromptLibrary
    pool: Pool | None

    def ordered(self, questions: list[Question]) -> list[Question]:
        """Prompts that begin alike stand together."""
        return sorted(questions, key=self.pool.group) if self.pool else questions

    def prompt(self, question: Question) -> str | Turns:
        shown = self.pool.before(question) if self.pool else ()
        if self.form == "chat":
            return chat_turns(question, shown)
        exemplars = [{"prompt": q.text, "answer": _text(a)} for q, a in shown]
        return self.prompts.get(PLAIN).render(exemplars=exemplars, prompt=question.text)[-1]["content"]

    def answers(self, texts: Sequence[str]) -> list[str]:
        """After a text that ends in a word, an answer begins with the blank its first token holds."""
        return [text if self.form == "chat" else f" {text}" for text in texts]


def _text(answer: Answer) -> str:
    """Without blanks around it, which templates take away too; marks of turns in it are broken."""
    return str(defuse(answer.text.strip()))


def _texts(answers: Sequence[Answer]) -> list[str]:
    """The different ones that can be scored, in order."""
    return list(dict.fromkeys(_text(answer) for answer in answers if answer.usable))


def _nats(client: Client, asked: Sequence[_Asked], step: str, on_done: OnDone | None) -> list[list[Found]]:
    """For each question what was found of its texts, in order."""
    told = client.map([ScoreRequest(one.prompt, one.texts) for one in asked], step, on_done)
    found = [_found(answer, len(one.texts)) for answer, one in zip(told, asked, strict=True)]
    lost = [i for i, answer in enumerate(told) if not isinstance(answer, Completion) and len(asked[i].texts) > 1]
    alone = [(i, k) for i in lost for k in range(len(asked[i].texts))]
    again = client.map([ScoreRequest(asked[i].prompt, [asked[i].texts[k]]) for i, k in alone], step) if alone else []
    for (i, k), answer in zip(alone, again, strict=True):
        found[i][k] = _found(answer, 1)[0]
    return found


def _found(answer: object, number: int) -> list[Found]:
    if not isinstance(answer, Completion):
        return [f"the target refused it: {answer}"] * number
    pairs = zip(answer.scores, answer.token_counts, strict=True)
    return [(-total / tokens, tokens) if math.isfinite(total) else NOT_FINITE for total, tokens in pairs]


def _ratio(given: Found, empty: Found) -> Found:
    """PPL(y | x) / PPL(y | no question)."""
    if isinstance(given, str) or isinstance(empty, str):
        return given if isinstance(given, str) else empty
    return math.exp(given[0] - empty[0]), given[1]


def _scores(answers: Sequence[Answer], found: Mapping[str, Mapping[str, Found]]) -> Scores:
    scores = Scores()
    for answer in answers:
        key = (answer.id, answer.strategy)
        value = found[answer.id][_text(answer)] if answer.usable else f"{NO_TEXT} ({answer.status})"
        scores.values[key] = (math.nan, 0) if isinstance(value, str) else value
        if isinstance(value, str):
            scores.reasons[key] = value
    return scores
