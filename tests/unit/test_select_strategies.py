"""The strategies file: what is shipped, what is refused and how that is said, what data can serve."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import yaml

from llmlabel.errors import ConfigError
from llmlabel.prompting import PromptLibrary
from llmlabel.selection.strategies import Strategy, needs, ordered, pinned, read_strategies, usable

PROMPTS = PromptLibrary()
PROMPTS.get = cache(PROMPTS.get)  # type: ignore[method-assign]
CONCISE, REWRITE = "respond/concise@1.0.0", "respond/rewrite@1.0.0"
SHIPPED = read_strategies(None, PROMPTS)
BY_NAME = {s.name: s for s in SHIPPED}


def written(folder: Path, *rows: object, **head: object) -> Path:
    file = folder / "ours.yaml"
    file.write_text(yaml.safe_dump({"version": 1, "strategies": list(rows), **head}), encoding="utf-8")
    return file


def of_prompt(folder: Path, variables: str, body: str) -> PromptLibrary:
    file = folder / "prompts" / "own" / "way" / "1.0.0.md"
    file.parent.mkdir(parents=True)
    head = f"---\nname: own/way\nversion: 1.0.0\nsummary: s\nvariables: {variables}\nsource: ours\n---\n"
    file.write_text(f"{head}# user\n{body}\n", encoding="utf-8")
    return PromptLibrary(folder / "prompts")


def test_every_shipped_strategy_tells_its_cost_and_every_prompt_but_the_task_has_one() -> None:
    assert all(s.note for s in SHIPPED)
    tasks = {"respond/label_task@1.0.0"}
    assert {i for i in PROMPTS.ids() if i.startswith("respond/")} - tasks == set(pinned(SHIPPED))


def test_what_a_strategy_needs_is_what_its_prompt_file_takes() -> None:
    found = {s.name: needs(s, PROMPTS.get(s.prompt)) for s in SHIPPED}
    assert found == {
        "label-only": {"labels"}, "rationale": {"labels"}, "codebook": {"labels", "descriptions"}, "gold-hinted": {"gold"},
        "imitate": {"exemplars"}, "rewritten-rationale": {"draft"}, "step-by-step": set(), "rewritten-steps": {"draft"},
        "concise": set(), "plain": set(),
    }  # fmt: skip


def test_shipped_strategies_the_data_cannot_serve_are_left_out_with_what_rewrites_them() -> None:
    kept, why = usable(SHIPPED, PROMPTS, has_gold=False, has_labels=False, explicit=False)
    assert [s.name for s in kept] == ["imitate", "step-by-step", "rewritten-steps", "concise", "plain"]
    assert len(why) == 5 and all(sentence.endswith(".") for sentence in why)
    assert "rewritten-rationale rewrites rationale, which is left out." in why
    assert usable(SHIPPED, PROMPTS, has_gold=True, has_labels=True, explicit=False) == (SHIPPED, [])
    kept, why = usable(SHIPPED, PROMPTS, has_gold=True, has_labels=True, has_descriptions=False, explicit=False)
    assert [s.name for s in SHIPPED if s not in kept] == ["codebook"] and "description" in why[0]


def test_ones_own_strategy_that_the_data_cannot_serve_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"gold-hinted needs gold.*--gold-column"):
        usable([BY_NAME["gold-hinted"]], PROMPTS, has_gold=False, has_labels=True, explicit=True)


def test_those_that_rewrite_come_after_what_they_rewrite() -> None:
    again = Strategy(name="twice", prompt=REWRITE, rewrites="once")
    once = Strategy(name="once", prompt=REWRITE, rewrites="first")
    first, last = Strategy(name="first", prompt=CONCISE), Strategy(name="last", prompt=CONCISE)
    assert [s.name for s in ordered([again, once, first, last])] == ["first", "last", "once", "twice"]
    assert ordered([once]) == [once]  # what it rewrites is not asked here


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    rows = (
        {"name": "short", "prompt": CONCISE, "model": "openai:m", "cost": 0.01},
        {"name": "mine", "prompt": CONCISE, "top_p": 0.9},
    )
    found = read_strategies(written(tmp_path, *rows), PROMPTS)
    assert [(s.name, s.model, s.temperature, s.cost, s.top_p) for s in found] == [
        ("short", "openai:m", 0.0, 0.01, 1.0), ("mine", "teacher", 0.0, None, 0.9),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"name": "a", "prompt": CONCISE, "temp": 1}], r"ours.yaml, strategy 1 \(a\).*temp.*keys name, prompt"),
        ([{"name": "a", "prompt": CONCISE, "temperature": 3}], r"strategy 1 \(a\).*temperature"),
        ([{"prompt": CONCISE}], r"strategy 1:.*name"),
        (["concise"], r"strategy 1:"),
        ([{"name": "a", "prompt": CONCISE}, {"name": "A", "prompt": CONCISE}], r"strategy 2 \(A\): name: another"),
        ([{"name": "(target)", "prompt": CONCISE}], r"name: .*letters, digits"),
        ([{"name": "../a", "prompt": CONCISE}], r"name: .*letters, digits"),
        ([{"name": "a", "prompt": "respond/consise@1.0.0"}], r"strategy 1 \(a\): prompt: no prompt .*respond/concise@1.0.0"),
        ([{"name": "a", "prompt": "concise"}], r"prompt: 'concise' is not a prompt id"),
        ([{"name": "a", "prompt": "annotate/explain@1.0.0"}], r"takes 'label', which no strategy has; variables are prompt"),
        (
            [{"name": "a", "prompt": CONCISE, "rewrites": "b"}, {"name": "b", "prompt": CONCISE}],
            r"takes no draft; leave `rewrites`",
        ),
        ([{"name": "a", "prompt": REWRITE}], r"takes a draft; name the strategy"),
        ([{"name": "a", "prompt": REWRITE, "rewrites": "b"}], r"rewrites: no strategy is called 'b'; there are: a"),
        (
            [{"name": "a", "prompt": REWRITE, "rewrites": "b"}, {"name": "b", "prompt": REWRITE, "rewrites": "a"}],
            r"strategy 1 \(a\): rewrites goes in a circle: a -> b -> a",
        ),
        ([{"name": "a", "prompt": CONCISE, "model": "gpt-5"}], r"strategy 1 \(a\): model is teacher, target or a model spec"),
        ([], r"no strategies in it"),
    ],
)
def test_what_is_refused_is_named_with_its_place(tmp_path: Path, rows: list[object], said: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){said}"):
        read_strategies(written(tmp_path, *rows), PROMPTS)


@pytest.mark.parametrize(
    ("text", "said"), [("a: [", "not valid YAML"), ("- a", "no strategies"), ("version: 1\nstrategy: []", "no strat")]
)
def test_files_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "ours.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_strategies(tmp_path / "ours.yaml")
    with pytest.raises(ConfigError, match="cannot read"):
        read_strategies(tmp_path / "none.yaml")


def test_an_unknown_head_and_another_version(tmp_path: Path) -> None:
    row = {"name": "a", "prompt": CONCISE}
    with pytest.raises(ConfigError, match="unknown key 'strategie'"):
        read_strategies(written(tmp_path, row, strategie=[]))
    with pytest.raises(ConfigError, match="version is not 1"):
        read_strategies(written(tmp_path, row, version=2))


def test_prompts_of_ones_own_have_the_request_and_only_what_is_known(tmp_path: Path) -> None:
    row = {"name": "a", "prompt": "own/way@1.0.0"}
    for number, (variables, body, said) in enumerate(
        [("{text: str}", "{{ text }}", "takes 'text'"), ("{gold: str}", "{{ gold }}", "never shows the request")]
    ):
        prompts = of_prompt(tmp_path / str(number), variables, body)
        with pytest.raises(ConfigError, match=said):
            read_strategies(written(tmp_path, row), prompts)
    prompts = of_prompt(tmp_path / "good", "{prompt: str, gold: str}", "{{ prompt }} {{ gold }}")
    (found,) = read_strategies(written(tmp_path, row), prompts)
    assert needs(found, prompts.get(found.prompt)) == {"gold"}
