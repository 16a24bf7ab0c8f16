"""`llmlabel rank`: answers to the same prompt, put in order by a judge, and how far the judge can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from llmlabel.flows.running.artifacts import plain, show_markdown, show_table
from llmlabel.flows.running.common import Desk, carry_out, failed_rows, timed
from llmlabel.flows.running.configured import flow
from llmlabel.flows.steps.annotation.labelling import ask_in_shards, write_failures

from llmlabel.alignment.agreement import agreement
from llmlabel.alignment.labels import labels, settled
from llmlabel.annotation import judges
from llmlabel.annotation.judge_bias import statistics
from llmlabel.annotation.judges import pairwise
from llmlabel.annotation.judging import Judged, Judging, Verdict, suspects_last
from llmlabel.config import JudgingConfig, RankConfig
from llmlabel.errors import ConfigError, DataError
from llmlabel.events import Progress, counter, emit
from llmlabel.lists import RankedList, as_examples, read_lists, write_lists
from llmlabel.llm import Client, Models
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example, Status
from llmlabel.runs import DONE, PARTIAL, RunFolder, load_run, read_json, write_json

FILES = (".parquet", ".jsonl")
NOTHING_TO_RANK = "fewer than two answers: nothing to rank"
SPARSE = 6  # comparisons of each answer, where `auto` compares answers that do not fit one question


class Work(Desk):
    """What the steps of a run share. `lists`: all of them, in the order of the file."""

    config: RankConfig

    def __init__(
        self, config: RankConfig, examples: list[Example], folder: RunFolder, models: Models, lists: list[RankedList]
    ) -> None:
        super().__init__(config, examples, folder, models)
        self.lists = lists


@flow(name="rank")
def rank(config: RankConfig) -> dict[str, Any]:
    """Put the answers of every list in order.

    Returns: the run folder, the file with the ranked lists, exit code, counts, and what was found about the judge.
    """
    if config.from_run is not None:
        raise ConfigError("--from is not for rank: answers a judge has given are in the store, and asked again they cost nothing")
    lists = read_lists(config.data, id_column=config.id_column)
    if all(len(one) < 2 for one in lists):
        raise DataError(f"{config.data}: no list has two answers, so there is nothing to rank")
    target = config.out if config.out.suffix in FILES else None
    config = config.model_copy(update={"out": target.with_suffix(".run")}) if target else config
    extra = {"prompts": PromptLibrary(config.prompts).hashes(judges.pinned())}

    def steps(folder: RunFolder, models: Models) -> int:
        if target:
            folder.info["ranked"] = str(target.resolve())
        return run_steps(Work(config, as_examples(lists), folder, models, lists))

    found: dict[str, Any] = carry_out(config, "rank", as_examples(lists), extra, steps, shown)
    return found | {"ranked": _published(config.out)}


def _published(folder: Path) -> str:
    """Where the ranked lists are: in the run folder, and in the file that was named."""
    own = folder / "ranked.parquet"
    target = load_run(folder).info.get("ranked")
    if not target:
        return str(own)
    write_lists(Path(target), read_lists(str(own), option="the run's own"))
    return str(target)


def run_steps(work: Work) -> int:
    """The chain itself; every step leaves its result in the run folder."""
    folder, config = work.folder, work.config
    many = [one for one in work.lists if len(one) > 1]
    ranked, found = timed(folder, "judge", lambda: judge_lists(folder, work.models["judge"], many, config, "judge", work.follow))
    for problem in found["problems"]:
        emit("note", text=problem)
    by_id = {one.id: one for one in ranked}
    rows = [by_id.get(one.id) or _unranked(one) for one in work.lists]
    timed(folder, "write", lambda: write_lists(folder.path / "ranked.parquet", rows))
    folder.info["counts"] = dict(Counter(str(row.more["status"]) for row in rows))
    timed(folder, "score", lambda: score(work, many, ranked, found))
    return write_failed(folder, rows)


def judge_lists(
    folder: RunFolder, client: Client, lists: Sequence[RankedList], config: JudgingConfig, name: str, progress: Progress,
    demonstrations: Sequence[RankedList] = (),
) -> tuple[list[RankedList], dict[str, Any]]:  # fmt: skip
    """Lists of two answers or more with a judge's scores, ranks and win matrix, in their order; and what is known of the judge.

    Scores are LiPO's aggregation of the wins, or Bradley-Terry's where not all pairs were compared; pointwise the ratings
    themselves, without a win matrix. What a list had of its own goes to the columns `given_scores` and `given_ranks`. A list
    without a usable verdict has no scores, and its status says why.

    Args:
        name: of the step files and of the step in the books. demonstrations: solved lists that are shown in the questions.
    Returns: the lists, and `annotation.judge_bias.statistics` with judge, questions and cut (answers the judge saw a part of).
    """
    prompts, how = PromptLibrary(config.prompts), judging(config, name, demonstrations)
    _fits(config, lists, client)

    def ask(part: Sequence[int], retry: int, count: Callable[[int], None]) -> list[dict[str, Any]]:
        asked = [lists[i] for i in part]
        return [one.to_json() for one in _judge(asked, client, prompts, config, replace(how, retry=retry, on_done=count))]

    raw = ask_in_shards(folder, name, len(lists), config.shard_size, ask, lambda step, total: counter(progress, step, total))
    said = [Judged.from_json(values) for values in raw]
    ranked = [_ranked(one, judged, client.backend.model) for one, judged in zip(lists, said, strict=True)]
    found = statistics(lists, said, config.orders, config.seed)
    cut = sum(len(text) > config.max_text_chars for one in lists for text in one.completions)
    asked = questions(config, [len(one) for one in lists], client)
    return ranked, found | {"judge": client.backend.model, "questions": asked, "cut": cut}


def _fits(config: JudgingConfig, lists: Sequence[RankedList], client: Client) -> None:
    """Raises: ConfigError, before anything is asked, where comparisons of some pairs could not be made into scores."""
    sparse = [len(one) for one in lists if (few := plan(config, len(one), client)[1]) and max(2, few) < len(one) - 1]
    if sparse and find_spec("choix") is None:
        raise ConfigError("scores from comparisons of some pairs only need choix: pip install 'llmlabel[align]'")


def judging(config: JudgingConfig, step: str, demonstrations: Sequence[RankedList] = ()) -> Judging:
    return Judging(
        config.criteria, seed=config.seed, comparisons=config.comparisons, orders=config.orders, samples=config.judge_samples,
        max_text_chars=config.max_text_chars, step=step, demonstrations=demonstrations,
    )  # fmt: skip


def _judge(
    lists: Sequence[RankedList], client: Client, prompts: PromptLibrary, config: JudgingConfig, how: Judging
) -> list[Judged]:
    """Every list by the way that suits its length, in order."""
    found: dict[str, Judged] = {}
    groups: dict[tuple[str, int | None], list[RankedList]] = {}
    for one in lists:
        groups.setdefault(plan(config, len(one), client), []).append(one)
    for (way, comparisons), group in groups.items():
        judged = judges.judge(way).judge(group, client, prompts, replace(how, comparisons=comparisons))
        found |= {one.id: suspects_last(one) if config.suspect_answers == "last" else one for one in judged}
    return [found[one.id] for one in lists]


def plan(config: JudgingConfig, size: int, client: Client | None) -> tuple[str, int | None]:
    """How a list of so many answers is judged, and how many comparisons each of them takes part in."""
    way = judges.way_of(config.judge_by, size, client)
    sparse = config.judge_by == "auto" and size > judges.LISTWISE_UP_TO
    return way, config.comparisons or (SPARSE if sparse else None)


def questions(config: JudgingConfig, sizes: Sequence[int], client: Client | None = None) -> int:
    """Questions for lists of so many different answers, without second tries; where it depends on the model, at most."""
    return sum(n * _questions(config, size, client) for size, n in Counter(sizes).items())


def _questions(config: JudgingConfig, size: int, client: Client | None) -> int:
    way, comparisons = plan(config, size, client)
    if size < 2 or (way == "listwise" and size > judges.LISTWISE_UP_TO):
        return 0
    if way == "listwise":
        return 2 * max(1, config.judge_samples // 2)
    if way == "pairwise":
        one = RankedList("", " ", tuple(map(str, range(size))))
        return len(pairwise.questions(one, replace(judging(config, ""), comparisons=comparisons)))
    sure = client is not None and (client.backend.features.logprobs or not client.backend.features.writes)
    return size * (1 if sure else config.judge_samples)


def _ranked(one: RankedList, said: Judged, model: str) -> RankedList:
    """A list with the judge's scores, ranks and wins in place of its own, which stay beside them."""
    prompt = judges.judge(said.way).PROMPTS["judge"]
    given = {"given_scores": one.scores, "given_ranks": one.ranks} if one.ranked else {}
    more = {
        **one.more, **given, "judge": model, "judge_prompt": prompt, "status": str(said.status), "suspect": said.suspect,
        "reason": said.reason,
        "verdicts": [{"first": v.first, "second": v.i + v.j - v.first, "share": _of_first(v)} for v in said.verdicts],
    }  # fmt: skip
    if said.status.failed:
        return replace(one, scores=None, ranks=None, win_matrix=None, more=more)
    if said.way == "pointwise":
        return replace(one, scores=tuple(map(float, said.scores)), ranks=_places(said.scores), win_matrix=None, more=more)
    judged = replace(one, win_matrix=tuple(tuple(map(float, row)) for row in said.wins), more=more)
    scores = labels(judged, by="wins")
    return replace(judged, scores=tuple(map(float, scores)), ranks=_places(scores))


