"""What is deployed, and settings as deployments hand them over: no server is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from llmlabel.flows import FLOWS
from llmlabel.flows.annotate import annotate
from llmlabel.flows.deployed.deployments import Deployment, entrypoint, load, read_deployments
from llmlabel.flows.running.configured import typed
from llmlabel.flows.running.limits import hosts

from llmlabel import config as settings
from llmlabel.config import AnnotateConfig, TaxonomyConfig
from llmlabel.errors import ConfigError

PLAIN = {"data": "a.parquet", "out": "run", "taxonomy": "labels.yaml"}


def test_prefect_yaml_names_the_same_flows() -> None:
    file = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())
    found = {d["name"]: d["entrypoint"].replace(":", ".") for d in file["deployments"]}
    assert found == {one.name: entrypoint(one.flow) for one in read_deployments(None)}
    assert list(found) == list(FLOWS)
    for one in file["deployments"]:
        assert one["tags"] == ["llmlabel"] and one["concurrency_limit"]["limit"] == 1
        (step,) = file["pull"]  # an entry point with a colon is looked for in files where there is no pull step
        assert "set_working_directory" in next(iter(step))


@pytest.mark.parametrize("flow", FLOWS)
def test_a_form_says_all_there_is_to_a_setting(flow: str) -> None:
    """Every setting has a description, and the flow's own come before what all flows share."""
    made = load(flow)
    kind = getattr(settings, FLOWS[flow][1])
    schema = made.parameters.model_dump_for_openapi()
    shown = schema["definitions"][kind.__name__]["properties"]
    assert set(shown) == set(kind.model_fields)
    assert [name for name, field in shown.items() if not field.get("description")] == []
    shared = list(settings.CommonConfig.model_fields)
    last = [name for name in shared[shared.index("llm") + 1 :] if name in shown]
    assert list(shown)[len(shown) - len(last) :] == last
    assert schema["definitions"][kind.__name__]["additionalProperties"] is False
    assert made.fn.__doc__


def test_null_in_a_form_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMLABEL_LLM", "openai:gpt-4.1")
    monkeypatch.setenv("LLMLABEL_SEED", "7")
    found = typed(AnnotateConfig, {**PLAIN, "llm": {"default": None, "judge": "embedded"}, "seed": None, "budget": None})
    assert (found.llm.default, found.llm.judge, found.seed) == ("openai:gpt-4.1", "embedded", 7)
    assert typed(AnnotateConfig, {**PLAIN, "seed": 1}).seed == 1
    assert typed(AnnotateConfig, found) is found


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"config": {**PLAIN, "few_shot": "sk-secret"}}, "few_shot: Input should be a valid integer"),
        ({"config": {**PLAIN, "few_shots": "sk-secret"}}, "few_shots: Extra inputs"),
        ({"config": ["sk-secret"]}, "expected settings by name"),
        ({"config": PLAIN, "more": "sk-secret"}, "one parameter"),
        ({}, "one parameter"),
    ],
)
def test_wrong_settings_are_named_without_their_value(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as said:
        annotate.validate_parameters(parameters)
    assert "sk-secret" not in str(said.value)


def test_a_time_limit_is_of_one_run() -> None:
    annotate.validate_parameters({"config": {**PLAIN, "time_limit": 0.5}})
    assert annotate.timeout_seconds == 1800
    annotate.validate_parameters({"config": PLAIN})
    assert annotate.timeout_seconds is None


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("- flow: taxonom", "there are taxonomy, annotate"),
        ("- {flow: taxonomy, cron: often}", "Invalid cron"),
        ("- {flow: taxonomy, cron: '0 6 * * *'}", "data: Field required"),
        ("- {flow: taxonomy, cron: '0 6 * * *', interval: 5, config: {}}", "name one of them"),
        ("- {flow: taxonomy, interval: 0}", "at least a second"),
        ("- {flow: taxonomy, config: {max_labels: 1}}", "max_labels: Input should be greater"),
        ("- {flow: taxonomy, config: {llm: {default: 3}}}", "llm.default"),
        ("- {flow: taxonomy, timezone: Mars}", "is no time zone"),
        ("- {flow: taxonomy, when: now}", "when: Extra"),
        ("- {flow: taxonomy, limit: 0}", "limit"),
        ("- {flow: taxonomy}\n- {flow: taxonomy}", "is there twice"),
        ("flow: taxonomy", "expected a list"),
        ("", "expected a list"),
        ("- {", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_told_before_anything_is_served(tmp_path: Path, entry: str, told: str) -> None:
    (tmp_path / "deployments.yaml").write_text(entry)
    with pytest.raises(ConfigError, match=told):
        read_deployments(tmp_path / "deployments.yaml")


def test_what_prefect_is_told(tmp_path: Path) -> None:
    """A schedule that is gone and a pool that is left are said, so that an update takes them away."""
    scheduled = Deployment.model_validate(
        {"flow": "annotate", "cron": "0 6 * * *", "timezone": "Europe/Berlin", "config": {**PLAIN, "llm": "embedded"}}
    ).made("pool", tmp_path)
    assert scheduled.entrypoint == "llmlabel.flows.annotate.annotate"
    assert scheduled.parameters == {"config": {**PLAIN, "llm": {"default": "embedded"}}}
    assert scheduled.concurrency_options.collision_strategy == "CANCEL_NEW"
    assert scheduled.schedules[0].schedule.timezone == "Europe/Berlin"
    by_hand = Deployment.model_validate({"flow": "annotate"}).made()
    assert by_hand.concurrency_options.collision_strategy == "ENQUEUE"
    assert {"schedules", "work_pool_name", "entrypoint"} <= by_hand.model_fields_set
    assert by_hand.schedules == [] and by_hand.enforce_parameter_schema


def test_hosts_of_all_models_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(**more: object) -> set[str]:
        return hosts(TaxonomyConfig.model_validate({"data": "a", "out": "b", "use_case": "openai: why?", **more}))

    assert of() == set()
    monkeypatch.setenv("OPENAI_API_KEY", "-")
    assert of() == {"api.openai.com"}
    assert of(llm="m@http://one:8000/v1|http://two/v1") == {"one:8000", "two"}
    assert of(llm={"default": "embedded", "judge": "openai:gpt-4.1"}) == {"api.openai.com"}
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gate.example/v1")
    assert of(llm={"default": "embedded", "judge": "openai:gpt-4.1"}) == {"gate.example"}
    more = AnnotateConfig.model_validate({**PLAIN, "llm": "embedded", "annotators": ["descent:openai:m", "n@https://three/v1"]})
    assert hosts(more) == {"gate.example", "three"}
