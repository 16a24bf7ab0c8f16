"""TnT-LLM phase 1: generate on the first minibatch, update on each later one, review, and choose among chains.

Source: Wan et al. 2024 (arXiv 2403.12173). Ours: the model answers with edit scripts on stable label ids, which the
program checks and applies; refused edits go back once with the reason; whatever is then still unsound is left out.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from llmlabel.errors import AnswerError, BackendError, RequestRejected
from llmlabel.llm.structured import Question, ask, with_reason
from llmlabel.records import Example, Taxonomy
from llmlabel.taxonomy.edits import Applied, EditScript, apply_edits
from llmlabel.taxonomy.settings import Induction, Setting

VALIDATION_SHARE, VALIDATION_MOST = 0.2, 100
VOTES = 3
TEMPERATURE = {"generate": 0.5, "update": 0.2, "review": 0.0}


class Choice(BaseModel):
    reason: str
    best: int


@dataclass
class _Chain:
    """One seeded pass over the minibatches. `texts` holds the short form of every row's text."""

    setting: Setting
    texts: Mapping[str, str]
    number: int
    taxonomy: Taxonomy
    history: list[dict[str, Any]] = field(default_factory=list)
    retired: set[str] = field(default_factory=set)

    def run(self, rows: Sequence[str]) -> _Chain:
        order = list(rows)
        random.Random(f"{self.setting.seed}/chain/{self.number}").shuffle(order)
        batches = _equal_batches(order, self.setting.batch_size)
        for n, batch in enumerate(batches, 1):
            self.step("generate" if n == 1 else "update", n, batch)
            self.setting.progress(f"chain {self.number}", n, len(batches) + 1)
        self.step("review", len(batches) + 1, [])
        self.setting.progress(f"chain {self.number}", len(batches) + 1, len(batches) + 1)
        return self

    def step(self, name: str, number: int, batch: Sequence[str]) -> None:
        aliases = {f"t{i}": row for i, row in enumerate(batch, 1)}
        question = self._question(name, aliases)
        client = self.setting.models[name]
        first = ask(client, question, name)
        script, applied = first, self._apply(first, aliases, name)
        if applied.problems:
            reason = "these edits cannot be applied:\n- " + "\n- ".join(applied.problems[:12])
            try:
                second = ask(client, with_reason(question, reason), name)
            except AnswerError:
                second = first
            again = self._apply(second, aliases, name)
            if len(again.problems) < len(applied.problems):
                script, applied = second, again
        if name == "generate" and len(applied.taxonomy) < 2:
            raise BackendError("the model proposed fewer than two usable labels on the first batch")
        self._keep(name, number, script, applied, aliases)

    def _apply(self, script: EditScript, aliases: Mapping[str, str], name: str) -> Applied:
        return apply_edits(
            self.taxonomy,
            script,
            evidence=aliases,
            limits=self.setting.limits,
            retired=set(self.retired),
            may_add=name != "review",
        )

    def _keep(self, name: str, number: int, script: EditScript, applied: Applied, aliases: Mapping[str, str]) -> None:
        before, after = ({label.id for label in t.labels} for t in (self.taxonomy, applied.taxonomy))
        self.retired |= before - after
        self.taxonomy = applied.taxonomy
        uncovered = len(set(script.uncovered) & aliases.keys())
        self.history.append(
            {
                "step": name,
                "chain": self.number,
                "batch": number,
                "labels": len(after),
                "rating": script.rating,
                "coverage": round(1 - uncovered / len(aliases), 4) if aliases else None,
                "edits": applied.log,
            }  # fmt: skip
        )

    def _question(self, name: str, aliases: Mapping[str, str]) -> Question[EditScript]:
        limits = self.setting.limits
        values: dict[str, Any] = {
            "use_case": self.setting.use_case, "max_labels": limits.max_labels,
            "name_words": limits.name_words, "description_words": limits.description_words,
        }  # fmt: skip
        if name != "review":
            values["texts"] = [{"id": alias, "text": self.texts[row]} for alias, row in aliases.items()]
        if name != "generate":
            values["labels"] = self.taxonomy.labels
        messages = self.setting.prompt(name).render(**values)
        return Question(
            messages,
            EditScript,
            max_tokens=4096,
            temperature=TEMPERATURE[name],
            top_p=0.5,
            sample=self.setting.seed + self.number,
        )


def _equal_batches(rows: Sequence[str], size: int) -> list[list[str]]:
    """Minibatches of (almost) equal length, each at most `size`."""
    count = max(1, -(-len(rows) // size))
    return [list(rows[i * len(rows) // count : (i + 1) * len(rows) // count]) for i in range(count)]


def induce_by_chain(examples: Sequence[Example], texts: Sequence[str], setting: Setting) -> Induction:
    """Run the seeded chains and keep the one that does best on texts none of them saw.

    Args:
        texts: the short form of every example's text.
    Raises: BackendError when no chain came to an end; what stopped a model otherwise.
    """
    short = {e.id: t for e, t in zip(examples, texts, strict=True)}
    rows = list(short)
    random.Random(f"{setting.seed}/validation").shuffle(rows)
    held = min(VALIDATION_MOST, int(len(rows) * VALIDATION_SHARE)) if setting.chains > 1 else 0
    learn, validation = rows[held:], rows[:held]
    chains = [_Chain(setting, short, n, Taxonomy(use_case=setting.use_case)) for n in range(1, setting.chains + 1)]
    with ThreadPoolExecutor(len(chains)) as pool:
        done = [c for c in pool.map(lambda c: _finished(c, learn), chains) if not isinstance(c, AnswerError | BackendError)]
    if not done:
        raise BackendError("no chain came to an end: the model's answers could not be used; try --method cluster")
    best, votes = _best(done, [short[row] for row in validation], setting)
    history = [entry for chain in done for entry in chain.history]
    history.append({"step": "choose", "chain": best.number, "batch": 0, "labels": len(best.taxonomy), "rating": None,
                    "coverage": None, "votes": votes, "edits": []})  # fmt: skip
    return Induction(best.taxonomy, "tnt", history=history)


def _finished(chain: _Chain, rows: Sequence[str]) -> _Chain | AnswerError | BackendError:
    """A chain whose answers cannot be used is left out; whatever else stops it (a wrong key, the budget) stops all."""
    try:
        return chain.run(rows)
    except AnswerError as e:
        return e
    except RequestRejected as e:
        raise BackendError(f"{e}\nIf the minibatch was too long for the model, give a smaller --batch-size") from e
    except BackendError as e:
        if type(e) is BackendError and "usable labels" in str(e):
            return e
        raise


def _best(chains: Sequence[_Chain], texts: Sequence[str], setting: Setting) -> tuple[_Chain, dict[str, int]]:
    """The chain most votes go to; every vote sees the candidates in another order."""
    if len(chains) == 1 or not texts:
        return chains[0], {}
    votes: Counter[int] = Counter()
    for vote in range(VOTES):
        order = list(chains)
        random.Random(f"{setting.seed}/choose/{vote}").shuffle(order)
        candidates = [chain.taxonomy.labels for chain in order]
        messages = setting.prompt("choose").render(use_case=setting.use_case, candidates=candidates, texts=texts)
        try:
            answer = ask(setting.models["choose"], Question(messages, Choice, max_tokens=400, sample=vote), "choose")
        except AnswerError:
            continue
        if 1 <= answer.best <= len(order):
            votes[order[answer.best - 1].number] += 1
    best = max(chains, key=lambda c: (votes[c.number], -c.number))
    return best, {str(number): count for number, count in sorted(votes.items())}
