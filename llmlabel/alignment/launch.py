"""A training started by a launcher, such as `accelerate launch --num_processes 4`, on the files the command leaves for it.

`python -m llmlabel.alignment.launch FOLDER` is what the launcher runs, once in each process.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmlabel.alignment import sft, train
from llmlabel.alignment.finish import Trained
from llmlabel.config import AlignConfig, SftConfig
from llmlabel.errors import BackendError, ConfigError
from llmlabel.lists import RankedList, read_lists, write_lists
from llmlabel.runs import read_json, write_json

KINDS: dict[type, str] = {AlignConfig: "align", SftConfig: "sft"}
LAST_LINES = 15  # of what the launcher says, told where it fails


def launch(
    launcher: str, lists: Sequence[RankedList], held_out: Sequence[RankedList], config: AlignConfig | SftConfig,
    folder: Path, **more: Any,
) -> Trained:  # fmt: skip
    """As `train.train` or, by the kind of the settings, `sft.train`, in processes of their own.

    What they say goes to `FOLDER/launch/out.txt`.

    Args:
        launcher: a command that runs `-m MODULE FOLDER`. more: `policy, reference, cache, card` of `train.train`.
    Raises: ConfigError where there is no such command; BackendError with its last lines where it fails; else as `train.train`.
    """
    own = folder / "launch"
    write_lists(own / "lists.parquet", lists)
    if held_out:
        write_lists(own / "held_out.parquet", held_out)
    given = {name: str(value) if isinstance(value, Path) else value for name, value in more.items()}
    write_json(own / "settings.json", {"kind": KINDS[type(config)], "config": config.model_dump(mode="json"), **given})
    command = [*shlex.split(launcher), "-m", "llmlabel.alignment.launch", str(folder)]
    with (own / "out.txt").open("wb") as out:
        try:
            code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
        except OSError as e:
            raise ConfigError(f"launcher {command[0]!r} cannot be started: {e.strerror}") from e
    if code:
        last = (own / "out.txt").read_text(errors="replace").splitlines()[-LAST_LINES:]
        raise BackendError(f"{launcher} ended with code {code}; see {own / 'out.txt'}:\n" + "\n".join(last))
    return _train(folder)


def _train(folder: Path) -> Trained:
    """The training whose files are in a folder; one that is done is read back."""
    own = folder / "launch"
    told: Mapping[str, Any] = read_json(own / "settings.json")
    held_out = read_lists(str(own / "held_out.parquet")) if (own / "held_out.parquet").is_file() else []
    lists = read_lists(str(own / "lists.parquet"))
    more = {name: value for name, value in told.items() if name not in ("kind", "config")}
    if told["kind"] == "sft":
        return sft.train(lists, held_out, SftConfig.model_validate(told["config"]), folder, **more)
    more["cache"] = Path(more["cache"]) if more.get("cache") else None
    return train.train(lists, held_out, AlignConfig.model_validate(told["config"]), folder, **more)


if __name__ == "__main__":
    _train(Path(sys.argv[1]))
