"""The steps of one training on ranked lists: tokens, reference, steps of the optimiser."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from llmlabel.alignment.base_training import BaseTraining, one_device
from llmlabel.alignment.measures import Row, changes, summary
from llmlabel.alignment.objective import Item, Objective
from llmlabel.alignment.scorer import Scorer, taught
from llmlabel.alignment.trainer import ListTrainer
from llmlabel.config import AlignConfig
from llmlabel.lists import RankedList


class Training(BaseTraining):
    """One training in a folder. Raises: as `train.train` says."""

    config: AlignConfig
    RATES = (5e-6, 1e-4)

    def __init__(
        self, lists: Sequence[RankedList], held_out: Sequence[RankedList], config: AlignConfig, folder: Path, cache: Path
    ) -> None:
        self.objective = Objective(config)
        self.scorer = Scorer(config, cache)
        super().__init__(config, folder, self.scorer.policy, self.scorer.model)
        encoder = self.scorer.encoder([*lists, *held_out])
        self.learnt, self.kept_out = taught(encoder.encode(lists)), encoder.encode(held_out)

    @property
    def facts(self) -> dict[str, Any]:
        logps, sizes = self.scorer.logps, Counter(map(len, self.learnt.lists))
        more = {"path": logps.path, "path_why": logps.why, "answers_per_list": {str(k): n for k, n in sorted(sizes.items())}}
        return super().facts | more

    @property
    def counts(self) -> dict[str, int]:
        held_out = {f"held_out_{name}": n for name, n in self.kept_out.counts.items()}
        return self.learnt.counts | {"lists_dropped": len(self.learnt.dropped)} | held_out

    @property
    def dropped(self) -> list[dict[str, str]]:
        return [*self.learnt.dropped, *self.kept_out.dropped]

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        return summary(rows, self.config.seed)

    def changes(self) -> dict[str, Any]:
        return changes(self.looks.first, self.looks.last, self.config.seed)

    def _prepare(self) -> tuple[Sequence[Item], Sequence[str]]:
        self.items, self.held_out = self._items()
        return self.held_out, [item.encoded.id for item in self.held_out]

    def _items(self) -> tuple[list[Item], list[Item]]:
        """Lists with what the reference says of them: held-out lists always, the others where the loss asks for it."""
        if not self.objective.needs_reference:
            return [Item(one) for one in self.learnt.lists], self.scorer.items(self.kept_out.lists)
        items = self.scorer.items([*self.learnt.lists, *self.kept_out.lists])
        return items[: len(self.learnt.lists)], items[len(self.learnt.lists) :]

    def _arguments(self) -> TrainingArguments:
        told = self._settings("lists", self.config.lists_per_step, self.config.lists_at_once)
        return one_device(TrainingArguments(**told, remove_unused_columns=False))

    def _trainer(self, callbacks: list[Any]) -> ListTrainer:
        return ListTrainer(
            self._arguments(), scorer=self.scorer, objective=self.objective, lists=self.items, held_out=self.held_out,
            callbacks=callbacks,
        )  # fmt: skip
