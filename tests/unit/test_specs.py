"""Model specs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlabel.errors import ConfigError
from llmlabel.llm import connect
from llmlabel.llm.specs import DEFAULT_HOSTED, Spec, backend_names, parse_spec


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("embedded", Spec("embedded", "")),
        ("embedded:/models/a b", Spec("embedded", "/models/a b")),
        ("embedded:org/model-1.5", Spec("embedded", "org/model-1.5")),
        ("openai:gpt-4.1-mini", Spec("openai", "gpt-4.1-mini")),
        ("openai:ft:gpt-4.1:me::1", Spec("openai", "ft:gpt-4.1:me::1")),
        ("vllm:org/m", Spec("vllm", "org/m")),
        ("scripted:a.b:c", Spec("scripted", "a.b:c")),
        ("recorded:answers.jsonl", Spec("recorded", "answers.jsonl")),
        ("m@http://h:1/v1", Spec("openai", "m", ("http://h:1/v1",))),
        ("m@http://h:1/v1/", Spec("openai", "m", ("http://h:1/v1",))),
        ("a@b@https://h/v1", Spec("openai", "a@b", ("https://h/v1",))),
        ("m@http://h:1/v1|http://h:2/v1", Spec("openai", "m", ("http://h:1/v1", "http://h:2/v1"))),
        ("@http://h:1/v1", Spec("openai", "", ("http://h:1/v1",))),
        ("my_package.backend:arg", Spec("my_package.backend", "arg")),
    ],
)
def test_forms(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec
    assert parse_spec(str(spec)) == spec


@given(st.sampled_from(["embedded", "openai", "vllm"]), st.text(min_size=1).filter(lambda t: "@http" not in t))
def test_what_is_written_is_read_back(kind: str, model: str) -> None:
    assert parse_spec(str(Spec(kind, model))) == Spec(kind, model)


@pytest.mark.parametrize("text", ["opnai:gpt", "gpt-4.1-mini", "gpt4", "m@ftp://h", ":x", "Embedded"])
def test_a_wrong_kind_is_answered_with_those_there_are(text: str) -> None:
    with pytest.raises(ConfigError, match="Kinds: embedded, openai, recorded, scripted, vllm"):
        parse_spec(text)


@pytest.mark.parametrize("kind", ["vllm", "recorded", "scripted"])
def test_kinds_that_need_a_name_say_so(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"{kind}:SOMETHING"):
        parse_spec(kind)


def test_the_names_are_those_of_the_files() -> None:
    assert backend_names() == ["embedded", "openai", "recorded", "scripted", "vllm"]


@pytest.mark.parametrize("empty", [None, ""])
def test_without_a_spec_a_key_or_a_url_decides(empty: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_spec(empty) == Spec("embedded", "")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert parse_spec(empty) == Spec("openai", DEFAULT_HOSTED)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert parse_spec(empty) == Spec("openai", "")


class TestConnect:
    def test_a_hosted_model_needs_a_key(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
            connect("openai:gpt-4.1-mini", cache=tmp_path)

    def test_a_module_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot import 'no_such_package'"):
            connect("no_such_package.backend", cache=tmp_path)

    def test_a_module_that_is_no_backend(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="is no backend"):
            connect("llmlabel.errors", cache=tmp_path)

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("scripted:json", "package.module:function"),
            ("scripted:no_such_module:f", "no_such_module"),
            ("scripted:json:no_such", "no_such"),
            ("scripted:json:__doc__", "not a function"),
            ("recorded:/no/such/file", "to record"),
            ("vllm:/no/such/folder", "config.json"),
        ],
    )
    def test_what_cannot_be_reached_is_a_config_error(self, spec: str, message: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=message):
            connect(spec, cache=tmp_path)

    @pytest.mark.parametrize(("python", "message"), [("/no/such/python", "path of a Python"), (None, "pip install")])
    def test_vllm_that_is_not_installed(
        self, python: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bare = tmp_path / "python"
        bare.write_text("#!/bin/sh\nexit 1\n")
        bare.chmod(0o755)
        monkeypatch.setenv("LLMLABEL_VLLM_PYTHON", python or str(bare))
        with pytest.raises(ConfigError, match=message):
            connect("vllm:org/model", cache=tmp_path)
