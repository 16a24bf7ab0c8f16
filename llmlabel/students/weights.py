"""Arrays and settings of a small model on disk: safetensors and JSON, nothing that can run code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmlabel.errors import DataError

FloatArray = NDArray[np.floating[Any]]


def save(folder: Path, arrays: Mapping[str, FloatArray], settings: Mapping[str, Any]) -> None:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in arrays.items()}, folder / "weights.safetensors")
    (folder / "weights.json").write_text(json.dumps(settings), encoding="utf-8")


def load(folder: Path) -> tuple[dict[str, FloatArray], dict[str, Any]]:
    """Raises: DataError when a file is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(folder / "weights.safetensors")), json.loads((folder / "weights.json").read_text())
    except (OSError, SafetensorError, ValueError) as e:
        raise DataError(f"cannot read the classifier in {folder}: {e}") from e


def softmax(logits: FloatArray) -> FloatArray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
