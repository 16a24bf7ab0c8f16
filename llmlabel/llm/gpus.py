"""Which GPUs there are, how large a model is, and the vLLM flags that suit both."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30
GROWTH, USABLE = 1.2, 0.9  # weights need activations and a cache beside them; the driver and others take some of a GPU
CPU_CONTEXT = 4096
COMPACT = '{"backend": "xgrammar", "disable_any_whitespace": true}'  # "auto" refuses the second key
SPLITS = ("--tensor-parallel-size", "-tp", "--data-parallel-size", "-dp", "--pipeline-parallel-size", "-pp")


@dataclass(frozen=True)
class Size:
    """Of a model. `weights`: bytes, `heads`: attention heads, `context`: tokens; 0 where not known."""

    weights: int = 0
    heads: int = 0
    context: int = 0


def model_size(model: str) -> Size:
    """Of a folder, or of a hub id whose files are in the local Hugging Face cache; else nothing is known."""
    folder = Path(model) if Path(model).is_dir() else _cached(model)
    if folder is None:
        return Size()
    files = [f for f in folder.glob("*.safetensors") if not f.name.startswith("consolidated")] or list(folder.glob("*.bin"))
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = {**raw, **raw.get("text_config", {})}
        context = config.get("max_position_embeddings") or config.get("n_positions") or 0
        heads = config.get("num_attention_heads") or config.get("n_head") or 0
    except (OSError, ValueError, TypeError):
        heads = context = 0
    return Size(sum(f.stat().st_size for f in files), int(heads), int(context))


def _cached(model: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        file = try_to_load_from_cache(model, "config.json")
    except HFValidationError:
        return None
    return Path(file).parent if isinstance(file, str) else None


def find_gpus(env: Mapping[str, str]) -> list[int]:
    """Memory (bytes) of every NVIDIA GPU that CUDA_VISIBLE_DEVICES lets a process use; [] on a machine without."""
    command = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        rows = [(index.strip(), uuid.strip(), int(mib) << 20) for index, uuid, mib in csv.reader(text.splitlines())]
    except (OSError, subprocess.SubprocessError, ValueError):  # ValueError: a GPU that tells no size
        return []
    visible = env.get("CUDA_VISIBLE_DEVICES")
    return [memory for _, _, memory in rows] if visible is None else _chosen(visible, rows)


def _chosen(visible: str, rows: Sequence[tuple[str, str, int]]) -> list[int]:
    """As CUDA reads it: numbers or beginnings of ids; what comes after an unknown one does not count."""
    found: list[int] = []
    for name in filter(None, map(str.strip, visible.split(","))):
        if name.startswith("MIG-"):  # a slice of a GPU: nvidia-smi lists its size elsewhere, and CUDA uses one at most
            return [0]
        at = [m for index, uuid, m in rows if name == index or (name.startswith("GPU-") and uuid.startswith(name))]
        if len(at) != 1:
            break
        found += at
    return found


def split(gpus: Sequence[int], size: Size) -> tuple[int, int]:
    """(tensor-parallel, data-parallel) sizes for GPUs of these memories (bytes).

    The smallest power of two of GPUs that holds GROWTH times the weights in USABLE of their memory, as many copies of
    the model as there are such groups. Weights of unknown size, or too large, get the largest group. The attention
    heads must divide evenly.
    """
    groups = [1 << i for i in range(len(gpus).bit_length()) if size.heads % (1 << i) == 0]
    fit = [n for n in groups if size.weights and size.weights * GROWTH <= n * min(gpus) * USABLE]
    tensor = fit[0] if fit else groups[-1]
    return tensor, len(gpus) // tensor


def cpu_cache_gib(available: int, size: Size) -> int:
    """GiB for the key-value cache: a quarter of the free memory (bytes) that the weights leave, 1 to 16."""
    return max(1, min(16, (available - int(size.weights * GROWTH)) // (4 * GIB)))


def available_memory() -> int:
    """Bytes of memory that can be had, 8 GiB if the system does not tell; a container's limit counts."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return 8 * GIB
    cgroup = Path("/sys/fs/cgroup")
    try:
        return min(free, int((cgroup / "memory.max").read_text()) - int((cgroup / "memory.current").read_text()))
    except (OSError, ValueError):  # no limit
        return free


def flags(gpus: Sequence[int], size: Size, name: str, user: Sequence[str]) -> list[str]:
    """vLLM's flags for these GPUs ([]: CPU), then the user's, which win over any of ours. `name`: what to serve it as."""
    ours: dict[str, str | None] = {"--served-model-name": name}
    ours |= {"--logprobs-mode": "raw_logprobs", "--structured-outputs-config": COMPACT}
    if not gpus:
        ours |= {"--max-model-len": str(min(CPU_CONTEXT, size.context or CPU_CONTEXT)), "--enable-prefix-caching": None}
    elif len(gpus) > 1:
        tensor, data = split(gpus, size)
        ours |= {"--tensor-parallel-size": str(tensor), "--data-parallel-size": str(data)}
    given = {arg.split("=")[0].split(".")[0].replace("_", "-") for arg in user if arg.startswith("-")}
    if given & set(SPLITS):
        given |= set(SPLITS)  # half of ours beside half of theirs would ask for more GPUs than there are
    pairs = [[name] if value is None else [name, value] for name, value in ours.items() if name not in given]
    return [*(word for pair in pairs for word in pair), *user]
