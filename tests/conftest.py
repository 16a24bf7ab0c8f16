"""Fixtures every kind of test shares."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # for `import fake_openai`

from fake_openai import FakeOpenAI

settings.register_profile("shared machine", deadline=None)  # a busy machine is no failure
settings.load_profile("shared machine")


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test uses the keys or the server of whoever runs it."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "LLMLABEL_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fake_server() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as server:
        yield server


@pytest.fixture(scope="session")
def smollm2_dir() -> Path:
    """SmolLM2-135M-Instruct as a folder (bf16 safetensors), made once from the packaged GGUF file and kept."""
    root = Path(os.environ.get("LLMLABEL_TEST_CACHE") or platformdirs.user_cache_dir("llmlabel-tests"))
    target = root / "smollm2-135m-instruct"
    if not (target / "model.safetensors").exists():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            made = _unpack_smollm2(Path(scratch) / "model")
            try:
                made.rename(target)
            except OSError:  # another test process was quicker
                assert (target / "model.safetensors").exists(), f"{target} is broken: remove it"
    return target


def _unpack_smollm2(into: Path) -> Path:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from llmlabel.llm.backends.embedded import place

    packaged = place("")
    where = {"pretrained_model_name_or_path": packaged.folder, "gguf_file": packaged.gguf}
    config = GgufConfig(dequantize=True)
    AutoTokenizer.from_pretrained(**where).save_pretrained(into)
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16, quantization_config=config)
    model.save_pretrained(into)
    return into
