"""How GPUs are found and shared out, and which flags vLLM gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlabel.llm import gpus
from llmlabel.llm.gpus import GIB, Size

BF16_8B, BF16_70B = Size(16 * GIB, 32), Size(141 * GIB, 64)


class TestSplit:
    @pytest.mark.parametrize(
        ("cards", "each", "size", "expected"),
        [
            (1, 24, BF16_8B, (1, 1)),
            (4, 24, BF16_8B, (1, 4)),
            (8, 80, BF16_70B, (4, 2)),  # 169 GiB with growth: two cards have 144, four have 288
            (2, 141, BF16_70B, (2, 1)),
            (3, 16, BF16_8B, (2, 1)),
            (8, 24, BF16_70B, (8, 1)),
            (4, 24, BF16_70B, (4, 1)),  # too large: all of them, and vLLM says what it thinks
            (4, 80, Size(), (4, 1)),  # size unknown
            (4, 24, Size(30 * GIB, 9), (1, 4)),  # nine heads cannot be halved
            (6, 24, Size(30 * GIB, 12), (2, 3)),
        ],
    )
    def test_examples(self, cards: int, each: int, size: Size, expected: tuple[int, int]) -> None:
        assert gpus.split([each * GIB] * cards, size) == expected

    def test_the_smallest_card_counts(self) -> None:
        assert gpus.split([80 * GIB, 16 * GIB], BF16_8B) == (2, 1)

    @given(st.integers(1, 16), st.integers(8, 192), st.integers(1, 400), st.sampled_from([0, 9, 12, 32, 64]))
    def test_properties(self, cards: int, each: int, weights: int, heads: int) -> None:
        tensor, data = gpus.split([each * GIB] * cards, Size(weights * GIB, heads))
        assert tensor & (tensor - 1) == 0, "a power of two"
        assert heads % tensor == 0
        assert 1 <= tensor * data <= cards < tensor * (data + 1)
        if tensor > 1:  # half as many would not have done
            assert weights * 1.2 > tensor / 2 * each * 0.9


SMI = """#!/bin/sh
cat <<'END'
0, GPU-aaaa1111, 24576
1, GPU-bbbb2222, 24576
2, GPU-bbbc3333, 81920
END
"""


class TestFindGpus:
    @pytest.fixture(autouse=True)
    def smi(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(SMI)
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        return tool

    @pytest.mark.parametrize(
        ("visible", "expected"),
        [
            (None, [24, 24, 80]),
            ("", []),
            ("-1", []),
            ("2", [80]),
            ("2,0", [80, 24]),
            ("0,-1,2", [24]),
            ("0, 7, 2", [24]),
            ("GPU-bbbc", [80]),
            ("GPU-bbb", []),  # two begin like that
            ("GPU-aaaa1111,GPU-bbbb2222", [24, 24]),
            ("MIG-1234", [0]),
        ],
    )
    def test_what_cuda_shows(self, visible: str | None, expected: list[int]) -> None:
        env = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        assert gpus.find_gpus(env) == [n * GIB for n in expected]

    @pytest.mark.parametrize("answer", ["exit 9", "echo 'No devices were found'", "echo '0, GPU-a, [N/A]'"])
    def test_none(self, answer: str, smi: Path) -> None:
        smi.write_text(f"#!/bin/sh\n{answer}\n")
        assert gpus.find_gpus({}) == []

    def test_no_tool(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        assert gpus.find_gpus({}) == []


class TestFlags:
    def test_on_a_cpu(self) -> None:
        words = gpus.flags([], Size(), "m", [])
        assert words[words.index("--max-model-len") + 1] == "4096"
        assert "--enable-prefix-caching" in words
        assert json.loads(words[words.index("--structured-outputs-config") + 1])["disable_any_whitespace"] is True
        assert not {"--tensor-parallel-size", "--data-parallel-size"} & set(words)

    def test_a_model_with_a_short_context(self) -> None:
        words = gpus.flags([], Size(context=1024), "m", [])
        assert words[words.index("--max-model-len") + 1] == "1024"

    def test_on_one_gpu(self) -> None:
        words = gpus.flags([80 * GIB], BF16_8B, "m", [])
        assert "--max-model-len" not in words
        assert "--tensor-parallel-size" not in words

    def test_on_many(self) -> None:
        words = gpus.flags([80 * GIB] * 8, BF16_70B, "m", [])
        assert words[words.index("--tensor-parallel-size") + 1] == "4"
        assert words[words.index("--data-parallel-size") + 1] == "2"

    @pytest.mark.parametrize("user", [["-tp", "2"], ["--pipeline-parallel-size=2"], ["--data_parallel_size", "8"]])
    def test_who_splits_the_gpus_himself_splits_all(self, user: list[str]) -> None:
        words = gpus.flags([80 * GIB] * 8, BF16_70B, "m", user)
        assert words[-len(user) :] == user
        assert not {"--tensor-parallel-size", "--data-parallel-size"} & set(words[: -len(user)])

    @pytest.mark.parametrize(
        "user",
        [
            ["--max-model-len", "512"],
            ["--structured-outputs-config.backend=guidance"],
            ["--logprobs-mode=processed_logprobs"],
            ["--served-model-name", "n"],
        ],
    )
    def test_the_users_flag_replaces_ours(self, user: list[str]) -> None:
        words = gpus.flags([], Size(), "m", user)
        assert words[-len(user) :] == user
        assert user[0].split("=")[0].split(".")[0] not in words[: -len(user)]


class TestSize:
    def test_of_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"num_attention_heads": 9, "max_position_embeddings": 8192}')
        for name, size in (("a-1.safetensors", 10), ("a-2.safetensors", 5), ("consolidated.safetensors", 15), ("a.bin", 15)):
            (tmp_path / name).write_bytes(b"x" * size)
        assert gpus.model_size(str(tmp_path)) == Size(15, 9, 8192)

    def test_of_a_model_that_reads_more_than_text(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"text_config": {"num_attention_heads": 16, "max_position_embeddings": 99}}')
        assert gpus.model_size(str(tmp_path)) == Size(0, 16, 99)

    @pytest.mark.parametrize("config", ["", "[]", "{}", "\x00", '{"text_config": 3}'])
    def test_nothing_is_known(self, config: str, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(config)
        assert gpus.model_size(str(tmp_path)) == Size()

    def test_of_a_hub_model(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What lies in the local cache counts; nothing is downloaded."""
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        assert gpus.model_size("org/model") == Size()
        snapshot = tmp_path / "models--org--model" / "snapshots" / "c0ffee"
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text('{"num_attention_heads": 4}')
        (snapshot / "model.safetensors").write_bytes(b"x" * 7)
        (tmp_path / "models--org--model" / "refs").mkdir()
        (tmp_path / "models--org--model" / "refs" / "main").write_text("c0ffee")
        assert gpus.model_size("org/model") == Size(7, 4, 0)
        assert gpus.model_size("no folder: no id") == Size()


@pytest.mark.parametrize(("free", "weights", "expected"), [(1, 0, 1), (2, 5, 1), (22, 0, 5), (22, 3, 4), (500, 16, 16)])
def test_the_cache_takes_a_quarter_of_what_is_left(free: int, weights: int, expected: int) -> None:
    assert gpus.cpu_cache_gib(free * GIB, Size(weights * GIB)) == expected


def test_there_is_some_memory() -> None:
    assert gpus.available_memory() > GIB // 4
