"""The whole chain of `run pipeline`, killed at random points of it, twenty times and more: `make soak`.

A model server whose answers depend on the question alone, and a tiny policy that is really trained. LLMLABEL_SOAK_RUNS: runs.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import rule_judge
import smart_model
import tiny_policy
from books import added_up
from fake_openai import FakeOpenAI, prompt_of
from killing import killed
from prefect_server import prefect_server

from llmlabel.llm.requests import Request
from llmlabel.runs import read_json

SEED = int(os.environ.get("LLMLABEL_SOAK_SEED", "0"))
RUNS = int(os.environ.get("LLMLABEL_SOAK_RUNS", "20"))
KILLS = (1, 1, 2, 1, 3)  # of the runs in turn
ROWS, TESTS = 150, 20
SCRIPT = str(Path(sys.executable).with_name("llmlabel"))
STRATEGIES = "version: 1\nstrategies:\n  - {name: short, prompt: respond/concise@1.0.0}\n"
STAGES = ["taxonomy", "annotate", "select", "sft", "sample", "rank", "align", "evaluate"]
PRICE = {"input": 1.0, "output": 10.0}
PASSING = {"seconds", "latency", "cost"}  # when, not what
ABOUT = {"run.json"}


def answer(body: dict[str, Any]) -> str:
    """Judges by length, teaches by key words, and labels as the smart model does."""
    asked = prompt_of(body)
    if "answers to a prompt" in asked:
        return rule_judge.shorter(Request(body["messages"]))
    if "Answer the user's request" in asked:
        topic = smart_model.topic_of(body["messages"][-1]["content"])
        return f"The letter is about {topic}.\nLabel: {topic}"
    return smart_model.answer(body)


class Chain:
    """Runs of one chain, each with a cache of its own."""

    def __init__(self, folder: Path, model: FakeOpenAI) -> None:
        self.folder, self.model = folder, model
        texts = smart_model.letters(ROWS, SEED)
        gold = [topic if i < 2 * TESTS else None for i, (_, topic) in enumerate(texts)]
        pq.write_table(pa.table({"text": [text for text, _ in texts], "topic": gold}), folder / "letters.parquet")
        (folder / "strategies.yaml").write_text(STRATEGIES)
        (folder / "config.yaml").write_text(yaml.safe_dump(self.settings()))

    def settings(self) -> dict[str, Any]:
        spec, alone = f"fake-1@{self.model.url}", {"concurrency": 1}  # a model here answers alike when it is asked alone
        return {
            "data": str(self.folder / "letters.parquet"), "use_case": "why passengers write", "gold_column": "topic",
            "llm": {"default": spec, "teacher": spec, "judge": spec}, "embedder": "tfidf", "stages": STAGES, "concurrency": 4,
            "prices": {"fake-1": PRICE}, "test_rows": TESTS, "seed": SEED,
            "target": tiny_policy.save(self.folder / "tiny", max_position_embeddings=2048),
            "taxonomy": {"student": "logistic_regression", "batch_size": 50, "label_with_llm": 60},
            "annotate": {"student": "logistic_regression"},
            "select": {"strategies": str(self.folder / "strategies.yaml"), "n": 12, "own_samples": 1,
                       "max_answer_tokens": 48, **alone},
            "sft": {"max_steps": 6, "learning_rate": 1e-3},
            "sample": {"samples": 3, "most": 30, "max_completion_tokens": 12, **alone},
            "align": {"max_steps": 4}, "evaluate": {"max_completion_tokens": 12, **alone},
        }  # fmt: skip

    def command(self, name: str) -> list[str]:
        config, out = self.folder / "config.yaml", self.folder / name
        return [SCRIPT, "run", "pipeline", "--config", str(config), "--cache", str(out / "cache"), "--out", str(out / "run")]

    def made(self, name: str) -> dict[str, Any]:
        """What the run wrote for its user, by its path in the run folder; the folder's own path in files is `OUT`."""
        out = self.folder / name / "run"
        files = [p for p in out.rglob("*") if p.suffix in READERS and "steps" not in p.parts and p.name not in ABOUT]
        return {str(p.relative_to(out)): READERS[p.suffix](p, str(out)) for p in files}

    def stage(self, name: str) -> str:
        """Which stage was going on last."""
        begun = [stage for stage in STAGES if (self.folder / name / "run" / stage).is_dir()]
        return begun[-1] if begun else "start"

    def books_balance(self, name: str) -> None:
        """What the run says it spent is what its ledger says, and what the server billed since the last reset lies within."""
        cost, stats = read_json(self.folder / name / "run" / "run.json")["cost"], self.model.stats
        books = added_up(self.folder / name / "cache")
        assert (cost["calls"], cost["open_calls"]) == (books.calls, books.open_calls)
        assert (cost["prompt_tokens"], cost["completion_tokens"]) == (books.prompt_tokens, books.completion_tokens)
        billed = stats.billed_prompt_tokens * PRICE["input"] + stats.billed_completion_tokens * PRICE["output"]
        assert cost["money"] <= billed / 1e6 + 1e-9 <= cost["money"] + cost["maybe_billed"] + 2e-9


