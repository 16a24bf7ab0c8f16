"""What tests/contract/test_sft.py starts and kills: one fine-tuning of a tiny policy, on one thread.

python sft_driver.py POLICY FOLDER SETTINGS(json)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from llmlabel.alignment.finish import Trained
from llmlabel.alignment.sft import train
from llmlabel.config import SftConfig
from llmlabel.lists import RankedList

ANSWERS = ("yes", "no, it is not", "perhaps")


def rows(count: int, first: int = 0) -> list[RankedList]:
    """Questions whose answer a model of bytes can learn; every third has the same prompt as the one before."""
    return [RankedList(f"q{n}", f"Is {n - (n % 3 == 2)} odd?", (ANSWERS[n % 3 == 1],)) for n in range(first, first + count)]


def config(policy: str, folder: Path, **settings: Any) -> SftConfig:
    given = {"data": "-", "out": folder, "policy": policy, "learning_rate": 0.01, "rows_per_step": 4, "rows_at_once": 4}
    return SftConfig.model_validate(given | settings)


def tuned(policy: str, folder: Path, on_step: Any = None, count: int = 24, **settings: Any) -> Trained:
    return train(rows(count), rows(9, 100), config(policy, folder, **settings), folder, on_step=on_step)


def main(policy: str, folder: str, settings: str) -> None:
    torch.set_num_threads(1)
    tuned(policy, Path(folder), lambda done, of: print(done, of, flush=True), **json.loads(settings))


if __name__ == "__main__":
    main(*sys.argv[1:])
