"""The report: what stands in it, what may be missing, and that texts of users stay texts."""

from __future__ import annotations

import json
import math
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from llmlabel.data import labels_table
from llmlabel.errors import DataError
from llmlabel.records import Annotation, Label, Status, Taxonomy
from llmlabel.report import words, write_report
from llmlabel.report.account import command
from llmlabel.report.plots import HEIGHT, WIDTH, Cloud, Mark, marks, panel, place_names, scaled

# (id, name, description, group, texts)
TOPICS = [
    ("charged-twice", "Charged twice", "One purchase was billed two times, or the refund for it has not come.", "money",
     ["I see two charges of {n} euros for the same order.",
      "You billed me twice on {day}, please return one payment."]),
    ("price-question", "Questions about prices", "Asks what something costs before buying.", "money",
     ["How much is the yearly plan for {n} people?",
      "Is there a student price? Your page says {n} but a friend paid less."]),
    ("late-parcel", "Parcel is late", "The order was sent but did not arrive when promised.", "orders",
     ["My parcel was due on {day} and is still not here.",
      "طلبي متأخر منذ {n} أيام ولم يصل بعد.", "Tracking has not moved for {n} days."]),
    ("wrong-item", "Wrong item received", "Something other than what was ordered came.", "orders",
     ["I ordered size {n} and got a smaller one.", "وصلني منتج مختلف عن الذي طلبته يوم {day}."]),
    ("return", "Returning an order", "Wants to send something back and asks how.", "orders",
     ["How can I return the lamp I bought on {day}?", "The return label will not print, order {n}."]),
    ("sign-in", "Cannot sign in", "Password, code or account lock keeps the customer out.", "account",
     ["The code for signing in never arrives, I tried {n} times.", "لا أستطيع تسجيل الدخول منذ {day}."]),
    ("app-crash", "App crashes", "The app closes or freezes while it is used.", "account",
     ["The app closes when I open my basket, version {n}.", "Since {day} it freezes on the start screen."]),
    ("arabic", "اللغة العربية في التطبيق", "رسائل عن ترجمة التطبيق أو اتجاه النص.", "account",
     ["النص العربي يظهر من اليسار إلى اليمين في الصفحة {n}.", "متى يدعم التطبيق اللغة العربية؟ سألت يوم {day}."]),
]  # fmt: skip
GROUPS = {"money": "Money", "orders": "Orders and delivery", "account": "Account and app"}
DAYS = ["Monday", "Tuesday", "Thursday", "the 3rd of May", "Sunday evening"]
HOSTILE = [
    "<script>document.title = 'pwned'</script>",
    "</script><script>document.title = 'pwned'</script>",
    "</title></svg></style><img src=x onerror=\"document.title='pwned'\">",
    "{{7*7}} {% raw %} ${7*7} {{ cycler.__init__.__globals__ }}",
    "<!-- never closed",
    "]]><![CDATA[ &lt;b&gt; \" ' onmouseover=alert(1)",
    "\u202egnirts siht nrut\u2066 \u200f مرحبا \u200e",
    "x" * 10_000,
    "nul\x00 bell\x07 escape\x1b[31m feed\x0c half \ud800 \ufffe",
    "javascript:document.title='pwned'",
]


def make_run(folder: Path, rows: int = 300, topics: int = 8, levels: int = 2, texts: list[str] | None = None) -> Path:
    """Write a run folder like a real one. Texts in `texts` go everywhere a text of a user or a model can stand."""
    rng, hostile = random.Random(0), texts or []
    chosen = [TOPICS[n % 8] if n < 8 else _more(n) for n in range(topics)]
    said = [(t[0], rng.choice(t[4]).format(n=rng.randint(3, 90), day=rng.choice(DAYS))) for t in _draw(chosen, rows, rng)]
    said = [(label, hostile[n % len(hostile)] if hostile and n % 3 == 0 else text) for n, (label, text) in enumerate(said)]
    taxonomy = _taxonomy(chosen, said, levels, hostile)
    annotations = [_annotation(n, label, rng) for n, (label, _) in enumerate(said)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "taxonomy.yaml").write_text(taxonomy.dump(), encoding="utf-8")
    pq.write_table(labels_table(annotations), folder / "labels.parquet")
    _failures(folder, annotations, hostile)
    counts = {s: sum(a.status == s for a in annotations) for s in Status}
    texts_by_id = {i: said[int(i)][1] for label in taxonomy.labels for i in label.examples}
    _json(folder / "run.json", _run(rows, {s: n for s, n in counts.items() if n}, hostile))
    _json(folder / "metrics.json", _metrics())
    _json(folder / "steps" / "texts.json", texts_by_id)
    _json(folder / "steps" / "map.json", _map(chosen, said, annotations, rng))
    _json(folder / "steps" / "induction.json", _induction(chosen, hostile))
    return folder


