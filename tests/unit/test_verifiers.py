"""Answers against gold: what counts as the final answer, what is the same number, which label is meant."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmlabel.errors import ConfigError
from llmlabel.records import Label, Taxonomy
from llmlabel.selection.verifiers import auto, exact, label, names, numeric, verifier

TREE = Taxonomy(
    labels=[
        Label(id="cards", name="Cards"),
        Label(id="cards-lost", name="Lost cards"),
        Label(id="card_not_working", name="card_not_working"),
        Label(id="loans", name="Loans"),
        Label(id="top", name="Money"),
        Label(id="st", name="St.", parent="top"),
    ]
)
ENDINGS = (
    "Answer: {}",
    "**Answer:** {}.",
    "#### {}",
    "So it is \\boxed{{{}}}, as said.",
    "The final answer is: {}",
    "Answer:\n\n{}",
    "A: {}",
)


def test_every_file_is_a_verifier() -> None:
    assert names() == ["exact", "label", "numeric"]
    assert all(callable(verifier(name).verify) for name in names())


def test_a_wrong_name_is_told_the_right_ones() -> None:
    with pytest.raises(ConfigError, match="exact, label, numeric"):
        verifier("numbers")


def test_a_module_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("own.checks")
    module.verify = lambda answer, gold, taxonomy: gold in answer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own", ModuleType("own"))
    monkeypatch.setitem(sys.modules, "own.checks", module)
    assert verifier("own.checks").verify("it is 7", "7", None)
    with pytest.raises(ConfigError, match="verify"):
        verifier("os.path")


@pytest.mark.parametrize(
    ("golds", "taxonomy", "name"),
    [
        (["1", "2"], TREE, "label"), (["18", "$1,000", "3/4", "x = 9"], None, "numeric"), (["18", "Paris"], None, "exact"),
        (["They are 9*2=<<9*2=18>>18\nA: 18"], None, "numeric"), (["type 2", "June 20", "2020-01-01"], None, "exact"),
    ],
)  # fmt: skip
def test_auto(golds: list[str], taxonomy: Taxonomy | None, name: str) -> None:
    assert auto(golds, taxonomy) == name


# -- numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("said", ["18", "18.0", "$18", "18%", "\\frac{36}{2}", "36/2", "18 eggs", "9 + 9 = 18"])
def test_the_marked_number_counts(ending: str, said: str) -> None:
    text = f"First 3, then 4.\n{ending.format(said)}"
    assert numeric.verify(text, "18")
    assert not numeric.verify(text, "4") and not numeric.verify(text, "9")


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("She has 18 eggs.", "18"), ("about 1,234.50 in all", "1234.5"), ("−5", "-5"), ("Answer: $-5", "-5"),
        ("Answer: -$5", "-5"),
        ("Answer: 1 3/4 cups", "1.75"), ("Answer: 1½", "3/2"), ("\\boxed{\\frac34}", "0.75"), ("\\boxed{16,\\!471}", "16471"),
        ("Answer: 3 \\times 10^8", "300000000"), ("0.333333", "1/3"), ("Answer: 1\u202f234", "1234"), ("Answer: 60 km/h", "60"),
        ("the 3rd of 12", "12"), ("A: 5\nB: 7\nso it is 7", "7"), ("#### 5\nno:\n#### 7", "7"), ("Answer: x > 3", "3"),
        ("\\boxed{2x+1}", "2 x + 1"), ("\\boxed{\\left(1,\\tfrac12\\right)}", "(1, \\frac{1}{2})"),
        ("Answer: Tuesday.", "tuesday"),
        ("Answer: 18", "9*2=<<9*2=18>>18\nA: 18"), ("It is 2*9=<<2*9=18>>18", "18"), ("10-5", "5"), ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_the_same_number(answer: str, gold: str) -> None:
    assert numeric.verify(answer, gold)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("", "5"), ("Answer:", "5"), ("no idea", "5"), ("Answer: 5 or 7", "5"), ("Answer: 5 or 7", "7"),
        ("Answer: 2\\sqrt{3}", "2"),
        ("\\boxed{(2,\\infty)}", "2"), ("Answer: 5x", "5"), ("Answer: 10 - 5", "10"), ("Answer: x - 2", "-2"), ("10-5", "-5"),
        ("Answer: 0.33", "1/3"), ("Answer: 1000001", "1000000"), ("Answer: 7\nI also thought of 5.", "5"), ("1/0", "1"),
        ("He came in 3rd", "3"), ("Answer: 5:30", "5"), ("Answer: 1e-9", "0"), ("Answer: -18", "18"), ("9" * 5000, "8" * 5000),
    ],
)  # fmt: skip
def test_not_the_same_number(answer: str, gold: str) -> None:
    assert not numeric.verify(answer, gold)


@settings(max_examples=25)
@given(st.integers(-(10**12), 10**12), st.sampled_from(ENDINGS), st.booleans(), st.text())
def test_a_marked_whole_number_is_itself_and_no_other(number: int, ending: str, grouped: bool, before: str) -> None:
    text = f"{before}\n{ending.format(f'{number:,}' if grouped else number)}"
    assert numeric.verify(text, str(number))
    assert not numeric.verify(text, str(number + 1))


# -- labels --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        "Label: Loans", "It borrows.\n**Label:** \"loans\".", "- **Label: Loans**",
        "Label: Cards\nOn second thoughts:\nLabel: LOANS",
        "loans", '"Loans".', "It is about money lent, hence Loans.", "Cards come up.\n\nThe label is `Loans`.",
        "Label: Loans: money that is lent", "Label:\nLoans", "Label: Loans\n\nI hope this helps!",
    ],
)  # fmt: skip
def test_the_label_meant(answer: str) -> None:
    assert label.verify(answer, "loans", TREE) and label.verify(answer, "Cards|Loans", TREE)
    assert not label.verify(answer, "cards", TREE)


@pytest.mark.parametrize(
    "answer",
    [
        "", "Label:", "Label: Mortgages", "Label: Cards or Loans", "Label: not Loans", "It isn't Loans.", "Loansome",
        "Loans.\nOr so.",
        "Either Cards or Loans.", "Label: Lost cards",
    ],
)  # fmt: skip
def test_no_label_or_another(answer: str) -> None:
    assert not label.verify(answer, "loans", TREE) and not label.verify(answer, "cards", TREE)


def test_names_within_names_with_signs_and_with_a_denial_in_them() -> None:
    assert label.verify("So this is Lost cards.", "cards-lost", TREE)
    assert label.verify("Label: card\\_not\\_working", "card_not_working", TREE)
    assert label.verify("The label is card_not_working", "card_not_working", TREE)
    assert label.verify("Label: St.", "st", TREE)


def test_gold_that_no_label_stands_for() -> None:
    assert label.verify("Label: -", "-", TREE)
    assert not label.verify("Label: Loans", "-", TREE)
    assert not label.verify("Label: Loans", "Mortgages", TREE)


def test_labels_without_a_taxonomy_are_compared_as_texts() -> None:
    assert label.verify("Because.\nLabel: spam.", "Spam|Ham")
    assert not label.verify("Because.\nLabel: spam.", "Eggs")


# -- words ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", ["Paris", " paris. ", "Long ago.\nAnswer: **Paris**.", "Answer: Rome\nAnswer: Paris", "\\boxed{Paris}", "“Paris”"]
)
def test_the_same_words(answer: str) -> None:
    assert exact.verify(answer, "Paris")


@pytest.mark.parametrize("answer", ["", "Answer: Rome", "It is Paris", "Answer: Paris\nAnswer: Rome", "Answer: Paris, France"])
def test_other_words(answer: str) -> None:
    assert not exact.verify(answer, "Paris")


# -- all -----------------------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        "Label:",
        "Answer:",
        "####",
        "\\boxed{",
        "}",
        "{",
        "\\frac",
        "\\",
        "1",
        ",",
        ".",
        "/",
        "0",
        "-",
        "=",
        "\n",
        " ",
        "Loans",
        "%",
        "e9",
        "²",
        "½",
        "|",
    ]
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=25).map("".join))


@settings(max_examples=25)
@given(TEXTS, TEXTS)
@example("\\boxed{" * 50, "}")
@example("Answer: \ud800", "\ud800")
@example("", "")
def test_never_raises_on_any_text(answer: str, gold: str) -> None:
    for name in names():
        for taxonomy in (None, TREE, Taxonomy()):
            assert verifier(name).verify(answer, gold, taxonomy) in (True, False)
    auto([gold], None)


@settings(max_examples=25)
@given(TEXTS.filter(lambda t: not any(mark in t.casefold() for mark in ("label", "answer", "#", "boxed", "a:"))))
def test_what_comes_after_the_final_line_changes_nothing(after: str) -> None:
    assert label.verify("Label: Loans\n\n" + after, "loans", TREE)
    assert numeric.verify("Answer: 18\n\n" + after, "18") and not numeric.verify("Answer: 18\n\n" + after, "19")
    assert exact.verify("Answer: Paris\n\n" + after, "Paris")
