"""Training a tiny model on rows of sft.parquet: by TRL as the file stands, and as the pilot does it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("trl")
pytest.importorskip("peft")

import tiny_policy
import torch
from llmlabel.flows.steps.selection import pilot as selection_pilot
from safetensors.torch import load_file

from llmlabel.alignment import finish
from llmlabel.alignment.finish import Trained
from llmlabel.config import SelectConfig
from llmlabel.errors import ConfigError, DataError
from llmlabel.llm import Models
from llmlabel.llm.requests import Request
from llmlabel.runs import RunFolder
from llmlabel.selection import sft
from llmlabel.selection.answers import Answer, Question

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

LEARNT = {"strategy": "short", "model": "m", "prompt": "respond/short@1.0.0", "prompt_hash": "0"}


def pairs(number: int, said: str = "yes", **more: Any) -> list[sft.Pair]:
    return [(Question(f"q{i}", f"Is {i} odd?", said), Answer(f"q{i}", text=said, **{**LEARNT, **more})) for i in range(number)]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_policy.save(tmp_path_factory.mktemp("target"))


def train(target: str, folder: Path, some: Sequence[sft.Pair] | None = None, **more: Any) -> Trained:
    settings = {"seed": 0, "epochs": 3, "learning_rate": 0.01, "batch": 4, **more}
    return selection_pilot.learn_from(list(sft.rows(some or pairs(8))), folder, target, **settings)


def losses(found: Trained) -> list[float]:
    return [line["loss"] for line in found.history]


def weights(folder: Path) -> dict[str, Any]:
    return dict(load_file(next(folder.rglob("model.safetensors"))))


def test_trl_reads_the_file_as_it_stands_and_learns_completions_only(target: str, tmp_path: Path) -> None:
    import datasets
    from trl import SFTConfig, SFTTrainer, apply_chat_template

    sft.write(tmp_path / "sft.parquet", pairs(4, correct=True))
    data = datasets.load_dataset("parquet", data_files=str(tmp_path / "sft.parquet"), split="train", cache_dir=str(tmp_path))
    args = SFTConfig(
        str(tmp_path / "out"), use_cpu=True, bf16=False, report_to=[], disable_tqdm=True, save_strategy="no", max_steps=1
    )
    trainer = SFTTrainer(target, args, train_dataset=data)
    assert trainer.completion_only_loss
    tokens = trainer.processing_class
    for row, prompt in zip(trainer.train_dataset, data["prompt"], strict=True):
        learnt = [token for token in row["labels"] if token != -100]
        assert tokens.decode(learnt) == "yes<|im_end|>\n"
        asked = tokens.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
        assert row["input_ids"] == [*asked, *learnt] and row["labels"][: len(asked)] == [-100] * len(asked)
    trainer.train()
    row = {"prompt": data[0]["prompt"], "completion": data[0]["completion"]}
    assert apply_chat_template(row, tokens)["completion"] == "yes<|im_end|>\n"
    with pytest.raises(KeyError, match="Invalid keys"):  # why there is no column `messages`
        apply_chat_template({**row, "messages": row["prompt"] + row["completion"]}, tokens)


def test_a_training_learns_its_rows_and_leaves_a_model_that_answers(target: str, tmp_path: Path, capfd: Any) -> None:
    done: list[tuple[int, int]] = []
    found = train(target, tmp_path / "a", epochs=20, on_step=lambda i, of: done.append((i, of)))
    assert done == [(i, 40) for i in range(1, 41)] and found.steps == 40 == len(losses(found))
    assert losses(found)[-1] < 1 < 5 < losses(found)[0]  # 32 dimensions get no closer to 0 than .6
    assert found.counts["rows"] == 8 and found.counts["rows_dropped"] == 0
    assert {p.name for p in (found.model / "adapter").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".bin", ".pt", ".part") or "checkpoint" in p.name]
    assert {p.name for p in tmp_path.iterdir()} == {"a"}
    saved = json.loads((found.model / "config.json").read_text())
    assert saved.get("use_cache", True) == json.loads((Path(target) / "config.json").read_text()).get("use_cache", True)
    config = SelectConfig(data="-", out=tmp_path / "run", target=target, cache=tmp_path / "cache")
    with Models(config) as models:
        request = Request(sft.messages(Question("n", "Is 77 odd?")), max_tokens=8)
        assert models.client(f"embedded:{found.model}").ask(request).text.strip() == "yes"
        assert models.client(f"embedded:{target}").ask(request).text.strip() != "yes"
    assert capfd.readouterr().out == ""


def test_the_first_step_counts_and_the_same_seed_gives_the_same_weights(target: str, tmp_path: Path) -> None:
    once = train(target, tmp_path / "once", pairs(4), epochs=1)
    assert once.steps == 1
    before, after = weights(Path(target)), weights(tmp_path / "once")
    assert any(not torch.equal(before[name], after[name]) for name in after)
    train(target, tmp_path / "a")
    train(target, tmp_path / "b")
    train(target, tmp_path / "c", seed=1)
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_only_completions_are_learnt_from(target: str, tmp_path: Path) -> None:
    """The loss is the model's own mean log-likelihood of the completion's tokens after the prompt."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    some = pairs(1, "a longer answer")
    found = train(target, tmp_path / "a", some, epochs=1)
    tokens, model = AutoTokenizer.from_pretrained(target), AutoModelForCausalLM.from_pretrained(target)
    row = next(sft.rows(some))
    asked = tokens.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
    whole = tokens.apply_chat_template(row["prompt"] + row["completion"], return_dict=True)["input_ids"]
    whole = whole[:-1]  # no line break behind the token that ends the turn
    with torch.no_grad():
        logps = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    told = [float(logps[i - 1, whole[i]]) for i in range(len(asked), len(whole))]
    assert losses(found) == [pytest.approx(-sum(told) / len(told), abs=1e-3)]


