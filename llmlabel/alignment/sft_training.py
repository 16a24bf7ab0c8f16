"""TRL's SFTTrainer in a folder: rows as tokens, looks at held-out rows, the same weights after a kill."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate.utils import gather_object
from datasets import Dataset
from torch import Tensor
from transformers import set_seed
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from llmlabel.alignment.base_training import BaseTraining, one_device
from llmlabel.alignment.measures import Row
from llmlabel.alignment.policy import load, padding_id, with_adapters
from llmlabel.alignment.sft_rows import Encoded, encode, some
from llmlabel.alignment.tokens import Tokens
from llmlabel.config import SftConfig
from llmlabel.errors import ConfigError, DataError
from llmlabel.lists import RankedList
from llmlabel.records import batched
from llmlabel.stats import bootstrap

KNOBS = "--set rows_at_once=1, --set gradient_checkpointing=true, a smaller max_tokens, --lora, or a smaller --policy"


class SftTraining(BaseTraining):
    """One training in a folder. Raises: as `sft.train` says."""

    config: SftConfig
    RATES = (2e-5, 2e-4)
    PACKAGES: ClassVar[tuple[str, ...]] = (*BaseTraining.PACKAGES, "trl")

    def __init__(self, rows: Sequence[RankedList], held_out: Sequence[RankedList], config: SftConfig, folder: Path) -> None:
        policy = load(config.policy, config.precision, config.gradient_checkpointing, frozen=config.lora, knobs=KNOBS)
        tokens = Tokens(policy.tokenizer, bool(policy.tokenizer.chat_template))
        _check_form(rows, tokens, policy.name)
        context = getattr(policy.model.config.get_text_config(), "max_position_embeddings", None)
        most = min(config.max_tokens, context or config.max_tokens)
        self.learnt, self.kept_out = some(encode(rows, tokens, most)), encode(held_out, tokens, most)
        set_seed(config.seed)  # adapters begin with random numbers
        model = with_adapters(policy.model, config.lora_rank) if config.lora else policy.model
        super().__init__(config, folder, policy, model)

    @property
    def counts(self) -> dict[str, int]:
        return self.learnt.counts | {f"held_out_{name}": n for name, n in self.kept_out.counts.items()}

    @property
    def dropped(self) -> list[dict[str, str]]:
        return [*self.learnt.dropped, *self.kept_out.dropped]

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """`loss`: nats per token of all answers together, with an interval over prompts."""
        if not rows:
            return {}
        nats, tokens = self._by_prompt([row["nats"] for row in rows]), self._by_prompt([row["tokens"] for row in rows])
        found = {"rows": len(rows), "prompts": len(nats), "tokens": int(tokens.sum()), "loss": _ratio(nats, tokens)}
        return found | self._interval(nats, tokens)

    def changes(self) -> dict[str, Any]:
        """Of the same rows: prompts are drawn with both looks at them."""
        first, last = self.looks.first, self.looks.last
        if not first:
            return {}
        nats = self._by_prompt([b["nats"] - a["nats"] for a, b in zip(first, last, strict=True)])
        tokens = self._by_prompt([row["tokens"] for row in first])
        return {"rows": len(first), "prompts": len(nats), "loss": _ratio(nats, tokens)} | self._interval(nats, tokens)

    def _by_prompt(self, values: Sequence[float]) -> Any:
        """Sums over the held-out rows of each prompt, which are no independent looks."""
        _, group = np.unique([one.prompt for one in self.kept_out.rows], return_inverse=True)
        return np.bincount(group, weights=values)

    def _interval(self, nats: Any, tokens: Any) -> dict[str, Any]:
        return {"loss_interval": list(bootstrap(_ratio, [nats, tokens], seed=self.config.seed))} if len(nats) > 1 else {}

    def _prepare(self) -> tuple[Sequence[Encoded], Sequence[str]]:
        return self.kept_out.rows, [one.id for one in self.kept_out.rows]

    def _trainer(self, callbacks: list[Any]) -> RowTrainer:
        told = self._settings("rows", self.config.rows_per_step, self.config.rows_at_once)
        args = SFTConfig(
            **told, bf16=self.policy.precision == "bf16", max_length=None, completion_only_loss=False,  # labels say it
            gradient_checkpointing=False,  # `policy.load` turns it on
        )  # fmt: skip
        return RowTrainer(
            self.model, one_device(args), train_dataset=Dataset.from_list([_features(one) for one in self.learnt.rows]),
            processing_class=self.policy.tokenizer, callbacks=callbacks, held_out=self.kept_out.rows,
            data_collator=DataCollatorForLanguageModeling(padding_id(self.policy.tokenizer)),
        )  # fmt: skip


class RowTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer with looks at held-out rows one by one, and an end where the loss is no number."""

    control: Any

    def __init__(self, *args: Any, held_out: Sequence[Encoded], **more: Any) -> None:
        super().__init__(*args, **more)
        self.held_out, self.rows = held_out, list[Row]()

    def compute_loss(self, *args: Any, **more: Any) -> Any:
        loss = super().compute_loss(*args, **more)
        if not torch.isfinite(loss).all():
            raise self._lost("loss")
        return loss

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)
        if not math.isfinite(float(norm)):
            raise self._lost("gradient")
        return norm

    def _lost(self, what: str) -> DataError:
        return DataError(
            f"the {what} is no longer a number at step {self.state.global_step + 1}. Lower --learning-rate "
            f"(now {self.args.learning_rate:g}), or use --set precision=fp32; the checkpoints before are kept"
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        for told in self._metrics.values():
            told.pop("num_tokens", None)  # a resumed training counts from nothing
        super().log(logs, start_time)

    def create_model_card(self, *args: Any, **more: Any) -> None:
        """None in a checkpoint."""

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Nats per token of the held-out answers; what each row has stays in `rows`."""
        self.rows = self.measure(self.held_out if eval_dataset is None else eval_dataset)
        metrics = {f"{metric_key_prefix}_loss": sum(r["nats"] for r in self.rows) / sum(r["tokens"] for r in self.rows)}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def measure(self, items: Sequence[Encoded]) -> list[Row]:
        """`nats` (minus log p of the answer) and `tokens` of each row, in order; each process computes its share of batches."""
        batches = list(batched([*items], self.args.per_device_train_batch_size))
        world, training, found = self.args.world_size, self.model.training, dict[int, list[float]]()
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            for at in range(self.args.process_index, math.ceil(len(batches) / world) * world, world):
                number = min(at, len(batches) - 1)  # all processes call the model equally often
                found[number] = self._nats(batches[number]).tolist()
        self.model.train(training)
        if world > 1:
            found = dict(gather_object(list(found.items())))
        nats = [value for _, values in sorted(found.items()) for value in values]
        return [{"nats": value, "tokens": one.tokens} for value, one in zip(nats, items, strict=True)]

    def _nats(self, rows: Sequence[Encoded]) -> Tensor:
        """(B,) of the answers of a batch."""
        inputs = self._prepare_inputs(self.data_collator([_features(one) for one in rows]))
        told: Tensor = self.model_wrapped(**inputs, use_cache=False, fused_lm_head=True).log_probs
        return -told.float().sum(1)


def _features(one: Encoded) -> dict[str, list[int]]:
    return {"input_ids": one.ids, "labels": one.labels}


def _ratio(nats: Any, tokens: Any) -> float:
    return float(np.sum(nats) / np.sum(tokens))


def _check_form(rows: Sequence[RankedList], tokens: Tokens, name: str) -> None:
    if not tokens.chat and any(not isinstance(one.prompt, str) for one in rows):
        raise ConfigError(
            f"{name} has no chat template, so nothing tells where an answer to messages begins: name its chat version, put the "
            "template beside its tokenizer (chat_template.jinja), or give prompts and completions as texts"
        )