def _more(n: int) -> tuple[str, str, str, str, list[str]]:
    what = [
        "Newsletter",
        "Gift cards",
        "Opening hours",
        "Spare parts",
        "Warranty",
        "Job offers",
        "Invoices",
        "Store visits",
        "Bulk orders",
    ]
    name = f"{what[n % 9]}, {['general', 'abroad', 'for companies'][n % 3]} {n}"
    return (
        f"topic-{n}",
        name,
        f"Asks about {name.lower()}.",
        list(GROUPS)[n % 3],
        [f"A question on {name.lower()}: {{n}} on {{day}}."],
    )


def _draw(topics: list[Any], rows: int, rng: random.Random) -> list[Any]:
    return rng.choices(topics, weights=[1 / (n + 2) for n in range(len(topics))], k=rows)


def _taxonomy(topics: list[Any], said: list[tuple[str, str]], levels: int, hostile: list[str]) -> Taxonomy:
    groups = [Label(id=g, name=name, description=f"Everything about {name.lower()}.") for g, name in GROUPS.items()]
    labels = groups if levels == 2 else []
    for n, (label, name, description, group, _) in enumerate(topics):
        examples = [str(i) for i, (owner, _) in enumerate(said) if owner == label][:3]
        if hostile:
            name, description = _yaml(hostile[n % len(hostile)]), _yaml(hostile[(n + 3) % len(hostile)])
        labels.append(
            Label(id=label, name=name, description=description, parent=group if levels == 2 else None, examples=examples)
        )
    return Taxonomy(use_case=_yaml(hostile[0]) if hostile else "why customers write to us", labels=labels)


def _yaml(text: str) -> str:
    """YAML itself refuses half a surrogate pair; everything else may stand in it."""
    return text.replace("\ud800", "")


def _annotation(n: int, label: str, rng: random.Random) -> Annotation:
    draw, source = rng.random(), "llm" if n < 200 else "student"
    status = Status.OK
    for share, other in (
        (0.01, Status.PARSE_FAILED),
        (0.015, Status.REFUSED),
        (0.04, Status.LOW_CONFIDENCE),
        (0.065, Status.NONE_FITS),
    ):
        if draw < share:
            return Annotation(str(n), None, other, confidence=None, source=source)
    also = [label, TOPICS[n % 8][0]] if n % 9 == 0 else [label]
    return Annotation(
        str(n),
        label,
        status,
        also,
        round(0.6 + 0.4 * rng.random(), 3),
        {label: 0.9},
        "code",
        source,
        suspect=n % 97 == 0,
    )


def _failures(folder: Path, annotations: list[Annotation], hostile: list[str]) -> None:
    reasons = [h.replace("\ud800", "") for h in hostile] or ["the answer is not JSON", "'category' is missing"]
    failed = [a for a in annotations if a.status.failed]
    lines = [{"id": a.id, "status": a.status, "reason": reasons[n % len(reasons)]} for n, a in enumerate(failed)]
    (folder / "failures.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _json(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")  # ASCII: half a surrogate pair survives as \ud800


def _map(topics: list[Any], said: list[tuple[str, str]], annotations: list[Annotation], rng: random.Random) -> dict[str, Any]:
    turn = {t[0]: 2.4 * n for n, t in enumerate(topics)}
    far = {t[0]: 2 + 4 * math.sqrt(n / len(topics)) for n, t in enumerate(topics)}
    return {
        "id": [a.id for a in annotations],
        "x": [far[label] * math.cos(turn[label]) + rng.gauss(0, 0.55) for label, _ in said],
        "y": [far[label] * math.sin(turn[label]) + rng.gauss(0, 0.55) for label, _ in said],
        "label": [a.label for a in annotations],
        "text": [text[:160] for _, text in said],
    }


