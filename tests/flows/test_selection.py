"""`llmlabel run select` with a teacher and a target whose rules are known (tests/rule_target.py)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rule_target

from llmlabel.config import SelectConfig
from llmlabel.errors import ConfigError
from llmlabel.lists import read_lists
from llmlabel.runs import read_json

TEACHER, TARGET = "scripted:rule_target:teacher", "scripted:rule_target:target"
STRATEGIES = """
version: 1
strategies:
  - {name: steps, prompt: respond/step_by_step@1.0.0, cost: 0.002}
  - {name: concise, prompt: respond/concise@1.0.0, cost: 0.001}
  - {name: rewritten, prompt: respond/rewrite@1.0.0, rewrites: steps, cost: 0.003}
  - {name: imitated, prompt: respond/imitate@1.0.0, cost: 0.002}
"""
Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    rows = [{"id": f"q{n}", "prompt": rule_target.question(n), "gold": rule_target.gold(n)} for n in range(11, 71)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "prompts.parquet")
    (tmp_path / "strategies.yaml").write_text(STRATEGIES)


@pytest.fixture
def run(prefect_server: str, tmp_path: Path) -> Iterator[Run]:
    """Runs the flow in this process, with settings; None takes one away."""
    from llmlabel.flows.selection import select
    from prefect.settings import PREFECT_API_URL, temporary_settings

    def start(out: str = "run", **settings: Any) -> dict[str, Any]:
        given = {
            "data": str(tmp_path / "prompts.parquet"), "out": tmp_path / out, "cache": tmp_path / "cache", "target": TARGET,
            "strategies": tmp_path / "strategies.yaml", "gold_column": "gold", "llm": {"teacher": TEACHER}, "n": 40,
            "embedder": "tfidf", **settings,
        }  # fmt: skip
        return dict(select.fn(SelectConfig(**{k: v for k, v in given.items() if v is not None})))

    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield start


def rows(path: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(path).to_pylist())


def test_what_the_target_likes_wins_and_its_answers_become_rows(run: Run, tmp_path: Path) -> None:
    found = run()
    metrics = read_json(tmp_path / "run" / "metrics.json")
    evidence = metrics["decision"]["evidence"]
    assert found["exit"] == 0 and found["verdict"] == "tie" and found["strategy"] in ("steps", "imitated")  # the same answers
    assert evidence["score"] == "sppl" and metrics["exemplars"]["kind"] == "verified"
    by_name = {row["strategy"]: row for row in evidence["ranking"]}
    assert by_name["concise"]["dropped"]["look"] == 10 and by_name["concise"]["gap"] > 0.5
    assert evidence["saved_share"] == pytest.approx(30 / 160)
    assert metrics["scores"]["steps"]["correctness"] == 1.0
    assert metrics["own"]["correctness"] == metrics["exemplars"]["pool"] / 40 < 1
    assert metrics["scores"]["concise"]["cost_per_1000"] == pytest.approx(1.0)
    assert metrics["scores"]["rewritten"]["cost_per_1000"] == pytest.approx(5.0)  # with its draft
    made = rows(tmp_path / "run" / "sft.parquet")
    assert len(made) == 40 and made[0]["prompt"][-1]["role"] == "user" and "Step one" in made[0]["completion"][0]["content"]
    lists = read_lists(str(tmp_path / "run" / "responses.parquet"))
    assert len(lists) == 40 and {len(one) for one in lists} == {3, 4} and lists[0].ranked
    answers = rows(tmp_path / "run" / "answers.parquet")
    assert {a["strategy"] for a in answers} == {"steps", "concise", "rewritten", "imitated", "(target)"}
    assert (tmp_path / "run" / "report.html").is_file()
    assert run()["strategy"] == found["strategy"]


def test_another_run_carries_the_decision_out_on_all_prompts(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--generate-all"):
        run("more", from_run=tmp_path / "run")
    chose = run()["strategy"]
    found = run("more", from_run=tmp_path / "run", generate_all=55)
    assert found["strategy"] == chose and found["generated"] == {"strategies": [chose], "rows": 55, "kept": 55, "dropped": {}}
    made = rows(tmp_path / "more" / "sft.parquet")
    assert len({row["id"] for row in made}) == 55 and {row["strategy"] for row in made} == {chose}


def test_answers_that_fail_are_counted_kept_out_and_can_be_asked_again(run: Run, tmp_path: Path) -> None:
    found = run(looks=[], n=60, generate_all=60, choose="per_prompt")
    assert found["exit"] == 3 and found["counts"] == {"ok": 238, "refused": 1, "truncated": 1}
    failures = (tmp_path / "run" / "failures.jsonl").read_text().splitlines()
    assert len(failures) == 2 and "answer concise" in failures[0]
    again = run(looks=[], n=60, generate_all=60, choose="per_prompt")
    assert again["exit"] == 3 and again["retries"] == 1 and again["strategy"] == found["strategy"]


def test_too_few_right_answers_of_the_target_mean_plain_perplexity(run: Run, tmp_path: Path) -> None:
    found = run(n=12, target="scripted:rule_target:wrong_target")
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert metrics["decision"]["evidence"]["score"] == "ppl" and metrics["exemplars"]["kind"] == "none"
    assert any("plain perplexity" in note for note in metrics["notes"])
    failed = {row["strategy"]: row for row in metrics["decision"]["evidence"]["ranking"]}["imitated"]
    assert not failed["passed"] and found["exit"] == 3  # nothing to imitate


def given(tmp_path: Path, answer: Callable[[int], dict[str, str]]) -> dict[str, Any]:
    """Settings for answers from a file. `answer`: number -> answer by strategy."""
    lists = [
        {"id": f"q{n}", "prompt": rule_target.question(n), "gold": rule_target.gold(n), "strategies": [*answer(n)],
         "responses": [*answer(n).values()]} for n in range(11, 51)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(lists), tmp_path / "answers.parquet")
    return {"data": None, "strategies": None, "llm": {}, "responses": str(tmp_path / "answers.parquet")}


def test_answers_somebody_has_need_no_teacher(run: Run, tmp_path: Path) -> None:
    def answer(n: int) -> dict[str, str]:
        steps = f"Step one gives the sum of both. Answer: {rule_target.gold(n)}"
        return {"a": steps, "b": f"In short the sum of both is. Answer: {rule_target.gold(n)}", "same": steps}

    found = run(**given(tmp_path, answer))
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert found["verdict"] == "tie" and found["strategy"] in ("a", "same") and metrics["decision"]["evidence"]["tied"]
    assert metrics["scores"]["b"]["sppl"] > metrics["scores"]["a"]["sppl"] == metrics["scores"]["same"]["sppl"]
    assert len(rows(tmp_path / "run" / "sft.parquet")) == 40


def test_label_only_answers_have_no_fit(run: Run, tmp_path: Path) -> None:
    def answer(n: int) -> dict[str, str]:
        return {"bare": rule_target.gold(n), "worse": rule_target.gold(n) if n % 2 else "0"}

    found = run(**given(tmp_path, answer))
    assert found["verdict"] == "no_meaning" and found["strategy"] == "bare"
    assert any("too short" in reason for reason in found["reason"])


def test_one_strategy_has_nothing_to_be_compared_with(run: Run, tmp_path: Path) -> None:
    found = run(**given(tmp_path, lambda n: {"only": f"The sum of both, in steps, is this. Answer: {rule_target.gold(n)}"}))
    assert found["verdict"] == "no_meaning" and found["strategy"] == "only" and found["generated"]["kept"] == 40


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target": "scripted:rule_target:teacher"}, "how likely"),
        ({"verify": "nonsense"}, "nonsense"),
        ({"gold_column": None, "pilot": True}, "--gold-column"),
        ({"strategies": Path("nowhere.yaml")}, "nowhere.yaml"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_asked(run: Run, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run(**settings)


def test_a_target_without_a_chat_template_and_an_answer_that_does_not_fit(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import tiny_policy

    target = tiny_policy.save(tmp_path / "plain", template=None)

    def answer(n: int) -> dict[str, str]:
        sum_ = rule_target.gold(n)
        return {"a": f"The sum is {sum_}. Answer: {sum_}", "b": "so " * (90 if n == 11 else 3) + f"Answer: {sum_}"}

    found = run(**given(tmp_path, answer), target=target, verify="none", looks=[])
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert found["exit"] == 0 and metrics["decision"]["evidence"]["score"] == "ppl"
    assert any("no chat template" in note for note in metrics["notes"]) and metrics["own"] is None
    assert sum(metrics["unscored"].values()) == 1 and "fit" in next(iter(metrics["unscored"]))
    answers = {(a["id"], a["strategy"]): a for a in rows(tmp_path / "run" / "answers.parquet")}
    assert answers["q11", "b"]["ppl"] is None and answers["q11", "a"]["ppl"] > 0 and answers["q12", "b"]["ppl"] > 0


@pytest.mark.slow
def test_a_pilot_trains_a_real_target_and_a_killed_one_goes_on(run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("trl")
    import tiny_policy
    from llmlabel.flows.steps.selection import pilot as selection_pilot

    settings = {
        "target": tiny_policy.save(tmp_path / "policy"), "n": 16, "pilot": True, "pilot_seeds": 2, "pilot_tests": 12,
        "pilot_epochs": 2, "learning_rate": 0.01, "max_answer_tokens": 16, "score": "ppl", "looks": [],
    }  # fmt: skip
    (tmp_path / "strategies.yaml").write_text(STRATEGIES.rpartition("\n  - {name: rewritten")[0])
    train, trained = selection_pilot.learn_from, list[Path]()

    def one_then_dies(rows: Any, folder: Path, *args: Any, **more: Any) -> Any:
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(folder)
        return train(rows, folder, *args, **more)

    monkeypatch.setattr(selection_pilot, "learn_from", one_then_dies)
    with pytest.raises(KeyboardInterrupt):
        run(**settings)
    monkeypatch.setattr(selection_pilot, "learn_from", train)
    found = run(**settings)
    pilot = read_json(tmp_path / "run" / "metrics.json")["pilot"]
    assert found["exit"] in (0, 3) and pilot["strategies"] and pilot["tests"] == 12 and pilot["accepted"] is False
    assert {len(seeds) for seeds in pilot["accuracy"].values()} == {2} and set(pilot["examples"].values()) <= {15, 16}
    assert all(one["last_loss"] < one["first_loss"] for each in pilot["trainings"].values() for one in each)
    assert not list((tmp_path / "run" / "pilot").rglob("model.safetensors")) and list(
        (tmp_path / "run" / "pilot").rglob("adapter*")
    )


@pytest.mark.slow
def test_from_the_command_line(cli: Any, tmp_path: Path) -> None:
    cli.env["PYTHONPATH"] = os.path.dirname(rule_target.__file__)
    command = [
        "run", "select", "--data", str(tmp_path / "prompts.parquet"), "--gold-column", "gold", "--target", TARGET,
        "--teacher", TEACHER, "--strategies", str(tmp_path / "strategies.yaml"), "--n", "20", "--set", "embedder=tfidf",
    ]  # fmt: skip
    code, events, stderr = cli.other(*command, "--estimate", "--out", str(cli.folder / "none"))
    assert code == 0 and events[-1]["calls"] == 20 * 2 + 20 * 4, stderr
    code, events, stderr = cli.other(*command, "--out", str(cli.folder / "run"))
    assert code == 0 and events[-1]["verdict"] == "tie", stderr
    code, events, stderr = cli.other(
        "run", "select", "--from", str(cli.folder / "run"), "--generate-all", "30", "--out", str(cli.folder / "sft")
    )
    assert code == 0 and events[-1]["generated"]["kept"] == 30, stderr
