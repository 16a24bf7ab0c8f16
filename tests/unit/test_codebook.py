"""Rules are kept where they help on gold rows, and nowhere else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from fake_client import FakeClient
from hypothesis import given
from hypothesis import strategies as st

from llmlabel import annotation
from llmlabel.annotation.asking import How
from llmlabel.annotation.codebook.draft import cases, draft, medoids
from llmlabel.annotation.codebook.rules import Codebook, Rule, build, compare, deal, described, macro_f1, sign_test
from llmlabel.annotation.codebook.settings import configure
from llmlabel.annotation.codebook.text import summary, to_json, to_markdown
from llmlabel.errors import ConfigError
from llmlabel.llm.requests import Features
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example, Label, Taxonomy

LABELS = [("refunds", "Refunds", "Money back."), ("food", "Food", "All about meals."), ("seats", "Seats", "Places to sit.")]
TREE = Taxonomy(use_case="why passengers write", labels=[Label(id=i, name=n, description=d) for i, n, d in LABELS])
KINDS = [  # text, gold
    ("I want my money back for trip {}", "refunds"), ("please refund voucher {}", "refunds"),
    ("the soup on train {} was cold", "food"), ("what meal is there on train {}", "food"),
    ("my seat {} was taken", "seats"), ("can I book seat {}", "seats"),
]  # fmt: skip
ROWS = [Example(f"r{i}", text.format(i), gold) for i in range(120) for text, gold in [KINDS[i % 6]]]
GOLD = {e.id: str(e.gold) for e in ROWS}
BY_ID = {e.id: e for e in ROWS}
HELPS, HARMS = "vouchers that are to be paid back", "everything to do with a train"


def model(request) -> str:
    """Sorts by words, and reads descriptions: it takes vouchers for food until Refunds says otherwise, and believes any rule."""
    user = request.messages[-1]["content"]
    if "You write labelling" in request.messages[0]["content"]:
        rules = [HELPS, HARMS] if 'The label: "Refunds"' in user else []
        return json.dumps({"include": rules, "exclude": []})
    lines, text = user.rsplit("Text:", 1)
    said = {name: (code, rest) for code, name, rest in re.findall(r"^([A-Z])\. (\w+)(.*)$", lines, re.MULTILINE)}
    if "train" in text and "train" in said["Refunds"][1]:
        return said["Refunds"][0]
    for word, name in (("money", "Refunds"), ("voucher", "Food"), ("soup", "Food"), ("meal", "Food"), ("seat", "Seats")):
        if word in text:
            right = "Refunds" if word == "voucher" and "vouchers" in said["Refunds"][1] else name
            return said[right][0]
    return "Z"


CLIENT = FakeClient(model, Features(schema=True))
HOW = How(use_case="why passengers write")


def answers(tree: Taxonomy, ids, step: str = "") -> dict[str, str | None]:
    rows = annotation.ask([BY_ID[i] for i in ids], tree, CLIENT, PromptLibrary(), HOW)
    return {r.id: r.label for r in annotation.settle(rows, tree)}


def drafted(parts) -> tuple[list, list[Rule]]:
    learn = parts["learn"]
    vectors = np.eye(len(learn))
    found = cases(learn, GOLD, answers(TREE, learn), {}, vectors, [label.id for label in TREE.leaves], 3)
    rules, failed = draft(found, BY_ID, GOLD, TREE, CLIENT, PromptLibrary(), HOW)
    assert not failed
    return found, rules


def test_a_rule_that_mends_is_kept_and_one_that_harms_is_not() -> None:
    parts = deal(GOLD, 0)
    found, rules = drafted(parts)
    assert {c.label for c in found if c.wrong} == {"refunds", "food"}
    tried = [rule for rule in rules if rule.label == "refunds" and rule.kind == "include"]
    book = build(TREE, tried[::-1], GOLD, parts, answers)
    assert [rule.text for rule in book.kept] == [HELPS]
    dropped = next(t for t in book.trials if t.rule.text == HARMS)
    assert not dropped.kept and dropped.broken == 0 and dropped.gain is None, "dropped on the rows it is about, or never tried"
    assert book.tested is not None and book.tested.after == 1.0 and book.tested.low > 0
    assert HELPS in book.described["refunds"].description
    assert book.described["food"] == TREE["food"]


def test_a_rule_that_breaks_other_rows_is_dropped_after_they_are_asked() -> None:
    both = Rule("refunds", "include", f"{HELPS}; {HARMS}")
    book = build(TREE, [both], GOLD, deal(GOLD, 0), answers)
    trial = book.trials[0]
    assert not trial.kept and trial.broken > trial.mended > 0 and trial.gain.gain < 0
    assert book.kept == [] and book.tested is None and book.described == TREE
    assert "no rule" in summary(book)


def test_the_example_shown_to_the_model_is_a_missed_text_from_the_rows_to_learn_from() -> None:
    parts = deal(GOLD, 0)
    _, rules = drafted(parts)
    example = next(rule for rule in rules if rule.kind == "example" and rule.label == "refunds")
    texts = {json.dumps(BY_ID[i].text) for i in parts["learn"] if "voucher" in BY_ID[i].text}
    assert example.text in texts


def test_rules_that_do_not_hold_on_rows_that_chose_nothing_are_dropped() -> None:
    parts, asked = deal(GOLD, 0), []

    def ask(tree: Taxonomy, ids, step: str) -> dict[str, str | None]:
        asked.append(step)
        helped = "lucky" in tree["refunds"].description and not step.startswith("test")
        return {i: GOLD[i] if helped or GOLD[i] != "refunds" else "food" for i in ids}

    book = build(TREE, [Rule("refunds", "include", "lucky")], GOLD, parts, ask)
    assert book.trials[0].kept and book.kept == [] and book.tested.gain == 0
    assert "did not help" in summary(book)
    assert asked == ["base", "rule-0-near", "rule-0-rest", "test-base", "test-rules"]


def test_nothing_is_asked_where_no_gain_could_be_shown() -> None:
    asked = []

    def perfect(tree: Taxonomy, ids, step: str) -> dict[str, str | None]:
        asked.append(step)
        return {i: GOLD[i] for i in ids}

    book = build(TREE, [Rule("food", "include", "x")], GOLD, deal(GOLD, 0), perfect)
    assert asked == ["base"] and book.before == 1.0
    assert "too few" in book.trials[0].why


def test_chance_alone_keeps_few_rules() -> None:
    """Rules without any effect but noise: a sign test at 0.1 on each, and the whole on other rows."""
    kept = 0
    for seed in range(40):
        draw = np.random.default_rng(seed)

        def noisy(tree: Taxonomy, ids, step: str, draw=draw) -> dict[str, str | None]:
            return {i: GOLD[i] if draw.random() < 0.7 else "food" for i in ids}

        book = build(TREE, [Rule("refunds", "include", "x")], GOLD, deal(GOLD, seed), noisy, seed=seed)
        kept += bool(book.kept)
    assert kept <= 6


@given(st.dictionaries(st.integers(0, 500).map(str), st.sampled_from("abc"), max_size=80), st.integers(0, 9))
def test_gold_is_dealt_whole_and_every_label_alike(gold: dict[str, str], seed: int) -> None:
    parts = deal(gold, seed)
    assert sorted(i for rows in parts.values() for i in rows) == sorted(gold)
    for label in set(gold.values()):
        total = sum(v == label for v in gold.values())
        for name, share in (("learn", 0.3), ("choose", 0.4), ("test", 0.3)):
            assert abs(sum(gold[i] == label for i in parts[name]) - share * total) <= 2


@given(st.integers(0, 40), st.integers(0, 40))
def test_sign_test_is_the_exact_binomial(mended: int, broken: int) -> None:
    from scipy.stats import binomtest

    n = mended + broken
    expected = binomtest(mended, n, alternative="greater").pvalue if n else 1.0
    assert sign_test(mended, broken) == pytest.approx(expected)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["a", "b", "c", "-", None])), min_size=1, max_size=40))
def test_macro_f1_is_that_of_scikit_learn(pairs: list[tuple[str, str | None]]) -> None:
    from sklearn.metrics import f1_score

    gold, said = ({str(n): pair[k] for n, pair in enumerate(pairs)} for k in (0, 1))
    there = sorted({g for g, _ in pairs})
    answers = [s or "?" for _, s in pairs]
    expected = f1_score([g for g, _ in pairs], answers, labels=there, average="macro", zero_division=0)
    assert macro_f1(gold, said, list(gold)) == pytest.approx(expected)


def test_a_gain_has_an_interval_around_it() -> None:
    rows = list(GOLD)
    old = {i: GOLD[i] if n % 3 else "food" for n, i in enumerate(rows)}
    found = compare(GOLD, old, GOLD, rows, 0)
    assert found.low < found.gain < found.high and found.broken == 0
    assert found.mended == sum(old[i] != GOLD[i] for i in rows)
    rare = compare(GOLD | {rows[0]: "rare"}, old, GOLD, rows, 0)
    assert rare.low <= rare.gain <= rare.high, "a draw of the bootstrap may lack the label"
    same = compare(GOLD, old, old, rows, 0)
    assert (same.gain, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_medoids_lie_in_every_cluster() -> None:
    draw = np.random.default_rng(0)
    vectors = np.vstack([np.eye(3)[[k] * 20] + 0.05 * draw.normal(size=(20, 3)) for k in range(3)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert sorted(n // 20 for n in medoids(vectors, 3)) == [0, 1, 2]
    assert len(set(medoids(vectors[:2], 5))) == 2


def test_descriptions_hold_the_rules_in_order_of_kind() -> None:
    rules = [Rule("food", "exclude", "vouchers"), Rule("food", "include", "soup"), Rule("food", "include", "tea")]
    text = described(TREE, rules)["food"].description
    assert text == "All about meals. Belongs here: soup; tea. Does not belong here: vouchers."
    bare = Taxonomy(labels=[Label(id="food", name="Food")])
    assert described(bare, rules[:1])["food"].description == "Does not belong here: vouchers."


def test_a_model_that_cannot_write_is_refused_and_a_bad_answer_is_told() -> None:
    parts = deal(GOLD, 0)
    found, _ = drafted(parts)
    scorer = FakeClient(model, Features(score=True, writes=False))
    with pytest.raises(ConfigError, match="cannot write"):
        draft(found, BY_ID, GOLD, TREE, scorer, PromptLibrary(), HOW)
    rules, failed = draft(found, BY_ID, GOLD, TREE, FakeClient(lambda r: "no", Features(schema=True)), PromptLibrary(), HOW)
    assert len(failed) == 2 and {rule.kind for rule in rules} == {"example"}


def test_people_read_what_was_kept_what_it_brought_and_what_was_left_out() -> None:
    parts = deal(GOLD, 0)
    found, rules = drafted(parts)
    book = build(TREE, rules, GOLD, parts, answers)
    hostile = {i: Example(i, f"<script>alert(1)</script>\n# {e.text}") for i, e in BY_ID.items()}
    text = to_markdown(book, found, hostile, GOLD)
    assert "**Belongs here**: " + HELPS in text and "Tried, and left out" in text and "95% interval" in text
    assert "<script" not in text and not re.search(r"^# please", text, re.MULTILINE)
    values = json.loads(json.dumps(to_json(book, {"annotator": "fake"})))
    assert values["kept"] == len(book.kept) >= 1
    kept = [r for r in values["rules"] if r["kept"]]
    assert all(r["gain"]["gain"] > 0 and r["gain"]["low"] <= r["gain"]["gain"] <= r["gain"]["high"] for r in kept)
    assert all(r["why"] for r in values["rules"] if not r["kept"])
    assert json.loads(json.dumps(to_json(Codebook(TREE), {})))["kept"] == 0


def run_folder(path: Path, **info) -> Path:
    path.mkdir()
    config = {"data": "letters.parquet", "out": str(path), "taxonomy": "old.yaml", "multi_label": False, "seed": 3}
    base = {"schema": 1, "id": "x", "flow": "annotate", "exit": 0, "definition": {}, "config": config}
    (path / "run.json").write_text(json.dumps(base | info | {"config": config | info.get("config", {})}))
    return path


def test_settings_are_those_of_the_run_and_resume_while_nothing_changes(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    config = configure(run, {}, [])
    assert (config.seed, config.data, config.taxonomy) == (3, "letters.parquet", run / "taxonomy.yaml")
    assert config.out.parent == run / "codebook" and configure(run, {"budget_calls": 7}, []).out == config.out
    assert configure(run, {"tries": 2}, []).out != config.out
    (run / "corrections.jsonl").write_text("{}\n")
    assert configure(run, {}, []).out != config.out, "people have said something since"


@pytest.mark.parametrize(
    ("info", "said"),
    [({"flow": "audit"}, "audit"), ({"exit": None}, "not finished"), ({"config": {"multi_label": True}}, "one label per text")],
)
def test_runs_a_codebook_cannot_be_made_for(tmp_path: Path, info: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        configure(run_folder(tmp_path / "run", **info), {}, [])