def _induction(topics: list[Any], hostile: list[str]) -> dict[str, Any]:
    def edit(op: str, label: str, into: str, reason: str, applied: bool = True) -> dict[str, Any]:
        say = (lambda text: hostile[len(text) % len(hostile)]) if hostile else str
        return {"op": op, "label": say(label), "into": say(into), "reason": say(reason), "applied": applied}

    added = [edit("add", t[1], "", f"{n + 4} texts of this minibatch fit no other label") for n, t in enumerate(topics)]
    merged = edit("merge", "Refund missing", "Charged twice", "both ask for money back after one purchase")
    vague = edit("add", "Other", "", "the name says nothing: a vague name is not allowed", applied=False)
    steps = [
        ("generate", None, 5, 62.0, 0.71, added[:5]),
        ("update", 1, 7, 70.0, 0.79, added[5:7]),
        ("update", 2, 9, 74.0, 0.86, [*added[7:], vague]),
    ]
    steps += [
        ("update", 3, 8, 81.0, 0.9, [merged]),
        ("update", 4, 8, 83.0, 0.93, []),
        ("review", None, 8, 88.0, 0.94, []),
    ]
    keys = ("step", "batch", "labels", "rating", "coverage", "edits")
    return {
        "method": "tnt",
        "why": "the model writes whole tables well",
        "history": [dict(zip(keys, s, strict=True)) for s in steps],
    }


def _metrics() -> dict[str, Any]:
    gold = {
        "nmi": 0.742,
        "ami": 0.728,
        "ari": 0.655,
        "v_measure": 0.742,
        "accuracy": 0.803,
        "k_found": 8,
        "k_gold": 9,
        "exact": None,
    }
    kmeans = {
        "nmi": 0.641,
        "ami": 0.622,
        "ari": 0.667,
        "v_measure": 0.641,
        "accuracy": 0.688,
        "k_found": 9,
        "k_gold": 9,
    }
    plain = {
        "coverage": 0.935,
        "hit_rate_random": 0.97,
        "hit_rate_nearest": 0.84,
        "relevance": 0.91,
        "redundancy": 0.12,
        "stability_ari": 0.71,
    }
    tried = {"logistic_regression": 0.901, "lightgbm": 0.872, "mlp": 0.893}
    student = {
        "name": "logistic_regression",
        "accuracy": 0.901,
        "accuracy_low": 0.852,
        "accuracy_high": 0.937,
        "macro_f1": 0.884,
        "rows": 200,
    }
    scores = {"llmlabel": gold, "kmeans": kmeans, "no_gold": plain, "student": student | {"candidates": tried}}
    return {"schema": 1, "scores": scores, "counts": {}, "cost": {}, "decision": {"method": "tnt", "why": ""}}


