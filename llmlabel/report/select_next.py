"""What to do after a selection: commands made of the run's own options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmlabel.report import words
from llmlabel.report.account import command
from llmlabel.report.parts import part, whole
from llmlabel.report.select_read import Answers, interval
from llmlabel.report.select_table import Row, Strategies
from llmlabel.selection.elimination import MARGIN

Json = Mapping[str, Any]
AT_SCALE = 5000  # prompts, in the command that is proposed
MORE = 300  # prompts; more would tell nothing new
FEWEST_TESTS = 10  # prompts that nobody has learnt from


@dataclass
class Step:
    """Something to do next; `command`: "" where there is none."""

    why: str
    command: str = ""


def next_steps(run: Json, metrics: Json, chosen: str, verdict: str, shown: Strategies, given: Answers) -> list[Step]:
    """The most useful first; none before there is a decision."""
    config, decided = part(run, "config"), part(metrics, "decision")
    if not config or not decided:
        return []
    if config.get("generate_all"):
        return [Step("Train on sft.parquet: its rows are chats, as TRL's SFTTrainer reads them.")] if chosen else []
    left = (whole(part(run, "data"), "rows") or 0) - (whole(config, "n") or 0)
    steps = _pilot(config, metrics, verdict, shown, given, left)
    return [*steps, *_more(config, decided, verdict, left), *_prices(config, shown.rows), *_at_scale(config, chosen)]


def _pilot(config: Json, metrics: Json, verdict: str, shown: Strategies, given: Answers, left: int) -> list[Step]:
    known = any(row.get("gold") is not None for row in given.questions.values())
    ranked = sum(bool(row.place) for row in shown.rows)
    if config.get("pilot") or part(metrics, "pilot") or not known or ranked < 2 or left < FEWEST_TESTS or verdict == "clear":
        return []
    why = "Train the target on the two best and test it, which is surer than any score. Answers that were paid for cost nothing."
    return [Step(why, _command(config, {"pilot": True}, "pilot"))]


def _more(config: Json, decided: Json, verdict: str, left: int) -> list[Step]:
    gap, n = interval(part(decided, "evidence"), "gap").value, whole(config, "n") or 0
    more = min(MORE, 2 * n, n + left)
    if verdict != "tie" or gap is None or abs(gap) < MARGIN or more <= n:
        return []
    why = f"The gap may be more than nothing: {more} prompts would tell it from chance better than {n} did."
    return [Step(why, _command(config, {"n": more}, str(more)))]


def _prices(config: Json, rows: Sequence[Row]) -> list[Step]:
    ranked = [row for row in rows if row.place]
    if config.get("prices") or config.get("responses") or len(ranked) < 2 or all(row.cost is not None for row in ranked):
        return []
    return [Step("Not every price is known, so cost could not decide: name the models' prices with --prices FILE.")]


def _at_scale(config: Json, chosen: str) -> list[Step]:
    if not chosen:
        return []
    if config.get("responses"):
        return [Step("Train on sft.parquet, which holds the answers that were chosen, as chats for TRL's SFTTrainer.")]
    why = f"Have training rows written for as many prompts as you need, such as {AT_SCALE:,}, with what was decided here."
    out = str(config.get("out") or "runs/select")
    return [Step(why, _command(config, {"generate_all": AT_SCALE, "from_run": out, "pilot": False}, "sft"))]


def _command(config: Json, changes: Json, name: str) -> str:
    """The run's own command with some settings changed, into a new folder."""
    out = str(config.get("out") or "runs/select").rstrip("/")
    said = command({**config, **changes}, "select", out=f"{out}-{name}")
    return words.clean(words.without_credentials(said), 4000)
