"""Self-aligned perplexity against a direct computation: a forward pass for each answer, token by token."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny_policy

from llmlabel.llm import connect
from llmlabel.llm.causal_lm import Branches
from llmlabel.llm.client import Client
from llmlabel.llm.families import families
from llmlabel.llm.requests import ScoreRequest
from llmlabel.selection.answers import OWN, Answer, Question
from llmlabel.selection.exemplars import Pool
from llmlabel.selection.hidden import cosines, open_lm
from llmlabel.selection.scores import chat_turns, form_of, score

TEXTS = ["It is {i}.", "Well, let me think.\nIt must be {i}, because nothing else is.", "{i}", " اثنان {i} 贷款 "]
QUESTIONS = [Question(f"q{i}", f"What is {i} and one less than {i + 1}?", "1") for i in range(12)]
POOL = Pool.of(QUESTIONS, [[Answer(q.id, OWN, f"I say {q.id}.", correct=True)] for q in QUESTIONS])
ANSWERS = {q.id: [Answer(q.id, f"s{k}", text.format(i=i)) for k, text in enumerate(TEXTS)] for i, q in enumerate(QUESTIONS[:5])}


class Direct:
    """What the tests compare with: transformers alone."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def nats(self, head: Sequence[int], answer: str) -> tuple[float, int]:
        """Mean of -log p(token | all before it) over the answer's tokens, and their number."""
        import torch

        tail = self.tokenizer(answer, add_special_tokens=False).input_ids
        with torch.inference_mode():
            logps = self.model(torch.tensor([[*head, *tail]])).logits[0].log_softmax(-1)
        return -math.fsum(float(logps[len(head) + j - 1, token]) for j, token in enumerate(tail)) / len(tail), len(tail)

    def chat(self, turns: Sequence[dict[str, str]], answer: str) -> tuple[float, int]:
        made = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)
        return self.nats(list(made["input_ids"]), answer)


def sppl_turns(question: Question) -> list[dict[str, str]]:
    """Written here again, without the code that is tested."""
    turns = [{"role": r, "content": c} for q, a in POOL.before(question) for r, c in (("user", q.text), ("assistant", a.text))]
    return [*turns, {"role": "user", "content": question.text}]


def largest_difference(client: Client, direct: Direct) -> float:
    """Nats per token, over all answers; the numbers of tokens must be equal."""
    found = score(client, "sppl", QUESTIONS[:5], ANSWERS, pool=POOL)
    assert not found.reasons
    differences = []
    for question in QUESTIONS[:5]:
        for answer in ANSWERS[question.id]:
            value, tokens = found.values[question.id, answer.strategy]
            expected, count = direct.chat(sppl_turns(question), answer.text.strip())
            assert tokens == count
            differences.append(abs(value - expected))
    return max(differences)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(tiny_policy.save(tmp_path_factory.mktemp("tiny"), max_position_embeddings=1024))


@pytest.fixture
def client(tiny: Path, tmp_path: Path, one_thread: None) -> Iterator[Client]:
    client = connect(f"embedded:{tiny}", cache=tmp_path)
    yield client
    client.close()


def test_sppl_is_a_direct_computation(client: Client, tiny: Path) -> None:
    assert largest_difference(client, Direct(tiny)) < 1e-4


