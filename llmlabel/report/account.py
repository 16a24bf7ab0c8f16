"""What failed, what it cost, and how to do it again."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmlabel.config import (
    AlignConfig,
    AnnotateConfig,
    AuditConfig,
    CommonConfig,
    DailyConfig,
    EvaluateConfig,
    GraphConfig,
    PipelineConfig,
    RankConfig,
    SampleConfig,
    SelectConfig,
    TaxonomyConfig,
)
from llmlabel.records import Status
from llmlabel.report import words
from llmlabel.report.files import Failures, RunFiles

OPTIONS = (  # of any flow, in the order they are shown; other settings go through --set
    "data", "responses", "edges", "features", "text_column", "label_column", "id_column", "gold_column", "use_case", "taxonomy",
    "annotations", "strategies", "target", "n", "score", "verify", "pilot", "generate_all",
    "budget_nodes", "select", "filter", "gnn", "rounds", "neighbour_context", "structure", "multi_label",
    "method", "max_labels", "levels", "induce_on", "batch_size", "samples", "few_shot", "consensus", "target_precision",
    "policy", "reference", "loss", "convention", "beta", "sft_weight", "lora", "learning_rate", "epochs", "list_size", "held_out",
    "cycles", "judge_by", "comparisons", "criteria", "demonstrations",
    "cascade", "explain", "ask", "label_with_llm", "prompts", "budget", "budget_calls", "budget_tokens", "seed",
)  # fmt: skip
KINDS: dict[str, type[CommonConfig]] = {
    "taxonomy": TaxonomyConfig, "annotate": AnnotateConfig, "audit": AuditConfig, "graph": GraphConfig,
    "align": AlignConfig, "rank": RankConfig, "evaluate": EvaluateConfig, "select": SelectConfig,
    "sample": SampleConfig, "pipeline": PipelineConfig, "daily": DailyConfig,
}  # fmt: skip
COMMANDS = {"rank": ("rank",), "evaluate": ("align", "evaluate")}  # of the others: run, and the flow's name
SETTINGS = {  # of these the flow's command has no option of its own
    "taxonomy": {"samples"}, "audit": {"use_case", "samples"}, "graph": {"use_case", "samples", "few_shot", "consensus", "loss"},
    "align": {"comparisons", "criteria"}, "evaluate": {"judge_by", "comparisons", "verify"},
    "select": {"learning_rate"}, "sample": {"verify"}, "pipeline": {"taxonomy", "select"},
}  # fmt: skip
ROLES = {"select": {"teacher"}, "pipeline": {"teacher"}}  # models that the flow's command has an option for
SWITCHES = {("choose", "per_prompt"): "--per-prompt"}  # options that stand for a value of a setting


@dataclass
class Failed:
    """The failed rows of one status; `reasons`: (reason, rows), the most frequent."""

    status: str
    rows: int
    reasons: list[tuple[str, int]]
    ids: list[str]


def failed(files: RunFiles) -> list[Failed]:
    """What failed, most rows first."""
    counts = {s: n for s, n in files.rows.statuses.items() if s not in set(Status) or Status(s).failed}
    groups = {s: files.failures.get(s, Failures(counts.get(s, 0))) for s in counts.keys() | files.failures.keys()}
    found = [_failed(status, counts.get(status, group.rows), group) for status, group in groups.items()]
    return sorted(found, key=lambda f: (-f.rows, f.status))


def _failed(status: str, rows: int, group: Failures) -> Failed:
    common = [(words.without_credentials(reason), n) for reason, n in group.reasons.most_common(3) if reason]
    reasons = [(words.clean(reason, 240), n) for reason, n in common]
    return Failed(words.clean(status, 40), rows, reasons, [words.clean(i, 60) for i in group.ids])


@dataclass
class Spent:
    """One line of the bill."""

    step: str
    model: str
    outcome: str
    calls: int
    read: int
    wrote: int
    money: float


@dataclass
class Traffic:
    """Requests to one model in the run's last process. Latency in seconds; `retries`: by cause, in words."""

    model: str
    answered: int
    p50: float | None
    p90: float | None
    p99: float | None
    in_flight: int
    retries: str


@dataclass
class Cost:
    """The bill and the clock. `timings`: (step, seconds, share of the longest)."""

    summary: str
    lines: list[Spent]
    total: Spent
    price_known: bool
    price_table: str
    timings: list[tuple[str, float, float]]
    traffic: list[Traffic]


def cost(run: dict[str, Any]) -> Cost:
    raw = run.get("cost") or {}
    lines = [_spent(line) for line in raw.get("by_step") or []]
    total = _spent({**raw, "cost": raw.get("money")})
    seconds = words.figures(run.get("timings"))
    longest = max(seconds.values(), default=0) or 1
    known = raw.get("price_known", True) is not False
    table = words.field(raw, "price_table")
    timings = [(words.clean(step, 60), v, v / longest) for step, v in seconds.items()]
    return Cost(_bill(raw, total, sum(seconds.values()), known), lines, total, known, table, timings, traffic(run))


