"""Fine-tuning a tiny model: what it learns and leaves, kills in mid-training, bad ends."""

from __future__ import annotations

import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import tiny_policy
import torch
from sft_driver import config, rows, tuned

from llmlabel.alignment import sft
from llmlabel.alignment.finish import finished
from llmlabel.alignment.measures import read_lines
from llmlabel.alignment.policy import load
from llmlabel.errors import ConfigError, DataError, RunMismatch
from llmlabel.lists import RankedList
from llmlabel.llm import connect
from llmlabel.llm.requests import Request

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_policy.save(tmp_path_factory.mktemp("policy"))


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_lines(folder / "log.jsonl")]


@pytest.fixture(scope="module")
def whole(policy: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unbroken training of all weights: 30 steps with a checkpoint behind each."""
    folder = tmp_path_factory.mktemp("whole")
    torch.set_num_threads(1)
    tuned(policy, folder, epochs=5, save_every=1)
    return folder


def test_it_learns_and_says_how_much(policy: str, whole: Path) -> None:
    found = tuned(policy, whole, epochs=5)  # read back: it is done
    assert found.steps == 30 and [line["step"] for line in found.history if "loss" in line] == [*range(1, 31)]
    assert found.first["rows"] == 9 and found.first["prompts"] == 6
    assert found.change["loss"] == pytest.approx(found.last["loss"] - found.first["loss"])
    low, high = found.change["loss_interval"]
    assert found.last["loss"] < 1 < 3 < found.first["loss"] and low < found.change["loss"] < high < 0
    card = (whole / "model" / "README.md").read_text()
    assert "nats per token" in card and "9 held-out rows of 6 prompts" in card and "trl" in card
    assert not [p for p in whole.rglob("*") if p.suffix in (".bin", ".pt", ".pth") or "checkpoint" in p.name]
    assert load(str(found.model)).tokenizer.chat_template  # as `run align --policy` does
    client = connect(f"embedded:{found.model}")
    try:
        asked = [Request([{"role": "user", "content": f"Is {n} odd?"}], max_tokens=16) for n in (200, 301)]
        assert all(client.ask(one).text.strip() in ("yes", "no, it is not") for one in asked)
    finally:
        client.close()


def test_the_loss_is_that_of_the_answers_tokens(policy: str, whole: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(policy)
    looks = [json.loads(line) for line in (whole / "held_out.jsonl").read_text().splitlines()]
    for where, which in ((policy, "first"), (str(whole / "model"), "last")):
        model = AutoModelForCausalLM.from_pretrained(where).eval()
        for one, told in zip(rows(9, 100), looks, strict=True):
            asked = tokens.apply_chat_template(list(one.messages), add_generation_prompt=True, return_dict=True)["input_ids"]
            said = tokens(f"{one.completions[0]}<|im_end|>", add_special_tokens=False).input_ids
            with torch.no_grad():
                logps = model(torch.tensor([[*asked, *said]])).logits[0].log_softmax(-1)
            nats = -sum(float(logps[len(asked) - 1 + i, token]) for i, token in enumerate(said))
            assert told[which] == {"nats": pytest.approx(nats, rel=1e-4), "tokens": len(said)}


def start(policy: str, folder: Path, **settings: Any) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "sft_driver.py"), policy, str(folder), json.dumps(settings)]
    env = os.environ | {"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def test_killed_in_mid_training_it_ends_with_the_same_weights(policy: str, whole: Path, tmp_path: Path) -> None:
    """SIGKILL while steps and checkpoints are made; then the rest in this process: all the same bit by bit."""
    process = start(policy, tmp_path / "killed", epochs=5, save_every=1)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line.split()[0]) >= 11:
            break
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (tmp_path / "killed" / "trained.json").exists()
    steps: list[int] = []
    tuned(policy, tmp_path / "killed", lambda done, of: steps.append(done), epochs=5, save_every=1)
    assert 10 < steps[0] < 30 and steps[-1] == 30
    assert weights(tmp_path / "killed") == weights(whole) and lines(tmp_path / "killed") == lines(whole)
    assert (tmp_path / "killed" / "held_out.jsonl").read_bytes() == (whole / "held_out.jsonl").read_bytes()


class Stop(Exception):
    pass


def stop_at(step: int) -> Any:
    def on_step(done: int, of: int) -> None:
        if done >= step:
            raise Stop

    return on_step


def test_adapters_go_on_too_and_are_merged(policy: str, tmp_path: Path) -> None:
    settings = {"lora": True, "lora_rank": 2, "epochs": 1, "save_every": 2, "rows_at_once": 2}
    one = tuned(policy, tmp_path / "one", **settings)
    with pytest.raises(Stop):
        tuned(policy, tmp_path / "two", stop_at(5), **settings)
    tuned(policy, tmp_path / "two", **settings)
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    assert {p.name for p in (one.model / "adapter").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert 0 < one.facts["parameters"] < tuned(policy, tmp_path / "all", max_steps=1).facts["parameters"]
    assert "LoRA, rank 2" in (one.model / "README.md").read_text()


def test_no_code_in_a_checkpoint_is_run(policy: str, tmp_path: Path) -> None:
    """Optimizer and scheduler are files of torch.save; what is read of them is tensors and plain values."""
    with pytest.raises(Stop):
        tuned(policy, tmp_path / "run", stop_at(3), save_every=1)
    mark = tmp_path / "was run"

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(mark),)

    newest = max((tmp_path / "run" / "checkpoints").glob("checkpoint-*"))
    for file in [*newest.glob("*.pt"), *newest.glob("*.pth")]:
        size = file.stat().st_size
        file.write_bytes(pickle.dumps(Evil()).ljust(size, b"\0"))  # the check of whole checkpoints compares sizes
    with pytest.raises(Exception, match="(?i)weights.only"):
        tuned(policy, tmp_path / "run", save_every=1)
    assert not mark.exists()


def test_what_differs_is_another_training(policy: str, tmp_path: Path) -> None:
    tuned(policy, tmp_path / "run", max_steps=1)
    with pytest.raises(RunMismatch, match="seed"):
        tuned(policy, tmp_path / "run", max_steps=1, seed=1)
    assert tuned(policy, tmp_path / "run", max_steps=1, rows_at_once=1).steps == 1  # memory is no part of it
    assert finished(tmp_path / "run", {}) is not None


def test_what_a_row_says_is_no_turn(policy: str, tmp_path: Path) -> None:
    some = [RankedList("a", "<|im_end|>?", ("yes<|im_start|>",))]
    found = sft.train(some * 2, [], config(policy, tmp_path, max_steps=1), tmp_path)
    assert found.counts["special_tokens"] == 4 and found.first == {} and found.counts["held_out_rows"] == 0
    assert "nothing was measured" in (found.model / "README.md").read_text()


def test_bad_ends_are_told(policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tiny_policy.save(tmp_path / "plain", template=None)
    chat = [RankedList("a", ({"role": "user", "content": "?"},), ("yes",))]
    with pytest.raises(ConfigError, match="has no chat template"):
        sft.train(chat, [], config(plain, tmp_path / "a"), tmp_path / "a")
    assert tuned(plain, tmp_path / "texts", max_steps=1).steps == 1  # texts are taken as they stand
    with pytest.raises(DataError, match="no row to learn from .q0: longer than 16 tokens"):
        tuned(policy, tmp_path / "b", max_tokens=16)
    with pytest.raises(ConfigError, match="rows_per_step .4. is no multiple of rows_at_once"):
        tuned(policy, tmp_path / "c", rows_at_once=3)
    with pytest.raises(DataError, match="the (loss|gradient) is no longer a number at step .*--learning-rate"):
        tuned(policy, tmp_path / "d", learning_rate=1e30, max_grad_norm=1e30)

    def full(*args: Any, **more: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("trl.SFTTrainer.compute_loss", full)
    with pytest.raises(ConfigError, match="out of memory .*rows_at_once=1.*--lora"):
        tuned(policy, tmp_path / "e")
    assert not (tmp_path / "e" / "model").exists()


def test_a_launcher_trains_what_one_process_does(policy: str, tmp_path: Path) -> None:
    from llmlabel.alignment.launch import launch

    launcher = (
        f"{sys.executable} -m accelerate.commands.launch --cpu --num_processes 2 --num_machines 1 --mixed_precision no "
        "--dynamo_backend no"
    )
    settings = config(policy, tmp_path, epochs=1, rows_at_once=2)
    two = launch(launcher, rows(24), rows(9, 100), settings, tmp_path / "two", card={"data": "rows"})
    one = tuned(policy, tmp_path / "one", epochs=1)
    assert math.isclose(two.last["loss"], one.last["loss"], rel_tol=1e-3) and two.first["rows"] == 9
    for a, b in zip(one.history, two.history, strict=True):
        assert {k: b[k] for k in ("step", *(["loss"] if "loss" in b else []))} == pytest.approx(
            {k: a[k] for k in ("step", *(["loss"] if "loss" in a else []))}, rel=1e-3
        )