def _run(rows: int, counts: dict[str, int], hostile: list[str]) -> dict[str, Any]:
    keys = ("step", "model", "outcome", "calls", "prompt_tokens", "completion_tokens", "cost")
    bill = [
        ("generate", "gpt-5-mini", "ok", 1, 6200, 540, 0.0026),
        ("update", "gpt-5-mini", "ok", 4, 27400, 1900, 0.0107),
        ("label", "gpt-5-nano", "ok", 196, 88200, 2100, 0.0053),
        ("label", "gpt-5-nano", "unusable", 4, 1800, 90, 0.0001),
    ]
    spent = {
        "money": 0.0187,
        "price_known": True,
        "price_table": "genai-prices 2026-07-01",
        "calls": 205,
        "from_cache": 12,
        "retries": 3,
    }
    spent |= {
        "prompt_tokens": 123600,
        "completion_tokens": 4630,
        "by_step": [dict(zip(keys, line, strict=True)) for line in bill],
    }
    use_case = hostile[0] if hostile else "why customers write to us"
    config = {
        "use_case": use_case,
        "data": "tickets.parquet",
        "out": "runs/tickets",
        "gold_column": "label",
        "max_labels": 12,
        "seed": 0,
    }
    config |= {
        "llm": {"default": "openai:gpt-5-nano", "update": "gpt-5-mini@https://me:canary@models.example/v1"},
        "chains": 2,
    }
    return {
        "schema": 1, "id": "5f0c9d2e7a", "flow": "taxonomy", "config": config, "package": "0.1.0",
        "seed": 0, "counts": counts,
        "prompts": {"annotate/classify@1.0.0": "9b1f0c2d77aa", "taxonomy/update@1.0.0": "41c7de90b2ff"},
        "models": {"label": {"spec": "openai:gpt-5-nano", "model": "gpt-5-nano-2026-03-01", "revision": ""},
                   "update": {"spec": "gpt-5-mini@https://me:canary@models.example/v1", "model": "gpt-5-mini",
                              "revision": "r7"}},
        "data": {"fingerprint": "c0ffee5d0b1e44aa", "rows": rows, "texts_cut": 1, "empty": 0, "duplicates": 4},
        "cost": spent, "timings": {"read": 0.4, "vectors": 6.2, "induce": 41.8, "label": 63.1, "student": 4.4},
        "started": "2026-07-01T09:12:40+00:00", "exit": 3,
    }  # fmt: skip


