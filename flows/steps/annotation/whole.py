"""What the parts of `annotate` come to together: counts, labels, cost and accuracy, read from the parts' run folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmlabel.flows.running.shares import UNITS, Used, caps_of, used
from llmlabel.flows.steps.annotation.in_parts import busy, run_of, told

from llmlabel.llm.accounts import bill
from llmlabel.parts import Part
from llmlabel.runs import DONE, PARTIAL, read_json
from llmlabel.stats import wilson

NOTE = "each part is calibrated and measured by its own gold rows: intervals, shares and promises are in its own report"
SUMS = (
    "money", "maybe_billed", "calls", "open_calls", "open_tokens", "from_cache", "retries", "prompt_tokens", "completion_tokens",
)  # fmt: skip


def ended(info: Mapping[str, Any]) -> bool:
    return info.get("exit") in (DONE, PARTIAL)


def account_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """What a part has used, as run.json's `cost`: from its answer store where it was killed before it could say so."""
    if info.get("exit") is not None or not info:
        return dict(info.get("cost") or {})
    found = bill(info)
    return {**(info.get("cost") or {}), **found["totals"], "by_step": found["by_step"]}


def used_by(out: Path, name: str) -> Used:
    """What counts against the caps: of a part that a worker of an earlier attempt is still at, all that this one may use."""
    info = told(out, name)
    if info and info.get("exit") is None and busy(run_of(out, name)):
        return dict.fromkeys(UNITS, 0) | caps_of(info["config"])
    return used(account_of(info))


def sum_up(out: Path, parts: Sequence[Part], info: dict[str, Any]) -> dict[str, Any]:
    """Put what the parts say into the run.json of the whole.

    Returns: metrics.json of the whole.
    """
    infos = {part.name: told(out, part.name) for part in parts}
    done = {name: one for name, one in infos.items() if ended(one)}
    accounts = {name: account_of(one) for name, one in infos.items()}
    info["counts"] = dict(_added(one["counts"] for one in done.values()))
    info["labels"] = dict(_added(one["labels"] for one in done.values()))
    info["cost"] = _cost(list(accounts.values()))
    info["models"] = {spec: model for one in infos.values() for spec, model in one.get("models", {}).items()}
    info["parts"] = {
        name: {"exit": one.get("exit"), "rows": sum(one.get("counts", {}).values()), "cost": accounts[name].get("money", 0.0)}
        for name, one in infos.items()
    }  # fmt: skip
    metrics = [one for name in done for one in _metrics(run_of(out, name))]
    return {
        "schema": 1, "scores": _accuracy(metrics), "note": NOTE, "counts": info["counts"],
        "parts": {"all": len(parts), "done": len(done), "failed_rows": sum(one["exit"] == PARTIAL for one in done.values())},
    }  # fmt: skip


def _added(several: Any) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in several:
        total.update(one)
    return total


def _cost(accounts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    lines: dict[tuple[str, str, str], dict[str, Any]] = {}
    for line in (line for account in accounts for line in account.get("by_step", [])):
        mine = lines.setdefault((line["step"], line["model"], line["outcome"]), dict.fromkeys(line, 0))
        for key, value in line.items():
            mine[key] = mine[key] + value if isinstance(value, int | float) else value
    tables = {account["price_table"] for account in accounts if "price_table" in account}
    return {
        **{name: round(sum(account.get(name) or 0 for account in accounts), 9) for name in SUMS},
        "price_known": all(account.get("price_known", True) for account in accounts),
        "price_table": ", ".join(sorted(map(str, tables))), "by_step": list(lines.values()),
    }  # fmt: skip


def _metrics(run: Path) -> list[dict[str, Any]]:
    with suppress(FileNotFoundError):
        return [read_json(run / "metrics.json")]
    return []


def _accuracy(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How often the labels are right, of the gold rows of all parts; none of them was predicted from its own label."""
    found = [one["scores"]["llmlabel"] for one in metrics if "accuracy" in one["scores"].get("llmlabel", {})]
    rows = sum(one["rows"] for one in found)
    if not rows:
        return {}
    right = sum(round(one["accuracy"] * one["rows"]) for one in found)
    low, high = wilson(right, rows)
    return {
        "llmlabel": {
            "accuracy": round(right / rows, 6), "accuracy_low": round(low, 6), "accuracy_high": round(high, 6), "rows": rows,
            "parts": len(found),
        }
    }  # fmt: skip
