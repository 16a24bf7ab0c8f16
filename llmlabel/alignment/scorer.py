"""A policy and its reference, loaded and ready to score lists in one and the same way."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from transformers import set_seed

from llmlabel.alignment.encode import Encoded, Encoder, Encodings
from llmlabel.alignment.logps import Logps
from llmlabel.alignment.measures import Looks
from llmlabel.alignment.objective import Item, Objective
from llmlabel.alignment.policy import load, same_vocabulary, with_adapters
from llmlabel.alignment.reference import logps_of
from llmlabel.config import AlignConfig
from llmlabel.errors import DataError
from llmlabel.lists import RankedList

REASONS = 3  # told where nothing is left


class Scorer:
    """Loads the policy of a configuration, with adapters if they are to be trained.

    `model`: what is trained; `bf16`: whether it computes in bf16.

    Args:
        cache: where the reference's log-probabilities are kept. Raises: ConfigError, BackendError as `policy.load`.
    """

    def __init__(self, config: AlignConfig, cache: Path) -> None:
        self.config, self.cache = config, cache
        self.policy = load(config.policy, config.precision, config.gradient_checkpointing, frozen=config.lora)
        self.bf16 = self.policy.precision == "bf16"
        set_seed(config.seed)  # adapters begin with random numbers
        self.model = with_adapters(self.policy.model, config.lora_rank) if config.lora else self.policy.model
        self.logps = Logps(self.model, config.shared_prefix)

    def encoder(self, lists: Sequence[RankedList]) -> Encoder:
        most = getattr(self.policy.model.config.get_text_config(), "max_position_embeddings", None)
        return Encoder(self.policy.tokenizer, self.config, lists, most)

    def autocast(self) -> AbstractContextManager[Any]:
        """bf16 for policy and reference alike; weights that are trained stay float32."""
        context: AbstractContextManager[Any] = torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.bf16)
        return context

    def items(self, lists: Sequence[Encoded]) -> list[Item]:
        """Lists with the log-probabilities of their answers under the reference."""
        return [Item(one, logps) for one, logps in zip(lists, self._reference(lists), strict=True)]

    def _reference(self, lists: Sequence[Encoded]) -> list[Tensor]:
        """By a model of its own, or by the policy before training; its adapters change nothing yet, and are turned off."""
        source, score, state = self.policy, self.logps, PartialState()
        path: Any = score.path
        if self.config.reference and lists:
            source = load(self.config.reference, self.config.precision, frozen=self.config.lora)
            same_vocabulary(self.policy, source)
            score = Logps(source.model, path)
        identity = f"{source.revision or _weights(source.model)} {source.precision} {self.config.lora} {path}"
        return logps_of(
            lists, score, identity, self.cache, context=self._as_reference, share=(state.process_index, state.num_processes),
            wait=state.wait_for_everyone,
        )  # fmt: skip

    def _as_reference(self) -> AbstractContextManager[Any]:
        stack = ExitStack()
        stack.enter_context(self.autocast())
        if self.config.lora:
            stack.enter_context(self.model.disable_adapter())
        return stack


def measured(lists: Sequence[RankedList], config: AlignConfig, cache: Path) -> tuple[Looks, Encodings]:
    """Measures of lists under the reference and under the policy. Raises: DataError where no list can be measured."""
    objective, scorer = Objective(config), Scorer(config.model_copy(update={"lora": False}), cache)
    made = taught(scorer.encoder(lists).encode(lists))
    first, last = [], []
    for item in scorer.items(made.lists):
        assert item.reference is not None
        with torch.no_grad(), scorer.autocast():
            logps = scorer.logps([item.encoded.row])[0]
        first.append(objective.measures(item, item.reference))
        last.append(objective.measures(item, logps))
    return Looks([one.id for one in made.lists], first, last), made


def taught(made: Encodings) -> Encodings:
    """The same. Raises: DataError with the most frequent reasons where no list is left."""
    if made.lists:
        return made
    said: dict[str, list[str]] = {}
    for one in made.dropped:
        said.setdefault(one["reason"], []).append(one["id"])
    most = sorted(said.items(), key=lambda pair: -len(pair[1]))[:REASONS]
    reasons = "; ".join(f"{reason} ({len(ids)}, such as {ids[0]})" for reason, ids in most) or "there are none"
    raise DataError(f"no list teaches anything: {reasons}")


def _weights(model: Any) -> str:
    """Tells weights apart that nothing else does, by a few numbers of each tensor."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in model.state_dict().values():
        digest.update(tensor.flatten()[:: max(1, tensor.numel() // 64)].float().cpu().numpy().tobytes())
    return digest.hexdigest()
