"""The model that will be trained, as a model spec that answers and scores, and as weights to load."""

from __future__ import annotations

from pathlib import Path

from llmlabel.errors import ConfigError
from llmlabel.llm.specs import Spec, backend_names, parse_spec


def target_spec(target: str) -> Spec:
    """The spec of a target: itself if it is one, else a folder or hub id on the backend in this process.

    Raises: ConfigError for a folder that is not there.
    """
    kind = target.partition(":")[0]
    if "@http" in target or kind in backend_names() or ":" in target:
        return parse_spec(target)
    folder = Path(target).expanduser()
    if not folder.is_dir() and (target.startswith((".", "/", "~")) or target.count("/") > 1):
        raise ConfigError(f"--target {target}: no such folder")
    return Spec("embedded", str(folder.resolve()) if folder.is_dir() else target)


def weights_of(target: str) -> str:
    """Where the weights of a target are: a folder, a hub id, or "" for the packaged model.

    Raises: ConfigError for a target that is only reached through a server.
    """
    spec = target_spec(target)
    if spec.kind not in ("embedded", "vllm"):
        raise ConfigError(f"--target {target}: this needs its weights, so name a folder or a hub id")
    return spec.model