def _of_first(verdict: Verdict) -> float:
    """What the answer shown first gets of a comparison, 0 to 1."""
    return verdict.share if verdict.first == verdict.i else 1 - verdict.share


def _places(scores: Any) -> tuple[float, ...]:
    """(K,) 1 for the best, equal ones alike; nan where the score is."""
    from scipy.stats import rankdata

    values = np.round(np.asarray(scores, float), 9)
    return tuple(map(float, rankdata(-values, method="min", nan_policy="omit")))


def _unranked(one: RankedList) -> RankedList:
    return replace(one, more={**one.more, "status": str(Status.NONE_FITS), "reason": NOTHING_TO_RANK})


def score(work: Work, lists: Sequence[RankedList], ranked: Sequence[RankedList], found: dict[str, Any]) -> None:
    """metrics.json: what is known of the judge, and, where lists have an order of their own, how far it agrees with that."""
    judged = [(one, by_judge) for one, by_judge in zip(lists, ranked, strict=True) if one.ranked and by_judge.ranked]
    by = settled([one for one, _ in judged])
    agreed = agreement([(labels(one, by), by_judge.scores or ()) for one, by_judge in judged], work.config.seed)
    write_json(
        work.folder.path / "metrics.json",
        {
            "schema": 1, "scores": {}, "counts": work.folder.info["counts"], "judge": found,
            "agreement": agreed if judged else None, "problems": found["problems"],
        },
    )  # fmt: skip


