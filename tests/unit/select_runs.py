"""A folder like the one `llmlabel run select` leaves: six strategies, some dropped early, one that fails a gate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llmlabel.selection.answers import OWN, Table
from llmlabel.selection.decide import decide
from llmlabel.selection.elimination import Elimination

PROMPTS, LOOKS = 60, [20]
Say = Callable[[str], str]
Json = dict[str, Any]
STRATEGIES = {  # mean of the score, share right, tokens, US dollars for 1,000
    "target_rewritten": (0.62, 0.88, 66, 0.41),
    "rationale_then_label": (0.86, 0.90, 74, 0.35),
    "imitate_target": (0.88, 0.87, 61, 0.52),
    "gold_hinted": (0.79, 0.92, 78, 0.38),
    "concise": (1.12, 0.89, 24, 0.12),
    "codebook_citing": (1.71, 0.86, 131, 0.66),
}
BEST, NEXT, HINTED, LAST = "target_rewritten", "rationale_then_label", "gold_hinted", "codebook_citing"
TARGET = (0.41, 0.71, 40, np.nan)
ASKED = [
    "My card was swallowed by the machine in the station and nobody answers the phone.",
    "Why is there a fee of 2.50 on a payment I made in my own currency?",
    "I would like to change the address on my account, please.",
    "The app says the transfer is pending since Tuesday.",
]
GOLD = ["card swallowed", "exchange fee", "change of address", "pending transfer"]
SAID = {
    "target_rewritten": "The customer says that {0}\nThis is about one thing only.\nLabel: {1}",
    "rationale_then_label": "The message describes a problem: {0} The best fit among the labels is clear.\n\nLabel: {1}",
    "imitate_target": "Let me think. {0} So it must be this.\nLabel: {1}",
    "gold_hinted": "As the gold label says, this is {1}: {0}\nLabel: {1}",
    "concise": "Label: {1}",
    "codebook_citing": 'The codebook has: "{1}: messages of customers who ask about {1}". The text: "{0}". Hence:\nLabel: {1}',
    OWN: "I think this is about {0}\nLabel: {1}",
}
PILOT: Json = {
    "strategies": [BEST, NEXT], "seeds": 3, "tests": 200, "untrained": 0.31, "difference": 0.042, "interval": [0.008, 0.075],
    "accuracy": {BEST: [0.61, 0.635, 0.62], NEXT: [0.57, 0.585, 0.585]}, "accepted": True,
    "reason": "the interval of the difference does not hold 0",
}  # fmt: skip
GENERATED: Json = {
    "strategies": [BEST], "rows": 5000, "kept": 4391, "dropped": {"wrong": 512, "truncated": 61, "refused": 36},
}  # fmt: skip


def scores(name: str) -> np.ndarray:
    """Nats per token; prompts that are hard for one are hard for all."""
    hard = np.random.default_rng(0).gamma(4, 0.05, PROMPTS)
    own = np.random.default_rng(sum(map(ord, name))).normal(0, 0.33 if name in STRATEGIES else 0.1, PROMPTS)
    return np.clip(STRATEGIES.get(name, TARGET)[0] + hard - hard.mean() + own - own.mean(), 0.05, None)


def measured(names: list[str], say: Say = str, closer: float = 1.0) -> Table:
    """All that is known of some strategies' answers. `closer`: what is left of their distance to the best one."""
    table = Table.empty([n if n == OWN else say(n) for n in names], [f"q{n:02}" for n in range(PROMPTS)], ("sppl", "ppl", "ifd"))
    best = scores(BEST)
    for s, name in enumerate(names):
        _, right, tokens, cost = STRATEGIES.get(name, TARGET)
        table.scores["sppl"][s] = best + closer * (scores(name) - best)
        table.scores["ppl"][s], table.scores["ifd"][s] = table.scores["sppl"][s] + 0.7, 0.61
        table.correct[s] = np.arange(PROMPTS) * 7 % 100 / 100 < right
        table.truncated[s], table.tokens[s], table.length_ratio[s], table.asked[s] = 0.0, tokens, tokens / 28, True
        table.leaks[s] = (np.arange(PROMPTS) % 3 == 0) * (name == HINTED)
        table.diversity[s], table.cost[s] = 0.41, cost
    return table


def summary(table: Table, s: int) -> Json:
    right = float(table.correct[s].mean())
    return {
        **{name: float(values[s].mean()) for name, values in table.scores.items()}, "correctness": right,
        "correctness_low": right - 0.09, "truncation": 0.0, "length_ratio": float(table.length_ratio[s, 0]),
        "diversity": 0.41, "tokens": float(table.tokens[s, 0]), "answered": 1.0,
        "cost_per_1000": None if np.isnan(table.cost[s]) else float(table.cost[s]),
    }  # fmt: skip


