"""`llmlabel align evaluate`: a trained model against the one it started from, judged in both orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
from llmlabel.flows.rank import judge_lists
from llmlabel.flows.running.artifacts import show_table
from llmlabel.flows.running.common import Desk, carry_out, timed
from llmlabel.flows.running.configured import flow
from llmlabel.flows.steps.alignment.right_answers import accuracies, tested
from llmlabel.flows.steps.alignment.sampling import model_spec, sample
from llmlabel.flows.steps.annotation.labelling import PLAIN
from prefect import task

from llmlabel.alignment.win_rate import Comparison, win_rate
from llmlabel.annotation.judges import pinned
from llmlabel.config import AlignConfig, EvaluateConfig
from llmlabel.data import as_label
from llmlabel.errors import ConfigError, DataError
from llmlabel.lists import RankedList, as_examples, read_lists, write_lists
from llmlabel.llm import Models
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Taxonomy
from llmlabel.runs import DONE, RunFolder, load_run, read_json, write_json, write_parquet
from llmlabel.selection.answers import Question
from llmlabel.selection.verifiers import auto

POLICY, REFERENCE = "policy", "reference"


def compare(work: Desk, lists: Sequence[RankedList], config: AlignConfig, policy: str) -> dict[str, Any]:
    """Win rate of a trained model's answers over those of the model it started from, one answer to each prompt.

    Writes comparisons.parquet: prompts, both answers, and the judge's verdicts.
    """
    prompts = list({one.text: one for one in lists}.values())
    both = []
    for who, model in ((POLICY, policy), (REFERENCE, config.reference or config.policy)):
        client = work.models.client(model_spec(model, config.sampler))
        both.append(sample(work.folder, client, prompts, config, f"evaluate: {who}", 1, work.counter))
        work.models.unload()
    answered = [(mine, theirs) for mine, theirs in zip(*both, strict=True) if mine.completions and theirs.completions]
    pairs = [
        replace(mine, completions=(*mine.completions, *theirs.completions), models=(POLICY, REFERENCE))
        for mine, theirs in answered
        if mine.completions != theirs.completions
    ]
    same = [_tie(mine) for mine, theirs in answered if mine.completions == theirs.completions]
    pairwise = config.model_copy(update={"judge_by": "pairwise", "orders": 2, "comparisons": None})
    judged, statistics = judge_lists(work.folder, work.models["judge"], pairs, pairwise, "evaluate: judge", work.follow)
    write_lists(work.folder.path / "comparisons.parquet", judged)
    usable = [made for one in judged if (made := _comparison(one))] + same
    rest = {"same_answer": len(same), "not_judged": len(prompts) - len(usable), "judge": statistics}
    return (win_rate(usable, config.seed) if usable else {"prompts": 0, "win_rate": None}) | rest


def _tie(one: RankedList) -> Comparison:
    """Both models gave this answer; no judge is needed."""
    return Comparison(0.5, 0.5, *([float(len(one.completions[0]))] * 2))


def _comparison(one: RankedList) -> Comparison | None:
    """How often the policy's answer won, by the place it was shown in; None where an order has no usable verdict."""
    shares = {verdict["first"]: verdict["share"] for verdict in one.more["verdicts"]}
    if len(shares) < 2:
        return None
    return Comparison(shares[0], 1 - shares[1], *(float(len(text)) for text in one.completions))


class Work(Desk):
    config: EvaluateConfig


@flow(name="evaluate")
def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """A run's model against the one it started from, on prompts of one's own.

    Returns: the folder, exit code, win rates, and list measures where the data is ranked.
    """
    lists = read_lists(config.data, id_column=config.id_column)
    settings = _settings(config)
    tests = _tests(config, lists)
    taxonomy = Taxonomy.load(config.taxonomy) if config.taxonomy else None
    extra = {
        "prompts": PromptLibrary(config.prompts).hashes(pinned()), "model": str(config.run),
        "taxonomy": taxonomy and taxonomy.model_dump(mode="json"),
    }  # fmt: skip

    def steps(folder: RunFolder, models: Models) -> int:
        return _steps(Work(config, as_examples(lists), folder, models), lists, settings, tests, taxonomy)

    return carry_out(config, "evaluate", as_examples(lists), extra, steps, shown)


