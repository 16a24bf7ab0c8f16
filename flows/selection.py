"""`llmlabel run select`: which way of writing the training answers fits the model to be trained, and the answers it makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from llmlabel.flows.running.artifacts import plain, show_markdown, show_table
from llmlabel.flows.running.common import carry_out, failed_rows, timed
from llmlabel.flows.running.configured import flow
from llmlabel.flows.steps.annotation.labelling import PLAIN, write_failures
from llmlabel.flows.steps.selection import files
from llmlabel.flows.steps.selection.answers import ask_target
from llmlabel.flows.steps.selection.scores import advance, measure_spread
from llmlabel.flows.steps.selection.work import Work, as_examples, prepare
from prefect import task

from llmlabel.config import SelectConfig
from llmlabel.errors import ConfigError
from llmlabel.events import emit
from llmlabel.llm import Models
from llmlabel.runs import DONE, PARTIAL, RunFolder, load_run, read_json, write_json
from llmlabel.selection.decide import decide
from llmlabel.selection.elimination import Elimination
from llmlabel.selection.exemplars import Pool
from llmlabel.selection.questions import LABEL_TASK
from llmlabel.selection.scores import PLAIN as PLAIN_FORM
from llmlabel.selection.strategies import needs, pinned


@flow(name="select")
def select(config: SelectConfig) -> dict[str, Any]:
    """Choose how training answers are written, and write them.

    Returns: the run folder, exit code, the decision in short, and where the training rows are.
    """
    if config.from_run and not config.generate_all:
        raise ConfigError("--from takes over an earlier run's decision; say how many answers to write: --generate-all N")
    plan = prepare(config)
    old = load_run(config.from_run).metrics if config.from_run else None
    used = sorted({LABEL_TASK, PLAIN_FORM, *pinned(plan.strategies)})
    extra: dict[str, Any] = {
        "prompts": plan.prompts.hashes({id_: id_ for id_ in used}),
        "strategies": [strategy.model_dump(mode="json") for strategy in plan.strategies],
        "taxonomy": plan.taxonomy and plan.taxonomy.model_dump(mode="json"),
    }  # fmt: skip

    def steps(folder: RunFolder, models: Models) -> int:
        work = Work(config, plan, folder, models)
        for text in plan.notes:
            emit("note", text=text)
        return take_over(work, old) if old else run_steps(work)

    return carry_out(config, "select", as_examples(plan), extra, steps, shown)


def run_steps(work: Work) -> int:
    """The chain itself; every step leaves its result in the run folder."""
    folder = work.folder
    timed(folder, "own answers", lambda: know_target(work))
    timed(folder, "compare", lambda: compare(work))
    timed(folder, "decide", lambda: conclude(work))
    if work.config.pilot:
        work.made["pilot"] = timed(folder, "pilot", lambda: try_out(work))
    chosen = chosen_strategies(work, work.made["decision"])
    timed(folder, "write", lambda: write_all(work, chosen))
    return close(work)


def take_over(work: Work, old: Mapping[str, Any]) -> int:
    """An earlier run's decision, carried out on more prompts."""
    decision = old["decision"]
    chosen = chosen_strategies(work, decision)
    if not chosen:
        raise ConfigError(f"--from {work.config.from_run} chose no strategy; see its report.html")
    if unknown := set(chosen) - set(work.plan.names):
        names = ", ".join(sorted(unknown))
        raise ConfigError(f"--from {work.config.from_run} chose {names}, which is not among the strategies now (--strategies)")
    if imitates(work, chosen):
        timed(work.folder, "own answers", lambda: know_target(work))
    work.made |= {"decision": decision, "scores": old.get("scores", {}), "own": old.get("own"), "exemplars": old.get("exemplars")}
    timed(work.folder, "write", lambda: write_all(work, chosen))
    return close(work)


def imitates(work: Work, names: Sequence[str]) -> bool:
    """Whether one of these strategies is shown the target's own answers."""
    return any("exemplars" in needs(s, work.prompts.get(s.prompt)) for s in work.plan.strategies if s.name in names)


@task(name="own answers", task_run_name="know the target", **PLAIN)
def know_target(work: Work) -> None:
    """How the target itself answers: what it is shown before it scores others' answers, and a reference beside them."""
    config, plan = work.config, work.plan
    wanted = config.score in ("sppl", "cosine", "all")
    if work.form == "plain":
        work.note(f"{config.target} has no chat template: its answers are not asked for, and prompts are scored as plain text")
    elif wanted or imitates(work, plan.names):
        work.own = ask_target(work, plan.drawn)
        work.models.unload()
    asked = plan.drawn if work.own else []
    work.pool = Pool.of(asked, [work.own.get(q.id, []) for q in asked], k=config.exemplars, seed=config.seed)
    if wanted and config.score != "cosine" and not work.pool.enough:
        work.note(f"plain perplexity decides, not self-aligned perplexity: {work.pool.why}")