def lasting(text: str) -> Any:
    """JSON without what differs from run to run."""
    return json.loads(text, object_hook=lambda found: {k: v for k, v in found.items() if k not in PASSING})


def read_text(path: Path, out: str) -> str:
    return path.read_text().replace(out, "OUT")


READERS: dict[str, Callable[[Path, str], Any]] = {
    ".parquet": lambda path, out: pq.read_table(path).to_pylist(), ".safetensors": lambda path, out: path.read_bytes(),
    ".json": lambda path, out: lasting(read_text(path, out)), ".yaml": read_text,
    ".jsonl": lambda path, out: [lasting(line) for line in read_text(path, out).splitlines()],
}  # fmt: skip


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    with prefect_server(tmp_path / "prefect") as server, FakeOpenAI(answer, latency=0.02) as model:
        for name, value in {**server.env, "OMP_NUM_THREADS": "1"}.items():
            monkeypatch.setenv(name, value)
        yield Chain(tmp_path, model)


def test_kills_at_random_points_change_nothing_and_pay_nothing_twice(chain: Chain) -> None:
    start = time.perf_counter()
    assert killed(chain.command("whole"), 0, random.Random(), 0) == 0
    seconds, needed, whole = time.perf_counter() - start, chain.model.stats.requests, chain.made("whole")
    chain.books_balance("whole")
    print(f"\nseed {SEED}: {ROWS} rows, {len(STAGES)} stages, {seconds:.0f} s, {needed} requests, {len(whole)} files")
    draw, stages, again, total, done = random.Random(SEED), Counter[str](), 0, 0, 0
    while done < RUNS:
        name, wanted = f"killed-{done}", KILLS[done % len(KILLS)]
        chain.model.reset()
        kills = killed(chain.command(name), wanted, draw, seconds, 0.0, lambda _, name=name: stages.update([chain.stage(name)]))
        if not kills:  # it ended before its kill came: the machine is quicker now than it was for the whole
            shutil.rmtree(chain.folder / name)
            seconds *= 0.9
            continue
        sent, at_once = chain.model.stats.requests, chain.model.stats.most_in_flight
        made = chain.made(name)
        different = sorted(file for file in whole.keys() | made.keys() if whole.get(file) != made.get(file))
        print(f"  {name}: {kills} kills, {sent - needed} requests more, different: {different}", flush=True)
        assert not different
        assert needed <= sent <= needed + at_once * kills
        chain.books_balance(name)
        done, total, again = done + 1, total + kills, again + sent - needed
    print(f"{done} runs, {total} kills, {done} completions, {again} requests sent again; killed in {dict(stages)}")
