"""Settings: where they come from, in which order, and that no key gets in."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmlabel.config import TaxonomyConfig, load_config
from llmlabel.errors import ConfigError

BASE = {"data": "env:", "out": "runs/x", "use_case": "why"}


def test_yaml_below_environment_below_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("seed: 1\nmax_labels: 7\nbatch_size: 50\nllm: openai:cheap\n")
    monkeypatch.setenv("LLMLABEL_MAX_LABELS", "8")
    monkeypatch.setenv("LLMLABEL_BATCH_SIZE", "60")
    config = load_config(TaxonomyConfig, file=file, options={**BASE, "batch_size": 70}, settings=["llm.update=openai:strong"])
    assert (config.seed, config.max_labels, config.batch_size) == (1, 8, 70)
    assert config.llm.spec("update") == "openai:strong"
    assert config.llm.spec("summarise") == "openai:cheap"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["max_labels=1"], "max_labels"),
        (["no_such=1"], "no_such"),
        (["llm.nobody=x"], "nobody"),
        (["seed"], "key=value"),
        (["use_case="], "use_case"),
        (["use_case=' '"], "needs a use case"),
    ],
)
def test_wrong_settings_are_named(settings: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_config(TaxonomyConfig, options=BASE, settings=settings)


def test_a_key_given_as_a_setting_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as error:
        load_config(TaxonomyConfig, options=BASE, settings=["api_key_env=sk-secretsecret"])
    assert "secretsecret" not in str(error.value)


def test_what_defines_a_run_leaves_out_urls_and_budget() -> None:
    a = load_config(TaxonomyConfig, options={**BASE, "llm": "m@http://one:1/v1", "budget": 1.0}, settings=[])
    b = load_config(TaxonomyConfig, options={**BASE, "llm": "m@http://two:2/v1", "concurrency": 3}, settings=[])
    c = load_config(TaxonomyConfig, options={**BASE, "llm": "n@http://two:2/v1"}, settings=[])
    assert a.definition() == b.definition() != c.definition()


@pytest.mark.parametrize(
    ("name", "value", "defines"),
    [("mask_pii", "regex", True), ("seed", 3, True), ("batch", True, False), ("store_text", False, False), ("rpm", 5, False),
     ("tpm", 5, False), ("concurrency", 5, False), ("timeout", 5, False), ("budget", 5, False), ("cache", "c", False),
     ("prices", {"m": {"input": 1.0}}, False)],
)  # fmt: skip
def test_what_defines_a_run(name: str, value: object, defines: bool) -> None:
    """What changes the requests does; how they are sent, paid and kept does not."""
    usual = {"data": "d", "out": "o", "use_case": "u"}
    changed = TaxonomyConfig.model_validate({**usual, name: value}).definition()
    assert (changed != TaxonomyConfig.model_validate(usual).definition()) is defines


def test_prices_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMLABEL_PRICES", "prices.yaml")
    found = load_config(TaxonomyConfig, options={"data": "d", "out": "o", "use_case": "u"}, settings=[])
    assert str(found.prices) == "prices.yaml"
