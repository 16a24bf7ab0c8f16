"""vLLM's own run-batch: one load of the model."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

from llmlabel.config import CommonConfig
from llmlabel.errors import RequestRejected
from llmlabel.llm import Ledger, connect
from llmlabel.llm.requests import Completion, Request
from llmlabel.llm.structured import parse_answer, strict_schema

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.xdist_group("vllm")]


class Mood(BaseModel):
    mood: Literal["good", "bad"]


def say(text: str, **more: object) -> Request:
    return Request([{"role": "user", "content": text}], **{"max_tokens": 12, **more})  # type: ignore[arg-type]


def test_answers_a_file_of_requests(smollm2_dir: Path, tmp_path: Path) -> None:
    if not os.environ.get("LLMLABEL_VLLM_PYTHON"):
        message = "LLMLABEL_VLLM_PYTHON names no interpreter with vLLM"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    options = CommonConfig(data="x.csv", out=tmp_path / "run", cache=tmp_path / "cache", batch=True)
    client = connect(f"vllm:{smollm2_dir}", options=options, run="r", ledger=Ledger(options.cache))
    requests = [say(f"Say {i} in words.") for i in range(20)]
    requests += [say(f"Is {i} a good number? Answer as JSON.", schema=strict_schema(Mood)) for i in range(5)]
    requests += [say("Answer with A or B.", max_tokens=1, top_logprobs=5), say("word " * 20_000), say("\u2028 \ud800 \x00")]
    try:
        answers = client.map(requests)
        assert all(isinstance(a, Completion) and a.text for a in answers[:26])
        assert all(isinstance(a, Completion) and parse_answer(Mood, a) for a in answers[20:25])
        chosen = answers[25]
        assert isinstance(chosen, Completion) and len(chosen.logprobs) == 5
        assert sum(map(math.exp, chosen.logprobs.values())) <= 1.001
        assert isinstance(answers[26], RequestRejected) and "length" in str(answers[26])
        assert isinstance(answers[27], Completion)
        totals = client.ledger.totals("r")
        assert (totals.calls, totals.nano, totals.open_calls) == (28, 0, 0)
        assert totals.prompt_tokens > 28 and totals.completion_tokens > 28
        assert client.map(requests)[:26] == answers[:26]
    finally:
        client.close()