def metrics(say: Say = str, closer: float = 1.0, names: list[str] | None = None, **more: Any) -> Json:
    """metrics.json, with a real decision; `closer`: see `measured`."""
    table, own = measured(names or [*STRATEGIES], say, closer), measured([OWN])
    race = Elimination(table.strategies, n=PROMPTS, wanted=LOOKS)
    for upto in race.stages:
        race.look(table, upto)
    race.finish(table)
    decision = decide(table, score="sppl", elimination=race, notes=[say("4 prompts have no gold.")]).to_json()
    why = "the target gave a correct answer to 43 of 60 prompts; 14 groups of 3 of them stand before the prompts in turn"
    made = {
        "decision": decision, "scores": {name: summary(table, s) for s, name in enumerate(table.strategies)},
        "own": summary(own, 0), "exemplars": {"kind": "verified", "pool": 43, "asked": 60, "used": 42, "why": why}, "pilot": None,
        "generated": {"strategies": [say(BEST)], "rows": PROMPTS, "kept": 53, "dropped": {"wrong": 7}}, "per_prompt": None,
        "notes": [say("4 prompts have no gold.")], "counts": {"ok": 318, "refused": 2},
    }  # fmt: skip
    return {"schema": 1, **made, **more}


def write_answers(folder: Path, found: Json, say: Say = str) -> None:
    asked, gold = ([say(texts[n % 4]) for n in range(PROMPTS)] for texts in (ASKED, GOLD))
    ids = [say(f"q{n:02}") for n in range(PROMPTS)]
    pl.DataFrame({"id": ids, "prompt": asked, "gold": gold}).write_parquet(folder / "questions.parquet")
    looks = {
        row["strategy"]: row["dropped"]["look"] for row in found["decision"]["evidence"].get("ranking", []) if row["dropped"]
    }
    rows = []
    for name in [*STRATEGIES, OWN]:
        made = OWN if name == OWN else say(name)
        if made not in found["scores"] and name != OWN:
            continue
        table = measured([name])
        for n in range(looks.get(made, PROMPTS)):
            text = SAID[name].format(ASKED[n % 4] + " And so on." * (n % 9), GOLD[n % 4])
            sppl = float(table.scores["sppl"][0, n])
            rows.append(
                {
                    "id": ids[n], "strategy": made, "text": say(text), "status": "ok", "reason": "",
                    "correct": bool(table.correct[0, n]), "truncated": False, "tokens": float(len(text) // 4),
                    "length_ratio": 1.1, "leaks": float(table.leaks[0, n]), "sppl": sppl, "ppl": sppl + 0.7, "ifd": 0.6,
                    "model": say("gpt-4.1-mini"), "prompt": "respond/concise@1.0.0", "prompt_hash": "abc",
                }
            )  # fmt: skip
    rows[3] |= {"text": "", "status": "refused", "reason": say("it may not"), "correct": None, "sppl": None, "tokens": None}
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(folder / "answers.parquet")


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def run_info(say: Say = str, **settings: Any) -> Json:
    config = {
        "data": "tickets.parquet", "taxonomy": say("taxonomy.yaml"), "gold_column": "label", "target": say("models/smollm2-135m"),
        "n": PROMPTS, "out": "runs/select", "seed": 0, "llm": {"default": None, "teacher": "openai:gpt-4.1-mini"},
        "looks": LOOKS, "responses": None, "generate_all": None, "pilot": False, "choose": "strategy", **settings,
    }  # fmt: skip
    line = {"step": "answers", "model": "gpt-4.1-mini", "outcome": "ok", "calls": 320, "prompt_tokens": 91000, "cost": 0.0171}
    return {
        "flow": "select", "id": "s-1", "package": "0.7.0", "started": "2026-11-23T13:22:23+00:00", "seed": 0, "exit": 3,
        "config": config, "data": {"fingerprint": "c0ffee", "rows": 2500}, "prompts": {"respond/concise@1.0.0": "abc"},
        "counts": {"ok": 318, "refused": 2}, "timings": {"own answers": 118.2, "compare": 463.0, "decide": 1.2},
        "cost": {"money": 0.0171, "calls": 440, "prompt_tokens": 91000, "completion_tokens": 24000, "by_step": [line]},
        "models": {"teacher": {"spec": "openai:gpt-4.1-mini", "model": "gpt-4.1-mini-2025", "answered": 320}},
    }  # fmt: skip


def make_select_run(folder: Path, say: Say = str, settings: Json | None = None, **more: Any) -> Path:
    """A run of `llmlabel run select`. `settings`: of its configuration; `more`: for `metrics`."""
    folder.mkdir(parents=True)
    names = {name: say(name) for name in [*STRATEGIES]}

    def stable(text: str) -> str:
        return names[text] if text in names else say(text)

    found = metrics(stable, **more)
    write_json(folder / "metrics.json", found)
    write_answers(folder, found, stable)
    failure = {"id": "q03", "step": "answer concise", "status": "refused", "reason": say("it may not"), "attempts": 1}
    (folder / "failures.jsonl").write_text(json.dumps(failure) + "\n", encoding="utf-8")
    write_json(folder / "run.json", run_info(say, **(settings or {})))
    return folder


def make_whole_run(folder: Path, say: Say = str) -> Path:
    """One with everything there is."""
    shares = {BEST: 0.55, "concise": 0.27, "imitate_target": 0.18}
    return make_select_run(
        folder, say, {"generate_all": 5000, "pilot": True}, pilot=PILOT, generated=GENERATED, per_prompt=shares
    )