def traffic(run: dict[str, Any]) -> list[Traffic]:
    """Models that answered anything, in the order they were asked first."""
    rows = []
    for spec, raw in (run.get("models") or {}).items():
        if not isinstance(raw, dict) or not (answered := int(words.figure(raw.get("answered")) or 0)):
            continue
        latency, retries = words.figures(raw.get("latency_s")), words.figures(raw.get("retries"))
        model = words.clean(words.without_credentials(spec), 160)
        said = words.listed([f"{n:.0f} × {words.clean(cause, 40)}" for cause, n in retries.items()]) or "none"
        most = sum(int(words.figure(n) or 0) for n in raw.get("most_in_flight") or [])
        rows.append(Traffic(model, answered, latency.get("p50"), latency.get("p90"), latency.get("p99"), most, said))
    return rows


def _spent(raw: dict[str, Any]) -> Spent:
    step, model, outcome = (words.field(raw, key) for key in ("step", "model", "outcome"))
    known = words.figures(raw)
    calls, read, wrote = (int(known.get(key, 0)) for key in ("calls", "prompt_tokens", "completion_tokens"))
    return Spent(step, model, outcome, calls, read, wrote, float(known.get("cost", 0)))


def _bill(raw: dict[str, Any], total: Spent, seconds: float, known: bool) -> str:
    cached, retries = (int(words.figure(raw.get(key)) or 0) for key in ("from_cache", "retries"))
    asked = [words.count(total.calls, "call")]
    asked += [words.count(cached, "answer from the store", "answers from the store") + " (free)"] * bool(cached)
    asked += [words.count(retries, "retry", "retries")] * bool(retries)
    price = words.money(total.money) if known else f"At least {words.money(total.money)} (not every price is known)"
    both = total.read + total.wrote
    tokens = f" {both:,} tokens: {total.read:,} read, {total.wrote:,} written." if both else ""
    clock = f" {words.duration(seconds)} of work." if seconds else ""
    return f"{price} for {words.listed(asked)}.{tokens}{clock}"


@dataclass
class Redo:
    """What somebody else needs to get the same result. `models`: (role, spec, model, revision)."""

    command: str
    package: str
    seed: str
    fingerprint: str
    run_id: str
    prompts: list[tuple[str, str]] = field(default_factory=list)
    models: list[tuple[str, str, str, str]] = field(default_factory=list)


def redo(run: dict[str, Any]) -> Redo:
    data, config = run.get("data") or {}, run.get("config") or {}
    models, flow = run.get("models") or {}, str(run.get("flow") or "taxonomy")
    seed = run.get("seed", config.get("seed"))
    out = str(Path(str(config.get("out"))).parent.parent) if flow == "daily" else ""  # the folder of all rounds
    return Redo(
        command=words.clean(words.without_credentials(command(config, flow, out)), 4000) if config else "",
        package=words.field(run, "package"),
        seed="" if seed is None else words.clean(seed, 40),
        fingerprint=words.field(data, "fingerprint"),
        run_id=words.field(run, "id"),
        prompts=[(words.clean(k, 120), words.clean(v, 80)) for k, v in sorted((run.get("prompts") or {}).items())],
        models=[_model(role, raw) for role, raw in models.items() if isinstance(raw, dict)],
    )


def _model(role: str, raw: dict[str, Any]) -> tuple[str, str, str, str]:
    spec, model, revision = (words.field(raw, key) for key in ("spec", "model", "revision"))
    return words.clean(role, 40), spec, model, revision


def command(config: dict[str, Any], flow: str = "taxonomy", out: str = "") -> str:
    """The command line that says the same as `config`; settings at their default are left out.

    Args:
        out: the run folder; "": a new one, named after that of `config`.
    """
    fields = KINDS.get(flow, CommonConfig).model_fields
    options = [key for key in OPTIONS if key in fields and key not in SETTINGS.get(flow, ()) and config.get(key) is not False]
    if config.get("responses") and config.get("data") == config["responses"]:
        options.remove("data")
    parts = ["llmlabel", *COMMANDS.get(flow, ("run", flow))]
    parts += [str(config["run"])] if flow == "evaluate" and config.get("run") else []
    for key in options:
        if key == "data" or (key == "use_case" and flow == "taxonomy") or _set(config, key, fields):
            parts.append(f"--{key.replace('_', '-')}")
            parts += [] if config.get(key) is True else [_written(config.get(key))]
    for spec in config.get("annotators") or []:
        parts += ["--annotator", str(spec)]
    parts += _llm(config.get("llm"), ROLES.get(flow, set()))
    for key in sorted(config.keys() & fields.keys() - {*options, "data", "llm", "out", "from_run", "annotators", "run"}):
        if _set(config, key, fields):
            switch = SWITCHES.get((key, str(config[key])))
            parts += [switch] if switch else ["--set", f"{key}={_written(config[key])}"]
    if config.get("from_run"):
        parts += ["--from", str(config["from_run"])]
    return shlex.join([*parts, "--out", out or f"{str(config.get('out') or f'runs/{flow}').rstrip('/')}-again"])


def _set(config: dict[str, Any], key: str, fields: dict[str, Any]) -> bool:
    return config.get(key) is not None and config[key] != fields[key].get_default(call_default_factory=True)


def _written(value: Any) -> str:
    return str(value if value is not None else "") if not isinstance(value, dict | list | bool) else json.dumps(value)


def _llm(value: Any, own: set[str]) -> list[str]:
    roles = {"default": value} if isinstance(value, str) else value if isinstance(value, dict) else {}
    parts = ["--llm", str(roles["default"])] if roles.get("default") else []
    for role, spec in roles.items():
        if spec and role != "default":
            parts += [f"--{role}", str(spec)] if role in own else ["--set", f"llm.{role}={spec}"]
    return parts
