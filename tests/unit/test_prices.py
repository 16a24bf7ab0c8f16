"""Prices: from the user's table, else the packaged one; nonsense is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlabel.errors import ConfigError
from llmlabel.llm.backends.openai import OpenAIBackend
from llmlabel.llm.backends.scripted import ScriptedBackend
from llmlabel.llm.prices import Price, Prices, Rates
from llmlabel.llm.specs import parse_spec


def at(model: str, url: str = "https://api.openai.com/v1") -> OpenAIBackend:
    return OpenAIBackend(model, url, "key", hosted=True, timeout=1.0)


def table(folder: Path, text: str) -> Path:
    (folder / "prices.yaml").write_text(text)
    return folder / "prices.yaml"


GOOD = "date: 2026-11-20\nprices:\n  m: {input: 0.15, output: 0.6, cached_input: 0.075, batch: 0.4}\n"


class TestOwn:
    def test_a_file_goes_before_the_package_and_its_date_is_told(self, tmp_path: Path) -> None:
        prices = Prices(table(tmp_path, GOOD.replace(" m:", " gpt-4.1-mini:")))
        assert prices.of(at("gpt-4.1-mini")).nano(1_000_000, 0) == 150_000_000
        assert prices.version.startswith("prices.yaml of 2026-11-20, genai-prices ")

    def test_exact_billionths_rounded_up(self, tmp_path: Path) -> None:
        price = Prices(table(tmp_path, GOOD)).of(at("m"))
        assert price.nano(1, 0) == 150
        assert price.nano(1, 0, 1) == 75
        assert price.nano(0, 1) == 600
        assert price.nano(3, 1, batch=True) == 420
        assert price.nano(1, 0, 1, batch=True) == 30
        assert Price("m", Rates(input=0.0375)).nano(1, 0) == 38

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("prices: [", "not valid YAML"),
            ("prices: {m: {input: 1}}", "date"),
            ("date: 2026-11-20\nprices: {m: {input: -1}}", "prices.m.input"),
            ("date: 2026-11-20\nprices: {m: {input: .nan}}", "prices.m.input"),
            ("date: 2026-11-20\nprices: {m: {input: .inf}}", "prices.m.input"),
            ("date: 2026-11-20\nprices: {m: {input: cheap}}", "prices.m.input"),
            ("date: 2026-11-20\nprices: {m: {inputs: 1}}", "prices.m"),
            ("date: 2026-11-20\nprices: {m: 3}", "prices.m"),
            ("date: soon\nprices: {}", "date"),
            ("- 1", "price table"),
            ("", "price table"),
        ],
    )
    def test_nonsense_is_named(self, text: str, named: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as error:
            Prices(table(tmp_path, text))
        assert named in str(error.value)
        assert "prices.yaml" in str(error.value)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot read the price table"):
            Prices(tmp_path / "none.yaml")

    def test_settings_are_checked_too(self) -> None:
        with pytest.raises(ConfigError, match=r"m\.input"):
            Prices({"m": {"input": -1.0}})


class TestPackaged:
    def test_the_provider_is_told_by_its_url(self) -> None:
        assert Prices().of(at("gpt-4.1-mini")).known
        assert not Prices().of(at("gpt-4.1-mini", "http://127.0.0.1:8000/v1")).known
        assert Prices().of_spec(parse_spec("openai:gpt-4.1-mini")).known
        assert not Prices().of_spec(parse_spec("gpt-4.1-mini@http://127.0.0.1:8000/v1")).known

    def test_unknown_models_name_the_missing_line(self) -> None:
        price = Prices().of(at("no-such-model"))
        assert not price.known
        assert "  no-such-model: {input:" in price.missing
        assert price.nano(10**6, 10**6) == 0

    def test_what_runs_here_is_free(self) -> None:
        price = Prices().of(ScriptedBackend(lambda r: "x", "gpt-4.1-mini"))
        assert price.known
        assert price.nano(10**6, 10**6) == 0


RATE = st.floats(0, 1000, allow_nan=False)


@given(st.integers(0, 10**6), st.integers(0, 10**6), RATE, RATE)
def test_more_tokens_never_cost_less(read: int, wrote: int, dear: float, cheap: float) -> None:
    price = Price("m", Rates(input=dear, output=cheap))
    assert price.nano(read, wrote) <= price.nano(read + 1, wrote) <= price.nano(read + 1, wrote + 1)
    assert price.nano(read, wrote, batch=True) <= price.nano(read, wrote)