@task(name="compare", task_run_name="compare strategies", **PLAIN)
def compare(work: Work) -> None:
    """Answers and scores, look by look; strategies that are clearly behind are not asked any further."""
    config, drawn = work.config, work.plan.drawn
    wanted = [] if config.batch else config.looks  # a batch job may take a day
    race = Elimination(work.plan.names, n=len(drawn), wanted=wanted, score=work.score, drop_at=config.drop_at)
    done = 0
    for upto in race.stages:
        advance(work, race.active, done, upto)
        done = upto
        for name, by in race.look(work.table, upto).items():
            emit("note", text=f"{name} is not asked any further after {upto} prompts: {by} is clearly ahead")
    measure_spread(work)
    while back := race.finish(work.table):
        advance(work, back, 0, len(drawn))
        measure_spread(work)
    work.race = race


@task(name="decide", task_run_name="decide on a strategy", **PLAIN)
def conclude(work: Work) -> None:
    """The verdict, from what has been paid for."""
    decision = decide(work.table, score=work.score, elimination=work.race, seed=work.config.seed, notes=work.notes)
    work.made["decision"] = decision.to_json()


def chosen_strategies(work: Work, decision: Mapping[str, Any]) -> list[str]:
    """Whose answers become training rows: the chosen strategy, or all that pass where each prompt chooses."""
    if work.config.choose == "strategy":
        return [decision["strategy"]] if decision["strategy"] else []
    return [row["strategy"] for row in decision["evidence"]["ranking"] if row["passed"]]


@task(name="pilot", task_run_name="train pilots", **PLAIN)
def try_out(work: Work) -> dict[str, Any] | None:
    """Train the target on the two best and test it on prompts nobody has learnt from."""
    best = [row["strategy"] for row in work.made["decision"]["evidence"]["ranking"] if row["rank"]][:2]
    tests = [question for question in work.plan.rest if question.gold is not None][: work.config.pilot_tests]
    if len(best) < 2 or len(tests) < 10:
        why = "fewer than two strategies pass the gates" if len(best) < 2 else f"only {len(tests)} more prompts have gold"
        work.note(f"no pilot: {why}")
        return None
    advance(work, [name for name in best if name in work.race.dropped], 0, len(work.plan.drawn))
    learn = {name: files.training_pairs(work, name, work.plan.drawn) for name in best}
    from llmlabel.flows.steps.selection.pilot import pilot

    found = pilot(work, (best[0], best[1]), learn, tests, work.taxonomy)
    if found["better"]:
        told = work.made["decision"]
        told["strategy"] = found["better"]
        told["evidence"]["reason"].append(f"The pilot decides for {told['strategy']}: {found['reason']}")
    return found


@task(name="write", task_run_name="write the answers", **PLAIN)
def write_all(work: Work, chosen: Sequence[str]) -> None:
    """The training rows, and the files of the evidence."""
    if chosen:
        work.made |= files.write_training_rows(work, chosen)
    else:
        work.note("no training rows: no strategy was chosen")
    if work.config.from_run is None:
        files.write_evidence(work)


def close(work: Work) -> int:
    """metrics.json, failures.jsonl and the exit code."""
    folder = work.folder
    answers = [a for by_id in work.answers.values() for a in by_id.values()]
    attempts = 0 if work.plan.given else folder.retries + 1
    failures = [
        {"id": a.id, "step": f"answer {a.strategy}", "status": str(a.status), "reason": a.reason, "attempts": attempts}
        for a in answers if a.status.failed
    ]  # fmt: skip
    folder.info["counts"] = dict(Counter(str(a.status) for a in answers))
    write_json(folder.path / "metrics.json", {"schema": 1, **work.made, "notes": work.notes, "counts": folder.info["counts"]})
    write_failures(folder.path / "failures.jsonl", failures)
    failed_rows(folder, failures)
    return PARTIAL if any(f["attempts"] for f in failures) else DONE


def shown(folder: RunFolder) -> dict[str, Any]:
    """The run in a few figures, in Prefect's UI and as a result."""
    metrics = read_json(folder.path / "metrics.json")
    decision, evidence = metrics["decision"], metrics["decision"]["evidence"]
    columns = ("strategy", "rank", "mean", "gap", "p_holm", "n", "passed", "cost")
    show_table("ranking", [{key: row[key] for key in columns} for row in evidence["ranking"]], "strategies, the best first")
    reasons = "\n".join(f"- {plain(reason, 600)}" for reason in evidence["reason"])
    show_markdown("decision", f"**{plain(decision['verdict'])}**: {plain(decision['strategy'])}\n\n{reasons}", "what was decided")
    return {
        "out": str(folder.path), "exit": folder.info["exit"], "counts": folder.info["counts"], "strategy": decision["strategy"],
        "verdict": decision["verdict"], "reason": evidence["reason"], "generated": metrics.get("generated"),
        "pilot": (metrics.get("pilot") or {}).get("reason"), "cost": folder.info["cost"]["money"], "retries": folder.retries,
        "report": str(folder.path / "report.html"),
    }  # fmt: skip
