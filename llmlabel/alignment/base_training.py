"""What trainings in a folder share: looks at held-out data, checkpoints to go on from, and the model that is left."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from accelerate import PartialState
from transformers import PrinterCallback

from llmlabel.alignment.measures import Looks, Row
from llmlabel.alignment.policy import Policy
from llmlabel.alignment.watch import LogLines, Marks, Rhythm, last_whole, step_of
from llmlabel.config import TrainingConfig
from llmlabel.errors import ConfigError
from llmlabel.runs import read_json, write_json

FIRST_LOOK = "first_look.json"


class BaseTraining(ABC):
    """One training in a folder.

    After `steps` the model is `trainer.model`, and `looks` has the measures of the held-out data. The trainer (of transformers)
    has `rows`, the measures of the last look; `evaluate()` takes one, and `measure(items)` tells it.

    A checkpoint is read back by transformers, which takes weights from safetensors and all else by torch.load(weights_only=True):
    that builds tensors, numbers and texts, and runs nothing.
    """

    RATES: ClassVar[tuple[float, float]]  # learning rates: of all weights, of adapters
    PACKAGES: ClassVar[tuple[str, ...]] = ("llmlabel", "torch", "transformers", "peft")
    trainer: Any

    def __init__(self, config: TrainingConfig, folder: Path, policy: Policy, model: Any) -> None:
        self.config, self.folder, self.checkpoints = config, folder, folder / "checkpoints"
        self.policy, self.model, self.use_cache = policy, model, model.config.use_cache
        self.parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)  # merged adapters have none

    @property
    @abstractmethod
    def counts(self) -> dict[str, int]:
        """What was trained on, cut and left out."""

    @property
    @abstractmethod
    def dropped(self) -> list[dict[str, str]]:
        """{id, reason} of what was left out."""

    @abstractmethod
    def _prepare(self) -> tuple[Sequence[Any], Sequence[str]]:
        """Held-out items, and their ids."""

    @abstractmethod
    def _trainer(self, callbacks: list[Any]) -> Any:
        """The trainer of transformers."""

    @abstractmethod
    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """A look at held-out items in figures, with intervals."""

    @abstractmethod
    def changes(self) -> dict[str, Any]:
        """The last look minus the first, item by item."""

    @property
    def rate(self) -> float:
        return self.config.learning_rate or self.RATES[self.config.lora]

    @property
    def facts(self) -> dict[str, Any]:
        return {
            "policy": self.policy.name, "revision": self.policy.revision, "precision": self.policy.precision,
            "learning_rate": self.rate, "parameters": self.parameters,
            "versions": {name: metadata.version(name) for name in self.PACKAGES},
        }  # fmt: skip

    def steps(self, on_step: Callable[[int, int], None] | None) -> int:
        """Trains, from the last whole checkpoint if there is one. Returns: the optimiser's steps in all."""
        held_out, ids = self._prepare()
        checkpoint = last_whole(self.checkpoints)
        start = step_of(checkpoint)
        self.log = LogLines(self.folder / "log.jsonl", start)
        rhythm = Rhythm(self.config.measure_every, self.config.save_every, bool(held_out), on_step)
        self.trainer = self._trainer([self.log, rhythm, Marks(), *self._boards(start)])
        self.trainer.remove_callback(PrinterCallback)
        first = self._first_look(fresh=checkpoint is None) if held_out else []
        self.trainer.rows = []
        self.trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        last = self.trainer.rows or self.trainer.measure(held_out)  # killed behind its last step, it looks now
        self.looks = Looks(list(ids), first, last)
        return int(self.trainer.state.global_step)

    def save(self, folder: Path) -> None:
        """The model as a folder of transformers; of adapters the merged model, and themselves in `adapter/`."""
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        model.config.use_cache = self.use_cache
        self.trainer.save_model(str(folder / "adapter" if self.config.lora else folder))
        if not self.trainer.is_world_process_zero():
            return
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle nobody reads
        if self.config.lora:
            for file in (folder / "adapter").iterdir():
                if not file.name.startswith("adapter_"):  # that pickle, peft's empty form of a card, the tokenizer once more
                    file.unlink()
            model.merge_and_unload().save_pretrained(folder)
        self.policy.tokenizer.save_pretrained(folder)

    def clean(self) -> None:
        """Takes away what only a resume needs."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        (self.folder / FIRST_LOOK).unlink(missing_ok=True)

    def _settings(self, what: str, per_step: int, at_once: int) -> dict[str, Any]:
        """Of TrainingArguments. `what`: lists or rows, of which a step takes so many, and a forward pass so many."""
        c, processes = self.config, PartialState().num_processes
        together = min(at_once, per_step)
        if per_step % (together * processes):
            raise ConfigError(
                f"{what}_per_step ({per_step}) is no multiple of {what}_at_once times processes ({together} x {processes})"
            )
        return {
            "output_dir": str(self.checkpoints), "per_device_train_batch_size": together,
            "gradient_accumulation_steps": per_step // together // processes, "num_train_epochs": c.epochs,
            "max_steps": c.max_steps or -1, "learning_rate": self.rate, "lr_scheduler_type": "linear",
            "warmup_steps": min(c.warmup_share, 1 - 1e-9),  # below 1 it is a share
            "weight_decay": 0.0, "max_grad_norm": c.max_grad_norm, "seed": c.seed, "data_seed": c.seed, "logging_steps": 1,
            "logging_nan_inf_filter": False, "eval_strategy": "no", "save_strategy": "no", "save_total_limit": 2,
            "report_to": [name for name in c.report_to if name != "tensorboard"], "disable_tqdm": True, "log_level": "error",
            "dataloader_pin_memory": False, "use_cpu": self.model.device.type == "cpu", "use_cache": not c.gradient_checkpointing,
        }  # fmt: skip

    def _boards(self, start: int) -> list[Any]:
        if "tensorboard" not in self.config.report_to or not PartialState().is_main_process:
            return []
        from torch.utils.tensorboard import SummaryWriter
        from transformers.integrations import TensorBoardCallback

        return [TensorBoardCallback(SummaryWriter(str(self.folder / "tensorboard"), purge_step=start + 1))]

    def _first_look(self, *, fresh: bool) -> list[Row]:
        file = self.folder / FIRST_LOOK
        if not fresh and file.exists():
            return list(read_json(file))
        self.trainer.evaluate()
        if self.trainer.is_world_process_zero():
            write_json(file, self.trainer.rows)
        return list(self.trainer.rows)


def one_device(args: Any) -> Any:
    """Training arguments for one process, one GPU: no DataParallel."""
    args._n_gpu = min(args.n_gpu, 1)
    return args
