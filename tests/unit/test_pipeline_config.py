"""What a pipeline's settings are checked for before anything is paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llmlabel.config import PipelineConfig


def config(**settings: Any) -> PipelineConfig:
    return PipelineConfig.model_validate({"data": "d", "out": "o", "use_case": "why", "target": "embedded", **settings})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"target": None}, "needs the model to train: --target"),
        ({"stages": ["align", "evaluate"]}, "the stage align needs sample before it"),
        ({"stages": ["taxonomy", "evaluate"]}, "evaluate needs sft or align"),
        ({"stages": ["annotate", "graph"]}, "name one of them"),
        ({"stages": []}, "name at least one"),
        ({"align": {"beta": -1}}, "the settings of align do not fit"),
        ({"sft": {"epoch": 3}}, "the settings of sft do not fit"),
        ({"taxonomy": {"out": "elsewhere"}}, "taxonomy: out cannot be set"),
        ({"use_case": ""}, "needs a use case"),
    ],
)
def test_what_does_not_fit_is_told_before_the_first_stage(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config(**settings)


def test_a_late_stage_that_is_not_wanted_is_not_looked_at() -> None:
    assert config(stages=["taxonomy"], target=None, align={"beta": -1}).stages == ["taxonomy"]


def test_a_stage_has_the_shared_settings_its_own_and_what_it_is_given() -> None:
    made = config(seed=7, text_column="body", llm="openai:x", align={"beta": 0.2}).stage("align", data="lists", out=Path("a"))
    assert (made.seed, made.text_column, made.llm.default, made.data, made.out) == (7, "text", "openai:x", "lists", Path("a"))
    assert made.model_dump()["beta"] == 0.2


def test_a_section_wins_over_what_all_stages_share() -> None:
    assert config(seed=7, sft={"seed": 1}).stage("sft", data="d", out=Path("o")).seed == 1


def test_forms_show_each_stages_own_settings() -> None:
    shown = PipelineConfig.model_json_schema()["properties"]
    for name, kind in PipelineConfig.KINDS.items():
        own = set(kind.model_fields) - set(PipelineConfig.model_fields)
        assert own <= shown[name]["properties"].keys() and "data" not in shown[name]["properties"], name
    assert shown["align"]["properties"]["beta"]["description"]