def test_long_rows_are_left_out_and_counted(target: str, tmp_path: Path) -> None:
    some = [*pairs(3), (Question("long", "Is it?"), Answer("long", text="x" * 300, **LEARNT))]
    found = train(target, tmp_path / "a", some, epochs=1)
    assert (found.counts["rows"], found.counts["rows_dropped"]) == (3, 1)  # the context has 256 tokens
    with pytest.raises(DataError, match="longer than 16 tokens"):
        train(target, tmp_path / "b", max_tokens=16)


def test_what_cannot_be_trained_is_told(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tiny_policy.save(tmp_path / "plain", template=None)
    with pytest.raises(ConfigError, match="has no chat template"):
        train(plain, tmp_path / "a")
    strict = tiny_policy.save(tmp_path / "strict", template="{{ raise_exception('no system prompt') }}")
    with pytest.raises(DataError, match="refuses its messages: no system prompt"):
        train(strict, tmp_path / "a")
    with pytest.raises(ConfigError, match="needs its weights"):
        train("small@http://localhost:1/v1", tmp_path / "a")
    with monkeypatch.context() as patch:
        patch.setattr(finish, "find_spec", lambda name: None if name == "trl" else True)
        with pytest.raises(ConfigError, match=r"needs trl: pip install 'llmlabel\[align\]'"):
            train(target, tmp_path / "a")

    def full(*args: Any, **more: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("trl.SFTTrainer.compute_loss", full)
    with pytest.raises(ConfigError, match="out of memory .*rows_at_once"):
        train(target, tmp_path / "a")
    assert not (tmp_path / "a" / "model").exists()


def test_a_training_is_not_told_over_the_network(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants
    from huggingface_hub.utils import _telemetry

    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(_telemetry, "_start_telemetry_thread", lambda: pytest.fail("told somebody"))
    train(target, tmp_path / "a", epochs=1)


class Kill(Exception):
    pass


def test_a_pilot_compares_two_strategies_and_goes_on_after_a_kill(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SelectConfig(
        data="-", out=tmp_path / "run", target=target, cache=tmp_path / "cache", pilot_seeds=2, pilot_epochs=16,
        learning_rate=0.01, max_answer_tokens=8, batch=False,
    )  # fmt: skip
    learn = {"short": pairs(12), "wrong": pairs(12, "no", strategy="wrong")}
    tests = [Question(f"t{i}", f"Is {i} odd?", "yes") for i in range(101, 141, 2)]
    trained: list[Path] = []
    real = selection_pilot.learn_from

    def counted(rows: Any, folder: Path, *args: Any, **more: Any) -> Trained:
        trained.append(folder)
        return real(rows, folder, *args, **more)

    monkeypatch.setattr(selection_pilot, "learn_from", counted)
    folder = RunFolder(config.out, flow="select", definition={}, config={})
    followed: list[str] = []

    def work(models: Models) -> Any:
        def follow(step: str, done: int, of: int) -> None:
            followed.append(step)

        return SimpleNamespace(
            config=config, folder=folder, models=models, verify="exact", follow=follow,
            counter=lambda step, total: lambda n: follow(step, n, total),
        )  # fmt: skip

    def run() -> dict[str, Any]:
        with Models(config) as models:
            return selection_pilot.pilot(work(models), ("short", "wrong"), learn, tests, None)

    def killed(*args: Any) -> Any:
        raise Kill

    with monkeypatch.context() as patch:  # after the first training, before its model has answered
        patch.setattr(selection_pilot, "_tested", killed)
        with pytest.raises(Kill):
            run()
    assert len(trained) == 1
    found = run()
    assert len(trained) == 5 and len(set(trained)) == 4
    assert found["accuracy"] == {"short": [1.0, 1.0], "wrong": [0.0, 0.0]} and found["untrained"] == 0.0
    assert found["difference"] == 1.0 and found["accepted"] and found["better"] == "short"
    assert found["strategies"] == ["short", "wrong"] and found["seeds"] == 2 and found["tests"] == 20 and found["failed"] == 0
    assert found["examples"] == {"short": 12, "wrong": 12} and found["left_out"] == {"short": 0, "wrong": 0}
    assert all(one["last_loss"] < one["first_loss"] for each in found["trainings"].values() for one in each)
    assert "pilot: short, seed 0, training" in followed and "pilot: wrong, seed 1, test" in followed
    left = {str(p.relative_to(config.out / "pilot")) for p in (config.out / "pilot").rglob("*") if p.is_file()}
    assert left == {
        f"{k}-{s}/adapter/{name}" for k in (0, 1) for s in (0, 1) for name in ("adapter_config.json", "adapter_model.safetensors")
    }
    assert run() == found and len(trained) == 5
    folder.close()