def test_long_requests_in_several_rows_are_too(client: Client, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = client.backend._lm  # type: ignore[attr-defined]
    monkeypatch.setattr(lm, "tails", 20)
    request = ScoreRequest(chat_turns(QUESTIONS[0], POOL.before(QUESTIONS[0])), [a.text for a in ANSWERS["q0"]])
    assert len(client.backend._branches(request)) > 1  # type: ignore[attr-defined]
    assert largest_difference(client, Direct(tiny)) < 1e-4


def test_ppl_and_ifd_are_too(client: Client, tiny: Path) -> None:
    direct = Direct(tiny)
    ppl, ifd = (score(client, name, QUESTIONS[:2], ANSWERS) for name in ("ppl", "ifd"))
    for question in QUESTIONS[:2]:
        for answer in ANSWERS[question.id]:
            text, key = answer.text.strip(), (question.id, answer.strategy)
            given = direct.chat([{"role": "user", "content": question.text}], text)[0]
            empty = direct.chat([{"role": "user", "content": ""}], text)[0]
            assert ppl.values[key][0] == pytest.approx(given, abs=1e-4)
            assert ifd.values[key][0] == pytest.approx(math.exp(given) / math.exp(empty), rel=2e-4)


def test_without_a_chat_template_it_is_plain_text(tmp_path: Path, one_thread: None) -> None:
    folder = Path(tiny_policy.save(tmp_path / "model", template=None, max_position_embeddings=1024))
    client, direct = connect(f"embedded:{folder}", cache=tmp_path), Direct(folder)
    assert form_of(client) == "plain"
    found = score(client, "sppl", QUESTIONS[:1], ANSWERS, pool=POOL)
    client.close()
    shown = "".join(f"Question: {q.text}\nAnswer: {a.text}\n\n" for q, a in POOL.before(QUESTIONS[0]))
    head = direct.tokenizer(f"{shown}Question: {QUESTIONS[0].text}\nAnswer:").input_ids
    expected, tokens = direct.nats(head, f" {ANSWERS['q0'][0].text}")
    assert found.values["q0", "s0"] == (pytest.approx(expected, abs=1e-4), tokens)


def test_an_answer_beyond_the_context_is_lost_alone(client: Client) -> None:
    given = [*ANSWERS["q0"], Answer("q0", "long", "word " * 400)]
    found = score(client, "sppl", QUESTIONS[:1], {"q0": given}, pool=POOL)
    assert set(found.reasons) == {("q0", "long")}
    assert "do not fit into the 1024" in found.reasons["q0", "long"]
    whole = score(client, "sppl", QUESTIONS[:1], ANSWERS, pool=POOL)
    for key, (value, _) in whole.values.items():
        assert found.values[key][0] == pytest.approx(value, abs=1e-4)


def test_prompts_that_begin_alike_are_families() -> None:
    a, b, other = list(range(100)), [*range(90), *range(500, 520)], list(range(1000, 1040))
    assert families({"a": a, "b": b, "c": other, "d": [1, 2]}) == [(90, ["a", "b"]), (0, ["d", "c"])]
    assert families({"a": a, "b": a}) == [(99, ["a", "b"])], "the last token is each prompt's own"
    assert families({}) == []


def test_parts_hold_every_completion_in_order() -> None:
    row = Branches([1], [[1] * 5, [2] * 4, [3] * 30, [4]])
    assert [part.tails for part in row.parts(10)] == [[[1] * 5, [2] * 4], [[3] * 30], [[4]]]


class TestHidden:
    def test_cosines_are_a_direct_computation(self, tiny: Path, one_thread: None) -> None:
        import torch

        direct, lm = Direct(tiny), open_lm(str(tiny))
        pairs = [(a.text, "I say it is two.") for a in ANSWERS["q1"]]
        for (answer, own), found in zip(pairs, cosines(lm, pairs), strict=True):
            means = []
            for text in (answer, own):
                ids = torch.tensor([direct.tokenizer(text).input_ids])
                with torch.inference_mode():
                    states = direct.model(ids, output_hidden_states=True).hidden_states[1:]
                means.append([layer[0].mean(0) for layer in states])
            expected = [float(torch.cosine_similarity(a, b, dim=0)) for a, b in zip(*means, strict=True)]
            assert found == pytest.approx(sum(expected) / len(expected), abs=1e-5)

    def test_what_cannot_be_read_is_nan_and_the_same_text_one(self, tiny: Path) -> None:
        found = cosines(open_lm(str(tiny)), [("", "a"), ("a", "word " * 400), ("same", "same")])
        assert [math.isnan(value) for value in found] == [True, True, False]
        assert found[2] == pytest.approx(1)


@pytest.mark.slow
def test_sppl_of_a_real_model(smollm2_dir: Path, tmp_path: Path) -> None:
    client = connect(f"embedded:{smollm2_dir}", cache=tmp_path)
    try:
        assert largest_difference(client, Direct(smollm2_dir)) < 1e-4
    finally:
        client.close()


@pytest.mark.slow
@pytest.mark.vllm
def test_vllm_and_this_process_agree(smollm2_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, where the only difference is the order of sums."""
    if not os.environ.get("LLMLABEL_VLLM_PYTHON"):
        message = "LLMLABEL_VLLM_PYTHON names no interpreter with vLLM"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    monkeypatch.setenv("LLMLABEL_VLLM_ARGS", f"{os.environ['LLMLABEL_VLLM_ARGS']}-sppl --dtype float32 --max-model-len 2048")
    client = connect(f"vllm:{smollm2_dir}", cache=tmp_path)
    try:
        assert largest_difference(client, Direct(smollm2_dir)) < 0.02
    finally:
        client.close()
