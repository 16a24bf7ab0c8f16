"""TRL's SFTTrainer on a few rows, with adapters on all linear layers (imports torch; see pilot.py)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from jinja2 import TemplateError
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from llmlabel.errors import ConfigError, DataError
from llmlabel.llm.causal_lm import CausalLM


class Training:
    """One training of a model on rows of prompt and completion; errors as `pilot.train` says. `rows`: how many it learns from."""

    def __init__(
        self, lm: CausalLM, rows: Sequence[Mapping[str, Any]], folder: Path, *, seed: int, epochs: float, learning_rate: float,
        rank: int, batch: int, max_tokens: int,
    ) -> None:  # fmt: skip
        self.lm, self.use_cache = lm, lm.model.config.use_cache
        on_gpu = lm.model.device.type == "cuda"
        self.bf16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        args = SFTConfig(
            output_dir=str(folder), per_device_train_batch_size=batch, num_train_epochs=epochs, learning_rate=learning_rate,
            lr_scheduler_type="linear", warmup_steps=0, weight_decay=0.0, seed=seed, data_seed=seed, bf16=self.bf16,
            use_cpu=not on_gpu, max_length=None, completion_only_loss=True, gradient_checkpointing=False, save_strategy="no",
            logging_steps=1, logging_nan_inf_filter=False, report_to=[], disable_tqdm=True, log_level="error",
            dataloader_pin_memory=False,
        )  # fmt: skip
        args._n_gpu = min(args.n_gpu, 1)  # one process, one GPU: no DataParallel
        data = Dataset.from_list([{name: row[name] for name in ("prompt", "completion")} for row in rows])
        try:
            self.trainer = SFTTrainer(
                lm.model, args, train_dataset=data, processing_class=lm.tokenizer,
                peft_config=LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"),
            )  # fmt: skip
        except TemplateError as e:
            raise ConfigError(f"the chat template of {lm.name} refuses the prompts: {e}") from e
        self.trainer.remove_callback(PrinterCallback)
        self._keep(max_tokens)

    def _keep(self, max_tokens: int) -> None:
        """Leave out rows that are longer than allowed, or than the model's context."""
        most = min(max_tokens, getattr(self.lm.config, "max_position_embeddings", None) or max_tokens)
        made = self.trainer.train_dataset
        kept = [i for i, ids in enumerate(made["input_ids"]) if len(ids) <= most]
        if not kept:
            raise DataError(f"no row to learn from has at most {most} tokens, prompt and answer together")
        self.rows, self.trainer.train_dataset = len(kept), made.select(kept)

    def steps(self, on_step: Callable[[int, int], None] | None) -> list[float]:
        """Trains. Returns: the loss before each step, nats per token of the completions."""
        if on_step:
            self.trainer.add_callback(_Told(on_step))
        self.trainer.train()
        losses = [float(line["loss"]) for line in self.trainer.state.log_history if "loss" in line]
        if not all(map(math.isfinite, losses)):
            raise DataError("the loss of the pilot is no longer a number; lower --set learning_rate")
        return losses

    def save(self, folder: Path) -> None:
        """The merged model with its tokenizer (bf16 where it was trained so), and the adapters in `adapter/`."""
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        model.save_pretrained(folder / "adapter")
        (folder / "adapter" / "README.md").unlink(missing_ok=True)  # peft's empty form
        merged = model.merge_and_unload()
        merged.config.use_cache = self.use_cache
        merged.to(torch.bfloat16 if self.bf16 else torch.float32).save_pretrained(folder)
        self.lm.tokenizer.save_pretrained(folder)


class _Told(TrainerCallback):  # type: ignore[misc]
    def __init__(self, on_step: Callable[[int, int], None]) -> None:
        self.on_step = on_step

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.on_step(state.global_step, state.max_steps)