def _settings(config: EvaluateConfig) -> AlignConfig:
    """Of the training that made the model, and what was said now. Raises: ConfigError where there is no model."""
    made = load_run(config.run).info["config"]
    if not (config.run / "model" / "config.json").is_file():
        raise ConfigError(f"{config.run} has no model yet; finish it with `llmlabel run align` or `run sft`")
    given = {**made, **config.model_dump(exclude_unset=True)}
    return AlignConfig.model_validate({name: value for name, value in given.items() if name in AlignConfig.model_fields})


def _tests(config: EvaluateConfig, lists: Sequence[RankedList]) -> list[Question]:
    """The prompts with gold. Raises: DataError for a column that is not there, or is empty."""
    name = config.gold_column
    if name is None:
        return []
    if name not in lists[0].more:
        raise DataError(f"{config.data} has no column {name!r} (--gold-column)")
    tests = [Question(one.id, one.prompt, gold) for one in lists if (gold := as_label(one.more[name])) is not None]
    if not tests:
        raise DataError(f"{config.data}: column {name!r} is empty in every row, so no answer can be checked")
    return tests


def _steps(
    work: Work, lists: Sequence[RankedList], settings: AlignConfig, tests: Sequence[Question], taxonomy: Taxonomy | None
) -> int:
    folder, config, found = work.folder, work.config, dict[str, Any]()
    judged = config.judged == "always" or (config.judged == "auto" and bool(not tests or config.llm.judge))
    if any(one.ranked for one in lists):
        found["scores"] = timed(folder, "measure", lambda: _measure(work, lists, settings))
    if tests:
        found["accuracy"] = timed(folder, "check", lambda: _check(work, settings, tests, taxonomy))
    found["win_rate"] = timed(folder, "judge", lambda: _judge(work, lists, settings)) if judged else None
    counts = found["win_rate"] or {"prompts": 0, "not_judged": 0}
    folder.info["counts"] = {"judged": counts["prompts"], "not_judged": counts["not_judged"], "checked": len(tests)}
    write_json(folder.path / "metrics.json", {"schema": 1, **found, "counts": folder.info["counts"]})
    return DONE


@task(name="check", task_run_name="count right answers", **PLAIN)
def _check(work: Work, settings: AlignConfig, tests: Sequence[Question], taxonomy: Taxonomy | None) -> dict[str, Any]:
    """How often each model's answers are right."""
    config, golds = work.config, [str(one.gold) for one in tests]
    verify = auto(golds, taxonomy) if config.verify == "auto" else config.verify
    models = {POLICY: str(config.run / "model"), REFERENCE: settings.reference or settings.policy}
    models |= {name: name for name in config.beside}
    made, found = dict[str, str](), dict[str, list[bool]]()
    for n, (name, model) in enumerate(models.items()):
        spec = model_spec(model, settings.sampler)
        if spec in made:  # the same model under two names
            found[name] = found[made[spec]]
            continue
        most, step = settings.max_completion_tokens, f"check: {name}"
        answers = partial(tested, work, spec, tests, verify, taxonomy, most, step)
        found[name], made[spec] = work.folder.step(f"check-{n}", answers)["correct"], name
    write_parquet(
        work.folder.path / "checked.parquet",
        pa.table({"id": [one.id for one in tests], "prompt": [one.text for one in tests], "gold": golds, **found}),
    )
    return accuracies(found, REFERENCE, config.seed)


@task(name="measure", task_run_name="measure on the lists", **PLAIN)
def _measure(work: Work, lists: Sequence[RankedList], settings: AlignConfig) -> dict[str, Any]:
    from llmlabel.alignment.train import measure

    return measure(lists, settings, str(work.config.run / "model"), settings.reference or settings.policy, work.config.cache)


@task(name="judge", task_run_name="compare the models, with the judge", **PLAIN)
def _judge(work: Work, lists: Sequence[RankedList], settings: AlignConfig) -> dict[str, Any]:
    return compare(work, lists, settings, str(work.config.run / "model"))


def in_short(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """A win rate without what is known of its judge, published as a table of Prefect's too."""
    if not found:
        return None
    told = {key: value for key, value in found.items() if key != "judge"}
    show_table("win-rate", [told], "policy against the model it started from")
    return told


def shown(folder: RunFolder) -> dict[str, Any]:
    metrics = read_json(folder.path / "metrics.json")
    win = in_short(metrics["win_rate"])
    return {
        "out": str(folder.path), "exit": folder.info["exit"], "win_rate": win, "scores": metrics.get("scores"),
        "accuracy": metrics.get("accuracy"),
        "cost": folder.info["cost"]["money"], "report": str(folder.path / "report.html"),
    }  # fmt: skip
