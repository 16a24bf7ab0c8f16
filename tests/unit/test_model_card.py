"""The model card: what it tells, and that nobody's text becomes markup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from llmlabel.alignment.model_card import model_card
from llmlabel.alignment.sft_card import sft_card
from llmlabel.config import AlignConfig, SftConfig

FIRST = {"lists": 4, "loss": 0.7, "ndcg": 0.61, "ndcg_interval": [0.5, 0.7], "log_ratio": 0.0}
TOLD: dict[str, Any] = {
    "steps": 12, "seconds": 3.5, "first": FIRST, "last": FIRST | {"ndcg": 0.72}, "change": FIRST | {"ndcg": 0.11},
    "counts": {"lists": 40, "answers_cut": 3},
    "facts": {
        "policy": "tiny", "revision": "abc", "precision": "fp32", "path": "kv", "path_why": "so", "learning_rate": 5e-6,
        "parameters": 10, "answers_per_list": {"4": 40}, "versions": {"torch": "2"},
    },
}  # fmt: skip
WHAT = {"lists": "0123", "held_out": "4567"}


def made(card: dict[str, Any] | None = None, told: dict[str, Any] = TOLD, **sets: Any) -> str:
    return model_card(AlignConfig(data="-", out=Path("o"), **sets), WHAT, told, card or {})


def test_what_it_tells() -> None:
    text = made({"judge": {"model": "gpt-x", "prompt hash": "77"}, "data": "a.parquet"}, policy="org/model")
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == "transformers" and front["base_model"] == "org/model" and "lambda" in front["tags"]
    page = MarkdownIt().enable("table").render(text.partition("---\n\n")[2])
    for piece in (
        "<td>judge, model</td>", "<td>gpt-x</td>", "<td>0123</td>", "<td>0.61 (0.5 to 0.7)</td>", "<td>0.72 (0.5 to 0.7)</td>",
        "<td>convention</td>", "<td>paper</td>", "Reproduction status", "4 (40 lists)", "<td>beta</td>",
    ):  # fmt: skip
        assert piece in page, piece


def test_without_held_out_lists() -> None:
    assert "nothing was measured" in made(told=TOLD | {"first": {}, "last": {}, "change": {}})


@settings(max_examples=40)
@given(st.text(alphabet=st.sampled_from("ab<>|`*_[](){}#!&\\\n-~:/@$'\"\r\t"), max_size=60))
def test_no_text_becomes_markup(text: str) -> None:
    def tags(value: str) -> list[str]:
        tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(
            made({"judge": value, value or "x": "y"}).partition("---\n\n")[2]
        )
        return [t.type for token in tokens for t in [token, *(token.children or [])] if t.type != "text"]

    plain = [t for t in tags("word") if t not in ("text_special",)]
    assert [t for t in tags(text) if t not in ("text_special",)] == plain


def test_the_card_of_a_fine_tuning() -> None:
    look = {"rows": 9, "prompts": 6, "loss": 1.5, "loss_interval": [1.2, 1.8]}
    told = TOLD | {"first": look, "last": look | {"loss": 1.1}, "change": look | {"loss": -0.4}, "counts": {"rows": 80}}
    config = SftConfig.model_validate({"data": "-", "out": Path("o"), "policy": "org/model", "lora": True})
    text = sft_card(config, WHAT, told, {"data": "a|b<i>.parquet"})
    front = yaml.safe_load(text.split("---")[1])
    assert front["base_model"] == "org/model" and front["tags"] == ["llmlabel", "sft", "lora"]
    page = MarkdownIt().enable("table").render(text.partition("---\n\n")[2])
    for piece in (
        "<td>a|b&lt;i&gt;.parquet</td>", "<td>1.5 (1.2 to 1.8)</td>", "<td>1.1 (1.2 to 1.8)</td>", "<td>-0.4 (1.2 to 1.8)</td>",
        "9 held-out rows of 6 prompts", "<td>80</td>", "<td>LoRA, rank 16, alpha 32</td>", "<td>rows_per_step</td>",
    ):  # fmt: skip
        assert piece in page, piece
    assert "nothing was measured" in sft_card(config, WHAT, told | {"first": {}, "last": {}, "change": {}}, {})
