"""What a run shows in Prefect's UI when it ends: its report in short, its labels, what failed, what it cost.

All of it is Markdown, which both of Prefect's UIs draw alike; texts of users and models go through `plain` and stay text. Keys
are `llmlabel-FLOW-WHAT`, the same in every run, so that the UI lists a run's artifact beside those of the runs before it.
"""

from __future__ import annotations

import base64
import json
import platform
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from llmlabel.report import charts, page_of, picture
from llmlabel.report.charts import Chart
from llmlabel.report.view import Node, Page
from llmlabel.report.words import clean, count, duration, latency, money, number, percent
from llmlabel.runs import PARTIAL, RunFolder

MOST_ROWS = 100  # of a table
MOST_FAILURES = 20
SHARE = 20  # characters of a bar that stands for all texts
AGAIN = "To ask them again, run this once more with the same settings, or:"
_MARKS = re.compile(r"([!-/:-@\[-`{-~])")
_ADDRESSES = re.compile(r"https?:(?=//)|www(?=\.)|(?<=[\w.+-])@(?=[\w-]+\.)", re.I)
_FENCE = "~~~~"


def plain(text: object, most: int = 200) -> str:
    """A text from outside on one line, so that Markdown shows it as it is: no HTML, link, picture or table comes of it.

    Escapes do not keep the UI from making links of addresses; a word joiner (U+2060, without width) in them does.
    """
    return _MARKS.sub(r"\\\1", _ADDRESSES.sub("\\g<0>\u2060", clean(text, most)))


def verbatim(text: str) -> str:
    """Lines shown as they are, in a box to copy from."""
    longest = max((len(run) for run in re.findall("~+", text)), default=0)
    fence = "~" * max(len(_FENCE), longest + 1)
    return f"{fence}\n{text}\n{fence}"


def table(rows: Sequence[Mapping[str, Any]], most: int = MOST_ROWS) -> str:
    """Rows as a Markdown table, columns in the order they come in; numbers to the right."""
    if not rows:
        return "none"
    columns = list(dict.fromkeys(key for row in rows for key in row))
    rules = ["---:" if any(_is_number(row.get(key)) for row in rows) else "---" for key in columns]
    lines = [_line(plain(key.replace("_", " ")) for key in columns), _line(rules)]
    lines += [_line(_cell(row.get(key)) for key in columns) for row in rows[:most]]
    hidden = len(rows) - most
    return "\n".join(lines) + (f"\n\n{count(hidden, 'row')} more." if hidden > 0 else "")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None or _is_number(value):
        return plain(number(value))
    return plain(json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value)


def key_of(what: str) -> str:
    """The key of an artifact of this run's flow."""
    return re.sub(r"[^a-z0-9]+", "-", f"llmlabel-{flow_run.get_flow_name()}-{what}".lower())


def show_markdown(key: str, text: str, description: str = "") -> None:
    """An artifact of this run; `text`: Markdown, in which what comes from outside is `plain` or `verbatim`."""
    with suppress(Exception):  # the UI is a view; a run never fails for it
        create_markdown_artifact(text, key=key_of(key), description=description)