class Seen(HTMLParser):
    """What a browser would see: tags, attributes and text; scripts and styles apart."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.code: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = [tag]

    def handle_endtag(self, tag: str) -> None:
        self.inside = []

    def handle_data(self, data: str) -> None:
        (self.code if self.inside in (["script"], ["style"]) else self.words).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def see(path: Path) -> Seen:
    seen = Seen()
    seen.feed(path.read_text(encoding="utf-8"))
    return seen


def test_every_section_stands_there_in_order(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run"))
    text = see(page).text
    headings = re.findall(r"<h2>(.*?)</h2>", page.read_text(encoding="utf-8"))
    assert page == tmp_path / "run" / "report.html"
    assert headings == [
        "The labels", "A map of the texts", "How the taxonomy grew", "How good the labels are", "The classifier",
        "What failed", "What it cost", "How to do it again",
    ]  # fmt: skip
    for wanted in (
        "300 texts, 8 labels in 3 groups,", "why customers write to us", "Charged twice", "اللغة العربية في التطبيق",
        "gpt-5-nano-2026-03-01", "9b1f0c2d77aa", "c0ffee5d0b1e44aa", "the answer is not JSON",
        "$0.019 for 205 calls", "a vague name is not allowed", "95% interval 85% to 94%",
    ):  # fmt: skip
        assert wanted in text
    assert not list(tmp_path.glob("run/.*")), "the temporary file is gone"


def test_the_counts_add_up(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    html = write_report(folder).read_text(encoding="utf-8")
    labels = pq.read_table(folder / "labels.parquet").to_pylist()
    bars = [int(n) for n in re.findall(r"</span>\s*<b>([\d,]+)</b><span>[^<]*%</span>", html)]
    assert sum(bars) == sum(row["status"] == "ok" for row in labels)
    assert bars
    assert html.count('<use href="#m') >= 300


def test_texts_of_users_stay_texts(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path, texts=HOSTILE))
    seen = see(page)
    html = page.read_text(encoding="utf-8")
    assert "document.title" not in "".join(seen.code)
    assert html.count("<script") == html.count("</script") == 1
    assert {tag for tag, _ in seen.tags}.isdisjoint({"img", "iframe", "object", "embed", "base", "form", "a"})
    assert not [a for _, attrs in seen.tags for a in attrs if a.startswith("on")]
    assert "{{7*7}}" in seen.text
    assert "49" not in re.findall(r"<h4>.*?</h4>", html, re.S)[3]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe]", html)
    assert "x" * 450 not in html
    assert "canary" not in html, "a password in a URL"


def test_every_value_that_can_carry_bidi_marks_is_isolated(tmp_path: Path) -> None:
    """An override inside its own element with `dir`, `bdi` or an SVG text cannot turn what stands beside it."""
    html = write_report(make_run(tmp_path, texts=HOSTILE)).read_text(encoding="utf-8")
    body = html[html.index("<main>") :]
    for match in re.finditer("\u202e", body):
        tag = body[body.rindex("<", 0, match.start()) : match.start()]
        assert re.match(r'<(bdi|title|text|[a-z0-9]+ [^>]*dir="auto"|g [^>]*data-name=)', tag), tag[:200]


def test_it_fetches_nothing(tmp_path: Path) -> None:
    html = write_report(make_run(tmp_path)).read_text(encoding="utf-8")
    assert "default-src 'none'" in html
    assert not re.search(r'(src|href)="(?!#|data:,)', html)
    assert "@import" not in html
    assert "url(" not in html


def test_the_weight_of_2000_points_and_26_labels(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path, rows=2000, topics=26, levels=1))
    assert page.stat().st_size < 1_000_000


def test_what_is_missing_is_left_out(tmp_path: Path) -> None:
    full = make_run(tmp_path / "full")
    for name in ("run.json", "metrics.json", "taxonomy.yaml", "labels.parquet", "failures.jsonl", "steps/map.json",
                 "steps/texts.json", "steps/induction.json"):  # fmt: skip
        (full / name).rename(full / "aside")
        assert "How to do it again" in see(write_report(full)).text
        (full / "aside").rename(full / name)
    (tmp_path / "bare").mkdir()
    _json(tmp_path / "bare" / "run.json", {"schema": 1, "counts": {"ok": 3}})
    text = see(write_report(tmp_path / "bare")).text
    for wanted in ("3 texts, 0 labels", "no taxonomy yet", "no map", "No scores", "no classifier", "Nothing failed"):
        assert wanted in text


def test_nulls_everywhere(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    student = dict.fromkeys(("name", "accuracy", "accuracy_low", "macro_f1", "rows", "candidates"))
    scores = {"llmlabel": {"nmi": None}, "kmeans": None, "no_gold": {"coverage": None}, "student": student}
    _json(folder / "metrics.json", {"schema": 1, "scores": scores})
    _json(
        folder / "steps" / "induction.json",
        {"method": None, "why": None, "history": [{"step": "name", "labels": None, "edits": None}]},
    )
    _json(
        folder / "steps" / "map.json",
        {"id": ["a", "b"], "x": [None, 1.0], "y": [0.0, float("nan")], "label": [None, "gone"], "text": ["", ""]},
    )
    _json(
        folder / "run.json",
        dict.fromkeys(("config", "cost", "timings", "data", "counts", "models", "prompts", "seed", "started")),
    )
    assert "No scores were computed" in see(write_report(folder)).text


@pytest.mark.parametrize("name", ["run.json", "labels.parquet", "failures.jsonl", "steps/map.json"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    folder = make_run(tmp_path)
    (folder / name).write_text("{half", encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(Path(name).name)):
        write_report(folder)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no run"):
        write_report(tmp_path)


def test_latency_and_retries_stand_beside_the_bill(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    info = json.loads((folder / "run.json").read_text())
    latency = {"p50": 0.05, "p90": 1.5, "p99": 12.0}
    info["models"]["big@http://a/v1"] = {
        "answered": 1234,
        "latency_s": latency,
        "retries": {"429": 7, "<b>": 1},
        "most_in_flight": [3, 4],
    }
    info["models"]["idle"] = {"answered": 0, "latency_s": dict.fromkeys(latency), "retries": {}, "most_in_flight": [0]}
    _json(folder / "run.json", info)
    page = write_report(folder).read_text()
    row = re.search(r'<tr><th scope="row">big@http://a/v1</th>.*?</tr>', page)
    assert row
    for cell in ("1,234", "50 ms", "1.50 s", "12 s", ">7<", "7 × 429 and 1 × &lt;b&gt;"):
        assert cell in row[0]
    assert '<tr><th scope="row">idle</th><td class="n">' not in page


def test_the_command_can_be_typed_again() -> None:
    config = {
        "data": "my file.csv",
        "use_case": "what's wrong; rm -rf /",
        "out": "runs/x",
        "levels": 2,
        "max_labels": 25,
        "chains": 5,
    }
    config |= {
        "llm": {"default": "vllm:m", "label": None, "judge": "embedded"},
        "concurrency": 16,
        "text_column": "body",
    }
    assert command(config) == (
        "llmlabel run taxonomy --data 'my file.csv' --text-column body"
        " --use-case 'what'\"'\"'s wrong; rm -rf /' --levels 2"
        " --llm vllm:m --set llm.judge=embedded --set chains=5 --set concurrency=16 --out runs/x-again"
    )


def test_marks_differ_and_neighbours_do_not_share_a_colour() -> None:
    places = {str(n): (float(n % 8) * 100, float(n // 8) * 100) for n in range(32)}
    chosen = marks(places)
    assert len(set(chosen.values())) == 32
    near = [(a, b) for a in places for b in places if a < b and math.dist(places[a], places[b]) <= 100]
    assert sum(chosen[a].colour == chosen[b].colour for a, b in near) <= 2


def test_names_on_the_map_do_not_cover_each_other() -> None:
    clouds = [Cloud(str(n), f"A label with number {n}", Mark(), x=500 + n, y=300 + n) for n in range(20)]
    place_names(clouds)
    for i, a in enumerate(clouds):
        assert 0 <= a.name_x <= WIDTH
        assert 0 <= a.name_y <= HEIGHT
        assert all(abs(a.name_y - b.name_y) > 14 or abs(a.name_x - b.name_x) > 150 for b in clouds[i + 1 :])


def test_charts_take_any_numbers() -> None:
    assert scaled([], []) == []
    assert scaled([1.0, 1.0], [2.0, 2.0]) == [(WIDTH / 2, HEIGHT / 2)] * 2
    assert panel("t", [], 4) is None
    assert panel("t", [[(3, "a"), (None, "b"), (4, "c")]], 4) is None
    drawn = panel("t", [[(2, "x")], [(1, "a"), (None, "b"), (9, "c"), (8.6, "d")]], 4)
    assert drawn is not None
    assert [note for *_, note in drawn.lines[-1]] == ["a", "c", "d"]
    assert drawn.last == "9"


def test_chains_are_told_apart(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    chains = [
        {
            "step": "update",
            "chain": chain,
            "batch": n,
            "labels": 3 + n * chain,
            "rating": 50 + n,
            "coverage": 0.5,
            "edits": [],
        }
        for chain in (1, 2)
        for n in range(1, 4)
    ]
    chosen = {"step": "choose", "chain": 1, "batch": 0, "labels": 6, "rating": None, "coverage": None, "edits": []}
    drop = {
        "op": "merge",
        "label": "late-parcel",
        "into": "return",
        "name": "",
        "reason": "same",
        "applied": False,
        "problem": "no!",
    }
    inside = {"step": "update", "chain": 1, "batch": 1, "labels": 2, "edits": [drop], "within": "money"}
    _json(folder / "steps" / "induction.json", {"method": "tnt", "why": "", "history": [*chains, chosen, inside]})
    page = write_report(folder)
    text = see(page).text
    for wanted in (
        "2 chains ran",
        "Chain 1, the one that was kept",
        "Inside Money, Chain 1",
        "Parcel is late → Returning an order",
        "no!",
    ):
        assert wanted in text
    assert page.read_text(encoding="utf-8").count('<g class="rival">') == 3


def test_words() -> None:
    assert [words.percent(x) for x in (None, 0, 0.001, 0.5, 0.9999, 1)] == ["–", "0%", "<1%", "50%", "99.9%", "100%"]
    assert [words.money(x) for x in (0, 0.00001, 0.0187, 12.5)] == ["$0.00", "<$0.0001", "$0.019", "$12.50"]
    assert [words.duration(x) for x in (0.4, 59.6, 192, 3900)] == ["0.4 s", "1 min 0 s", "3 min 12 s", "1 h 5 min"]
    assert words.clean(" a\x00b \n c ", 20) == "a\ufffdb c"
    assert words.clean("x" * 50, 10) == "x" * 9 + "…"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.without_credentials("m@https://me:pw@host/v1") == "m@https://…@host/v1"
