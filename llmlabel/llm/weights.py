"""Tell two versions of a model folder apart without reading gigabytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

SAMPLES, SIZE = 64, 4096


def folder_weights(folder: Path) -> list[Path]:
    """The weight files of a model folder, sorted; none for a hub id."""
    return sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])


def revision(files: Iterable[Path]) -> str:
    """12 hex digits over name, size and 64 evenly spread samples of every file; "" without files.

    Samples, since a fine-tuned model has files of exactly the same names and sizes as its base.
    """
    digest, any_file = hashlib.blake2b(digest_size=6), False
    for file in files:
        size, any_file = file.stat().st_size, True
        digest.update(f"{file.name}:{size}|".encode())
        with file.open("rb") as f:
            for i in range(SAMPLES):
                f.seek(max(size - SIZE, 0) * i // (SAMPLES - 1))
                digest.update(f.read(SIZE))
    return digest.hexdigest() if any_file else ""
