"""Names from keyphrases: readable, distinct, never vague; any text in, no exception out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlabel.taxonomy.keyphrases import calibrate, candidate_names, choose_names, describe
from llmlabel.taxonomy.names import is_vague
from llmlabel.taxonomy.words import VAGUE, is_stop, key_of, stem

CARDS = [f"my credit card was {what}, I want a new credit card" for what in ("lost", "stolen", "eaten", "broken")] * 3
RATES = [f"what is the exchange rate for {what}? exchange rates please" for what in ("pounds", "euros", "yen", "francs")] * 3
JSONS = [f"JSON for {what} and {what} in JSON" for what in ("files", "strings", "streams", "logs")] * 3
TEXTS = CARDS + RATES + JSONS
GROUPS = np.repeat([0, 1, 2], 12)


def test_the_contrasting_phrase_comes_first() -> None:
    names = candidate_names(TEXTS, GROUPS)
    assert names[0][0] == "Credit Card"
    assert names[1][0] in ("Exchange Rate", "Exchange Rates")
    assert names[2][0].startswith("JSON")


def test_no_list_repeats_a_stem_key_or_goes_over_the_limit() -> None:
    for names in candidate_names(TEXTS, GROUPS, per_cluster=3):
        assert len(names) <= 3
        assert len({key_of(name) for name in names}) == len(names)


def test_vague_words_and_numbers_are_no_names() -> None:
    texts = ["other stuff 12345 invoice", "misc things 99 invoice", "general invoice 2024"] * 4 + ["parcel late"] * 12
    names = candidate_names(texts, np.repeat([0, 1], 12))
    assert names[0] == ["Invoice"]


def test_what_the_rules_call_vague_is_no_name() -> None:
    """The most frequent word of a group may be one that no label may be called."""
    texts = ["text dates", "text zones", "text clocks", "text years", "loan rates", "loan terms", "loan limits"]
    names = candidate_names(texts, np.array([0] * 4 + [1] * 3))
    assert names[0]
    assert not any(is_vague(name) for group in names for name in group)


def test_swearing_is_no_name() -> None:
    names = candidate_names(["the fucking bill", "fucking bill again"] * 5 + ["parcel"] * 10, np.repeat([0, 1], 10))
    assert names[0] == ["Bill"]


def test_a_hyphenated_word_is_one_word() -> None:
    names = candidate_names(["top-up limit"] * 10 + ["passcode"] * 10, np.repeat([0, 1], 10))
    assert names[0][0] == "Top-up Limit"


def test_arabic_words_keep_their_letters_and_everywhere_words_are_dropped() -> None:
    texts = ["هل يمكنني سحب النقود"] * 9 + ["هل يمكنني تغيير البطاقة"] * 9 + ["هل يمكنني معرفة الرسوم"] * 9
    names = candidate_names(texts, np.repeat([0, 1, 2], 9))
    assert [group[0] for group in names] == ["سحب النقود", "تغيير البطاقة", "معرفة الرسوم"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=60), st.integers(0, 3)), min_size=1, max_size=20))
def test_any_text_gives_lists_of_readable_names_and_distinct_choices(rows: list[tuple[str, int]]) -> None:
    texts, groups = [text for text, _ in rows], np.array([k for _, k in rows])
    names = candidate_names(texts, groups)
    assert len(names) == groups.max() + 1
    assert all(name.strip() and len(name.split()) <= 3 and key_of(name)[0] not in VAGUE for group in names for name in group)
    chosen = choose_names(names, [[0.0] * len(group) for group in names])
    assert len(set(chosen)) == len(names)
    assert describe(texts, groups, 0, names[0])


def test_calibration_removes_what_all_clusters_share() -> None:
    scores = np.array([[-1.0, -9.0], [-2.0, -6.0], [-3.0, -9.0]])
    fit = calibrate(scores + np.array([[0.0, 100.0]]))
    assert fit == pytest.approx(calibrate(scores))
    assert fit.argmax(axis=1).tolist() == [0, 1, 0]
    assert fit.sum(axis=0) == pytest.approx(0)
    assert calibrate(scores[:1]).tolist() == scores[:1].tolist()


def test_one_name_goes_to_one_cluster_even_in_plural() -> None:
    names = choose_names([["Card", "Payment"], ["Cards", "Lost Phone"]], [[0.0, 0.0], [0.0, 0.0]])
    assert names in (["Card", "Lost Phone"], ["Payment", "Cards"])


def test_a_strong_score_overrules_the_rank_and_similarity_counts() -> None:
    candidates = [["Want Pay", "Bill", "Payment"]]
    assert choose_names(candidates, [[0.0, 0.0, 0.0]]) == ["Want Pay"]
    assert choose_names(candidates, [[-9.0, -9.0, 0.0]]) == ["Payment"]
    assert choose_names(candidates, [[0.0] * 3], [[0.0, 0.0, 0.9]]) == ["Payment"]


def test_clusters_without_a_free_candidate_still_get_distinct_names() -> None:
    names = choose_names([["Card"], ["Card"], []], [[0.0], [0.0], []])
    assert len(set(names)) == 3
    assert "Card" in names


def test_description_is_short_and_quotes_the_cluster() -> None:
    text = describe([*TEXTS, "x" * 100_000], np.append(GROUPS, 0), 0, ["Credit Card", "Lost"])
    assert text.startswith("Texts about credit card, lost; for example: «my credit card")
    assert len(text.split()) <= 30
    assert len(describe(["y" * 100_000], np.array([0]), 0, [])) < 250


@pytest.mark.parametrize(
    ("word", "folded"),
    [
        ("cards", "card"),
        ("penalties", "penalty"),
        ("boxes", "box"),
        ("status", "status"),
        ("rating", "rating"),
        ("bus", "bus"),
    ],
)
def test_stem(word: str, folded: str) -> None:
    assert stem(word) == folded


def test_stop_words_know_contractions_but_spare_content() -> None:
    assert is_stop("i'm")
    assert is_stop("what's")
    assert not is_stop("bill")
    assert not is_stop("company's")
