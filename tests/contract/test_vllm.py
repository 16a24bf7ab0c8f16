"""A real vLLM: what its numbers mean, and that it is started, shared, restarted and stopped as promised.

Compared with the same weights in transformers at float32. vLLM computes in bfloat16, whose 8 bits are steps of 0.125 in
logits of 16 to 32: 0.2 nats per token is allowed, and 0.08 on average.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from llmlabel.annotation import How, settle
from llmlabel.annotation.annotators import annotator
from llmlabel.errors import BackendError, RequestRejected, TransientError
from llmlabel.llm import connect as connect_client
from llmlabel.llm.backends.vllm import VLLMBackend, connect
from llmlabel.llm.loop import run_async
from llmlabel.llm.options import Options
from llmlabel.llm.requests import Message, Request, ScoreRequest
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example, Label, Taxonomy

pytestmark = [pytest.mark.slow, pytest.mark.vllm]
EACH, MEAN = 0.2, 0.08  # nats per token
SCHEMA = {
    "type": "object",
    "properties": {
        "mood": {"type": "string", "enum": ["good", "bad"]},
        "words": {"type": "array", "items": {"type": "string", "enum": ["red", "blue"]}, "maxItems": 3},
        "inner": {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False},
    },
    "required": ["mood", "words", "inner"],
    "additionalProperties": False,
}
SCORED: list[tuple[str | list[Message], list[str]]] = [
    ("The capital of France is", [" Paris", " a banana", " Paris, and it is big"]),
    ("Request: my card was stolen\nTopic:", [" banking", " travel", " cooking recipes"]),
    ("def add(a, b):\n    return", [" a + b", " None", " a - b"]),
    ([{"role": "user", "content": "Is the sky blue? Answer yes or no."}], ["yes", "no", "Yes.", "The sky is blue."]),
    ([{"role": "system", "content": "Be terse."}, {"role": "user", "content": "Name a fruit."}], ["Apple", "A stone"]),
]


class Reference:
    """The same weights without vLLM."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def head(self, prompt: str | Sequence[Message]) -> list[int]:
        if isinstance(prompt, str):
            return list(self.tokenizer(prompt).input_ids)
        return list(self.tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"])

    def logps(self, tokens: list[int]) -> Any:
        import torch

        with torch.inference_mode():
            return self.model(torch.tensor([tokens])).logits[0].log_softmax(-1)

    def score(self, prompt: str | Sequence[Message], completion: str) -> tuple[float, int]:
        """(sum of log-probabilities, number of tokens)"""
        head, tail = self.head(prompt), self.tokenizer(completion, add_special_tokens=False).input_ids
        rows = self.logps(head + tail)[len(head) - 1 : -1]
        return float(sum(row[token] for row, token in zip(rows, tail, strict=True))), len(tail)


@pytest.fixture(scope="module")
def reference(smollm2_dir: Path) -> Reference:
    return Reference(smollm2_dir)


def chat(text: str, **more: Any) -> Request:
    return Request([{"role": "user", "content": text}], **{"max_tokens": 100, **more})


class TestNumbers:
    def test_scores_are_the_models_log_probabilities(self, vllm_backend: VLLMBackend, reference: Reference) -> None:
        errors = []
        for prompt, completions in SCORED:
            answer = run_async(vllm_backend.score(ScoreRequest(prompt, completions)))
            assert answer.prompt_tokens == len(reference.head(prompt))
            for completion, score, count in zip(completions, answer.scores, answer.token_counts, strict=True):
                expected, tokens = reference.score(prompt, completion)
                assert count == tokens
                errors.append(abs(score - expected) / count)
        assert max(errors) < EACH
        assert sum(errors) / len(errors) < MEAN

    def test_a_score_is_the_same_again_and_in_other_company(self, vllm_backend: VLLMBackend) -> None:
        """Nothing is read from a cache that holds no log-probabilities."""
        alone = [run_async(vllm_backend.score(ScoreRequest(SCORED[0][0], [c]))).scores[0] for c in SCORED[0][1]]
        together = run_async(vllm_backend.score(ScoreRequest(*SCORED[0]))).scores
        again = run_async(vllm_backend.score(ScoreRequest(*SCORED[0]))).scores
        assert again == together
        assert together == pytest.approx(alone, abs=EACH)

    def test_messages_and_their_rendered_text_score_alike(self, vllm_backend: VLLMBackend, reference: Reference) -> None:
        messages, completions = SCORED[3]
        text = reference.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        by_messages, by_text = (run_async(vllm_backend.score(ScoreRequest(p, completions))) for p in (messages, text))
        assert by_messages.scores == pytest.approx(by_text.scores, abs=EACH)
        assert by_messages.prompt_tokens == by_text.prompt_tokens

    def test_no_messages_are_refused(self, vllm_backend: VLLMBackend) -> None:
        with pytest.raises(RequestRejected):
            run_async(vllm_backend.score(ScoreRequest([], ["a"])))

    @pytest.mark.parametrize("text", ["Is the sky blue? Answer yes or no.", "Answer with A or B.", "Name a colour."])
    @pytest.mark.parametrize("temperature", [0.0, 0.5])
    def test_alternatives_are_the_softmax(
        self, text: str, temperature: float, vllm_backend: VLLMBackend, reference: Reference
    ) -> None:
        """Before temperature and top_p."""
        request = chat(text, max_tokens=1, top_logprobs=5, temperature=temperature)
        found = run_async(vllm_backend.complete(request)).logprobs
        expected = reference.logps(reference.head(request.messages))[-1]
        best = [reference.tokenizer.decode([int(i)]) for i in expected.topk(5).indices]
        assert len(set(found) & set(best)) >= 4, "the fifth may be a close call"
        for token, logp in found.items():
            assert logp == pytest.approx(float(expected[reference.tokenizer.convert_tokens_to_ids(token)]), abs=EACH)

    def test_under_a_schema_they_are_shared_out_among_what_is_allowed(
        self, vllm_backend: VLLMBackend, reference: Reference
    ) -> None:
        """As docs/decisions/0003-vllm-logprobs.md says: the model gives these tokens 6e-6, vLLM reports 1."""
        request = chat("Is the sky blue? Answer yes or no.", schema=SCHEMA, top_logprobs=5)
        found = run_async(vllm_backend.complete(request)).logprobs
        assert set(found) == {"{", '{"'}, "the forbidden ones are left out"
        assert sum(map(math.exp, found.values())) == pytest.approx(1, abs=1e-4)
        expected = reference.logps(reference.head(request.messages))[-1]
        raw = {token: float(expected[reference.tokenizer.convert_tokens_to_ids(token)]) for token in found}
        mass = sum(map(math.exp, raw.values()))
        assert mass < 1e-4
        for token, logp in found.items():
            assert logp == pytest.approx(raw[token] - math.log(mass), abs=EACH), "only a constant was added"

    @pytest.mark.parametrize("text", ["Is the weather good? Answer as JSON.", "Pretty-print JSON, indented, with empty lines."])
    def test_json_has_no_idle_whitespace(self, text: str, vllm_backend: VLLMBackend) -> None:
        """A small model would fill its budget with line breaks; without the flag both of these have them."""
        answer = run_async(vllm_backend.complete(chat(text, schema=SCHEMA)))
        assert answer.finish == "stop"
        assert set(json.loads(answer.text)) == {"mood", "words", "inner"}
        assert not re.search(r"\n|\s\s", answer.text)


class TestAnnotators:
    """Every way to annotate on a real model: nothing about its taste, all about what comes back."""

    TREE = Taxonomy(
        labels=[
            Label(id="money", name="Money"), Label(id="cards", name="Cards", parent="money"),
            Label(id="loans", name="Loans", parent="money"), Label(id="food", name="Food"), Label(id="travel", name="Travel"),
        ]
    )  # fmt: skip
    TEXTS = ("my credit card is lost", "a loan for a house", "a flight to Rome", "how long do I boil an egg", "xyzzy")

    @pytest.mark.parametrize("multi", [False, True])
    @pytest.mark.parametrize(
        "way", ["classify", "descent", "few_shot", "hybrid", "likelihood", "rank", "shortlist", "stated", "top_k", "vote"]
    )
    def test_labels_and_distributions(self, way: str, multi: bool, real_vllm: str, tmp_path: Path) -> None:
        if multi and way in ("descent", "hybrid", "stated", "top_k"):
            pytest.skip("gives one label")
        examples = [Example(str(i), text) for i, text in enumerate(self.TEXTS)]
        gold = [Example("g1", "stolen card", "cards"), Example("g2", "a recipe for soup", "food")]
        client = connect_client(real_vllm, cache=tmp_path)
        how = How(use_case="what it is about", multi=multi, gold=gold, few_shot=2, samples=2, encode=letters)
        try:
            rows = annotator(way).annotate(examples, self.TREE, client, PromptLibrary(), how)
        finally:
            client.close()
        leaves = {label.id for label in self.TREE.leaves}
        assert [row.id for row in rows] == [e.id for e in examples]
        assert all(row.reason for row in rows if row.status.failed)
        if way not in (
            "few_shot",
            "hybrid",
            "stated",
            "top_k",
            "vote",
        ):  # what so small a model answers to these is often no answer
            assert sum(not row.status.failed for row in rows) >= 3
        for row in settle(rows, self.TREE, strength=0.0, multi=multi):
            assert set(row.labels) <= leaves
            assert set(row.probs) <= leaves | {"-"}
            assert all(0 <= p <= 1 for p in row.probs.values())
            assert row.status.failed or row.probs


def letters(texts: Sequence[str]) -> Any:
    """Vectors of a kind, so that no sentence model is loaded."""
    import numpy as np

    rows = np.array([[text.lower().count(c) + 0.1 for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class TestProcess:
    def test_a_second_client_takes_the_running_server(self, vllm_backend: VLLMBackend, smollm2_dir: Path) -> None:
        start = time.monotonic()
        other = connect(Options(str(smollm2_dir)))
        assert other.url == vllm_backend.url
        assert time.monotonic() - start < 10
        run_async(other.close())
        assert run_async(vllm_backend.complete(chat("Hello", max_tokens=2))).text

    def test_a_model_that_does_not_load_shows_the_log_and_leaves_nothing(self, vllm_backend: VLLMBackend, tmp_path: Path) -> None:
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "config.json").write_text('{"model_type": "no_such_type"}')
        with pytest.raises(BackendError, match=r"(?s)LLMLABEL_VLLM_ARGS.*The end of its log.*no_such_type"):
            connect(Options(str(tmp_path / "broken")))
        assert _processes_with(str(tmp_path)) == []

    def test_the_deadline_holds(self, vllm_backend: VLLMBackend, smollm2_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LLMLABEL_VLLM_TIMEOUT", "2")
        monkeypatch.setenv("LLMLABEL_VLLM_ARGS", "--enforce-eager --served-model-name late")
        with pytest.raises(BackendError, match="not ready after 2 s"):
            connect(Options(str(smollm2_dir)))

    def test_no_row_is_lost_when_the_engine_is_killed(self, vllm_backend: VLLMBackend) -> None:
        """24 answers are being written when the engine gets SIGKILL; the API server in front of it lives on for a while."""
        old, group = vllm_backend.url, _group(vllm_backend._service._process._process.pid)  # type: ignore[union-attr]
        engine = next(pid for pid, name in group if "EngineCore" in name)

        async def row(i: int) -> str:
            for _ in range(6):
                with contextlib.suppress(TransientError):
                    return (await vllm_backend.complete(chat(f"Write about the number {i}.", max_tokens=150))).text
                await asyncio.sleep(0.5)
            raise AssertionError(f"row {i} failed six times")

        async def run() -> list[str]:
            rows = asyncio.gather(*map(row, range(24)))
            await asyncio.sleep(2)
            os.kill(engine, signal.SIGKILL)
            return await rows

        assert all(run_async(run()))
        assert vllm_backend.url != old
        assert _alive([pid for pid, _ in group]) == []

    def test_nothing_is_left_when_its_owner_is_killed(self, real_vllm: str, smollm2_dir: Path) -> None:
        """The owner gets SIGKILL while the server and its engine run."""
        mark = f"orphan-{os.getpid()}"
        code = (
            "import time\nfrom llmlabel.llm.backends.vllm import connect\nfrom llmlabel.llm.options import Options\n"
            f"connect(Options({str(smollm2_dir)!r}))\nprint('ready', flush=True)\ntime.sleep(600)"
        )
        env = {**os.environ, "LLMLABEL_VLLM_ARGS": f"--enforce-eager --served-model-name {mark}"}
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env) as owner:
            try:
                assert owner.stdout is not None
                assert owner.stdout.readline() == b"ready\n"
                group = [pid for pid, _ in _group(os.getpgid(_processes_with(mark)[0]))]
                assert len(group) >= 3, "supervisor, server and engine"
            finally:
                owner.kill()
        end = time.monotonic() + 25
        while _alive(group) and time.monotonic() < end:
            time.sleep(0.3)
        assert _alive(group) == []


def _ps(columns: str) -> list[list[str]]:
    rows = subprocess.run(["ps", "-ww", "-eo", columns], capture_output=True, text=True, check=True).stdout.splitlines()
    return [row.split(None, columns.count(",")) for row in rows]


def _processes_with(text: str) -> list[int]:
    return [int(pid) for pid, args in _ps("pid=,args=") if text in args and int(pid) != os.getpid()]


def _group(leader: int) -> list[tuple[int, str]]:
    """Process ids and names in the group of a supervisor; the engine renames itself."""
    return [(int(pid), args) for pid, group, args in _ps("pid=,pgid=,args=") if int(group) == leader]


def _alive(pids: list[int]) -> list[int]:
    running = {int(pid) for pid, state in _ps("pid=,stat=") if not state.startswith("Z")}
    return sorted(running & set(pids))