def write_failed(folder: RunFolder, rows: Sequence[RankedList]) -> int:
    """failures.jsonl, and the exit code."""
    failures = [
        {
            "id": row.id,
            "step": "judge",
            "status": row.more["status"],
            "reason": row.more["reason"],
            "attempts": folder.retries + 1,
        }
        for row in rows
        if Status(row.more["status"]).failed
    ]
    write_failures(folder.path / "failures.jsonl", failures)
    failed_rows(folder, failures)
    return PARTIAL if failures else DONE


def shown(folder: RunFolder) -> dict[str, Any]:
    """The run in a few figures, in Prefect's UI and as a result."""
    metrics = read_json(folder.path / "metrics.json")
    judge = metrics["judge"]
    figures = {name: judge[name] for name in ("first", "flips", "triads", "length") if judge[name]}
    show_table("judge", [{"figure": name, **value} for name, value in figures.items()], "how far the judge can be trusted")
    if metrics["problems"]:
        show_markdown("problems", "\n".join(f"- {plain(problem, 600)}" for problem in metrics["problems"]), "what is wrong")
    return {
        "out": str(folder.path), "exit": folder.info["exit"], "counts": folder.info["counts"],
        "judge": {name: value["value"] for name, value in figures.items()}, "agreement": _short(metrics["agreement"]),
        "problems": metrics["problems"], "cost": folder.info["cost"]["money"], "retries": folder.retries,
        "report": str(folder.path / "report.html"),
    }  # fmt: skip


def _short(agreement: dict[str, Any] | None) -> dict[str, Any] | None:
    return agreement and {name: value["value"] if isinstance(value, dict) else value for name, value in agreement.items()}