def show_table(key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """Rows of one kind as an artifact of this run; what a cell says is shown as it is."""
    show_markdown(key, table(rows), plain(description))


def publish(folder: RunFolder) -> None:
    """What every run shows that has ended."""
    with suppress(Exception):
        page = page_of(folder.path)
        show_markdown("report", report(page, folder), "what came out, and where it lies")
        if page.tree:
            show_markdown("labels", labels(page.tree), "the labels, and how many texts have each")
        if page.failures:
            show_markdown("failures", failures(page, folder), "what failed, and why")
        show_cost(folder, page)


def show_cost(folder: RunFolder, page: Page | None = None) -> None:
    """What the run has cost so far, against its caps."""
    with suppress(Exception):
        show_markdown("cost", cost(page or page_of(folder.path), folder.info), "what it cost, against its caps")


def report(page: Page, folder: RunFolder) -> str:
    """The report in short: what came out, what to do, the charts, and where the files are."""
    parts = [f"# {plain(page.title)}", " ".join(plain(line, 600) for line in page.summary)]
    if folder.info.get("exit") == PARTIAL:
        parts += [f"Some rows failed. {AGAIN}", verbatim(_retry(folder))]
    parts += [table([{"status": s.status, "texts": s.rows, "meaning": s.meaning} for s in page.statuses])] * bool(page.statuses)
    parts += [_picture(chart) for chart in charts(page)]
    parts += [f"**Cost** {plain(page.cost.summary, 600)}", _where(folder.path)]
    return "\n\n".join(parts)


def _retry(folder: RunFolder) -> str:
    return shlex.join(["llmlabel", "retry", str(folder.path.resolve())])


def _picture(chart: Chart) -> str:
    drawn = base64.b64encode(picture(chart).encode()).decode()
    return f"## {plain(chart.title)}\n\n![{plain(chart.says, 600)}](data:image/svg+xml;base64,{drawn})"


def _where(path: Path) -> str:
    """A browser opens no file from a page of Prefect's, so the paths stand there to be copied."""
    here, host = path.resolve(), platform.node()
    copy = shlex.join(["scp", f"{host}:{here / 'report.html'}", "."])
    return "\n\n".join([
        "## Where it lies",
        f"On {plain(host)}. Paste the address of the report into a browser there:",
        verbatim(f"{(here / 'report.html').as_uri()}\n{here}"),
        "or bring it here:",
        verbatim(copy),
    ])  # fmt: skip


def labels(tree: Sequence[Node]) -> str:
    """The taxonomy as a table, children below their parents."""
    return table(_branches(tree, 0), most=500)


def _branches(nodes: Sequence[Node], depth: int) -> list[dict[str, Any]]:
    rows = []
    for node in nodes:
        name = f"{'· ' * depth}{node.name}"
        bar = "█" * max(round(SHARE * node.share), 1 if node.rows else 0)
        rows.append(
            {"label": name, "texts": node.rows, "share": percent(node.share), "of all": bar, "description": node.description}
        )
        rows += _branches(node.children, depth + 1)
    return rows


def failures(page: Page, folder: RunFolder) -> str:
    """A row for each kind of failure and its reasons."""
    rows = []
    for failed in page.failures:
        ids = ", ".join(failed.ids)
        for place, (reason, n) in enumerate(failed.reasons or [("", failed.rows)]):
            rows.append({"status": failed.status, "rows": n, "reason": reason, "such as": ids if place == 0 else ""})
    return "\n\n".join(
        [table(rows, MOST_FAILURES), f"All of them: failures\\.jsonl in the run folder. {AGAIN}", verbatim(_retry(folder))]
    )


def cost(page: Page, info: Mapping[str, Any]) -> str:
    """Caps, then the bill by step, the requests by model, and the time."""
    lines = [*page.cost.lines, page.cost.total]
    bill = [
        {"step": b.step or "all", "model": b.model, "outcome": b.outcome, "calls": b.calls, "tokens read": b.read,
         "tokens written": b.wrote, "cost": money(b.money)} for b in lines
    ]  # fmt: skip
    traffic = [
        {"model": t.model, "requests": t.answered, "half within": latency(t.p50), "99% within": latency(t.p99),
         "most in flight": t.in_flight, "retries": t.retries} for t in page.cost.traffic
    ]  # fmt: skip
    times = [{"step": step, "time": duration(seconds)} for step, seconds, _ in page.cost.timings]
    parts = {"Caps": _caps(info), "Bill": table(bill), "Requests": table(traffic), "Time": table(times)}
    said = [plain(page.cost.summary, 600), *(f"## {name}\n\n{text}" for name, text in parts.items() if text != "none")]
    return "\n\n".join(said)


def _caps(info: Mapping[str, Any]) -> str:
    spent, config = info.get("cost") or {}, info.get("config") or {}
    tokens = spent.get("prompt_tokens", 0) + spent.get("completion_tokens", 0)
    used = {"budget": money(spent.get("money")), "budget_calls": spent.get("calls"), "budget_tokens": tokens}
    rows = [{"cap": name, "used": used[name], "of": config[name]} for name in used if config.get(name) is not None]
    return table([row | {"of": money(row["of"])} if row["cap"] == "budget" else row for row in rows])
