"""Masking: what is taken out, what stays, and that everything comes back."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlabel.errors import ConfigError
from llmlabel.llm.masked import mask_request, unmask_completion
from llmlabel.llm.requests import Completion, EmbedRequest, Request, ScoreRequest
from llmlabel.masking import Masker, SpanMasker, connect
from llmlabel.personal import IBANS, iban, luhn

PERSONAL = {
    "EMAIL": ["ann@example.org", "a.b+c@mail.example.co.uk", "jörg@exämple.de", "李@例子.中国"],
    "PHONE": ["+44 20 7946 0958", "+1 (212) 555-0187", "(212) 555-0187", "212-555-0187", "020 7946 0958", "0171/1234567",
              "01 23 45 67 89",
              "+7 (912) 345-67-89", "0049 30 1234567"],
    "CARD": ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "3782 822463 10005"],
    "IBAN": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "nl91abna0417164300"],
    "SSN": ["123-45-6789"],
    "IP": ["192.168.0.17", "fe80::1ff:fe23:4567:890a", "2001:db8::1"],
    "MAC": ["00:1A:2B:3C:4D:5E", "00-1a-2b-3c-4d-5e"],
    "URL": ["https://ann:s3cret@host.example/path?x=1"],
    "KEY": ["sk-proj-abcdefghij0123456789", "ghp_abcdefghij0123456789abcdefghij012345", "AKIAIOSFODNN7EXAMPLE",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_d",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEow==\n-----END RSA PRIVATE KEY-----"],
}  # fmt: skip
HARMLESS = [
    "order 123-456-7890 of 2023-01-02", "born 01.02.1993 14:30", "it costs $1234567890.00 or 1,234,567.89 EUR",
    "order number 4929 1234 5678",
    "purchase 113542617735902", "version 1.2.3.4", "at 12:30:45", "flight ab123 and my luggage is late", "isbn 978-0-306-40615-7",
    "from 2019-2020-2021", "a@b, @home, #42", "https://example.org:8080/a@b", "ratio 3:4:5", "4111 1111 1111 1112",
    "the string 12345678",
    "999-00-1234", "case 0301234567",
]  # fmt: skip
WORDS = {
    "call me on": "12345678",
    "Telefonnummer:": "030 1234567",
    "my fax no. is": "1234567",
    "电话:": "13812345678",
    "тел.": "8 912 3456789",
}


@pytest.fixture(scope="module")
def masker() -> Masker:
    made = connect("regex")
    assert made is not None
    return made


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in PERSONAL.items() for value in values])
@pytest.mark.parametrize("around", ["{}", "I am {}, thanks", "мой {} здесь", "请看 {} 谢谢", "({})", "x\n{}\ny"])
def test_personal_data_becomes_a_placeholder(masker: Masker, kind: str, value: str, around: str) -> None:
    masked, mapping = masker.mask([around.format(value)])
    assert masked == [around.format(f"<{kind}_1>")]
    assert mapping == {f"<{kind}_1>": value}


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_personal_stays(masker: Masker, text: str) -> None:
    assert masker.mask([text]) == ([text], {})


@pytest.mark.parametrize(("before", "number"), WORDS.items())
def test_a_bare_number_is_a_phone_where_the_words_say_so(masker: Masker, before: str, number: str) -> None:
    assert masker.mask([f"{before} {number}."])[0] == [f"{before} <PHONE_1>."]
    assert masker.mask([f"no {number.replace(' ', '')[-7:]}."])[1] == {}


def test_numbers_follow_first_appearance_and_a_value_keeps_its_placeholder(masker: Masker) -> None:
    masked, mapping = masker.mask(["b@x.org then a@x.org", "a@x.org, b@x.org, 10.0.0.1"])
    assert masked == ["<EMAIL_1> then <EMAIL_2>", "<EMAIL_2>, <EMAIL_1>, <IP_1>"]
    assert mapping == {"<EMAIL_1>": "b@x.org", "<EMAIL_2>": "a@x.org", "<IP_1>": "10.0.0.1"}


def test_a_value_recognised_once_is_masked_everywhere(masker: Masker) -> None:
    assert masker.mask(["5551234567 again?", "yes, phone: 5551234567"])[0] == ["<PHONE_1> again?", "yes, phone: <PHONE_1>"]


def test_a_placeholder_that_is_there_already_is_not_given_out(masker: Masker) -> None:
    texts = ["<EMAIL_1> is what you wrote, a@x.org is right", "<EMAIL_2>"]
    masked, mapping = masker.mask(texts)
    assert masked == ["<EMAIL_1> is what you wrote, <EMAIL_3> is right", "<EMAIL_2>"]
    assert [masker.unmask(text, mapping) for text in masked] == texts


PIECES = st.one_of(
    st.text(max_size=8),
    st.sampled_from([v for values in PERSONAL.values() for v in values]),
    st.sampled_from(
        ["<EMAIL_1>", "<PHONE_2>", "<", "_1>", "EMAIL", "@", ".", "-", " ", "call ", "+1 ", "//u:", "\n", "مرحبا", "७", "٣"]
    ),
    st.integers(0, 10**20).map(str),
)


@given(st.lists(st.lists(PIECES, max_size=8).map("".join), max_size=4))
def test_unmasking_is_the_inverse_of_masking(texts: list[str]) -> None:
    masker = connect("regex")
    assert masker is not None
    masked, mapping = masker.mask(texts)
    assert [masker.unmask(text, mapping) for text in masked] == texts
    assert masker.mask(texts) == (masked, mapping)


@given(
    st.lists(st.integers(0, 9), min_size=15, max_size=15),
    st.sampled_from("3456"),
    st.sampled_from(["", " ", "-"]),
    st.text(st.characters(exclude_categories=["Cs", "N", "P"]), max_size=9),  # a longer number is another number
)
def test_no_valid_card_number_is_left(digits: list[int], first: str, separator: str, around: str) -> None:
    body = first + "".join(map(str, digits[1:]))
    card = next(body + str(d) for d in range(10) if luhn(body + str(d)) or len(set(body)) == 1)
    shown = separator.join(card[i : i + 4] for i in range(0, 16, 4))
    masked, _ = SpanMasker(connect("regex")._finder).mask([f"{around} {shown} {around}"])  # type: ignore[union-attr]
    assert shown not in masked[0] or not luhn(card)


@given(st.sampled_from(sorted(IBANS)), st.integers(0, 10**30), st.booleans(), st.text(max_size=9))
def test_no_valid_iban_is_left(country: str, number: int, spaced: bool, around: str) -> None:
    account = str(number).zfill(30)[-(IBANS[country] - 4) :]
    value = next(f"{country}{check:02}{account}" for check in range(2, 99) if iban(f"{country}{check:02}{account}"))
    shown = " ".join(value[i : i + 4] for i in range(0, len(value), 4)) if spaced else value
    masker = connect("regex")
    assert masker is not None
    assert shown not in masker.mask([f"{around} {shown} {around}"])[0][0]


@given(
    st.from_regex(r"[a-z][a-z0-9._+-]{0,20}@[a-z]([a-z0-9-]{0,20}[a-z0-9])?\.(com|org|de|co\.uk)", fullmatch=True),
    st.text(max_size=9),
)
def test_no_mail_address_is_left(address: str, around: str) -> None:
    masker = connect("regex")
    assert masker is not None
    assert address not in masker.mask([f"{around} {address} {around}"])[0][0]


def test_overlapping_findings_become_one() -> None:
    masker = SpanMasker(lambda text: [(0, 4, "A"), (2, 8, "B"), (3, 5, "C"), (8, 9, "D")])
    masked, mapping = masker.mask(["abcdefghij"])
    assert masked == ["<A_1><D_1>j"]
    assert masker.unmask(masked[0], mapping) == "abcdefghij"


def test_a_request_is_masked_as_one_and_its_answer_unmasked(masker: Masker) -> None:
    messages = [{"role": "system", "content": "Sort."}, {"role": "user", "content": "ann@x.org wrote to bob@x.org"}]
    request = Request(messages, max_tokens=7, schema={"type": "object"}, sample=3)
    masked, mapping = mask_request(request, masker)
    assert masked == Request(
        [messages[0], {"role": "user", "content": "<EMAIL_1> wrote to <EMAIL_2>"}],
        max_tokens=7,
        schema={"type": "object"},
        sample=3,
    )
    answer = Completion("to <EMAIL_2>, not <EMAIL_3>", prompt_tokens=5)
    assert unmask_completion(answer, mapping) == Completion("to bob@x.org, not <EMAIL_3>", prompt_tokens=5)


def test_a_value_comes_back_into_json_as_json() -> None:
    masker = SpanMasker(lambda text: [(0, len(text), "NAME")])
    _, mapping = masker.mask(['Ann "A" \\ Lee\n'])
    assert unmask_completion(Completion('{"who": "<NAME_1>"}'), mapping).text == '{"who": "Ann \\"A\\" \\\\ Lee\\n"}'
    assert unmask_completion(Completion("who: <NAME_1>"), mapping).text == 'who: Ann "A" \\ Lee\n'


def test_prompts_to_score_share_placeholders_with_their_completions(masker: Masker) -> None:
    masked, mapping = mask_request(ScoreRequest("From a@x.org:", [" a@x.org", " b@x.org"]), masker)
    assert masked == ScoreRequest("From <EMAIL_1>:", [" <EMAIL_1>", " <EMAIL_2>"])
    chat, _ = mask_request(ScoreRequest([{"role": "user", "content": "a@x.org"}], ["a@x.org"]), masker)
    assert chat == ScoreRequest([{"role": "user", "content": "<EMAIL_1>"}], ["<EMAIL_1>"])
    assert list(mapping.values()) == ["a@x.org", "b@x.org"]


def test_a_text_to_embed_is_masked_the_same_whatever_stands_beside_it(masker: Masker) -> None:
    masked, mapping = mask_request(EmbedRequest(["a@x.org", "b@x.org"]), masker)
    assert masked == EmbedRequest(["<EMAIL_1>", "<EMAIL_1>"])
    assert mapping == {}


def test_kinds() -> None:
    assert connect("none") is None
    with pytest.raises(ConfigError, match="none, regex, presidio"):
        connect("rejex")


def test_without_presidio_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(ConfigError, match=r"llmlabel\[pii\]"):
        connect("presidio")


@pytest.mark.slow
def test_presidio_adds_its_own_patterns_to_ours() -> None:
    pytest.importorskip("presidio_analyzer")
    masker = connect("presidio")
    assert masker is not None
    texts = ["ann@x.org, NHS 943 476 5919, wallet 16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ, sk-abcdefghij0123456789"]
    masked, mapping = masker.mask(texts)
    assert {"<EMAIL_1>", "<WALLET_1>", "<KEY_1>"} <= mapping.keys()
    assert masker.unmask(masked[0], mapping) == texts[0]


@pytest.mark.parametrize(
    "piece", ["1", "1 ", "a@", "@a.b", "01 ", "4111 ", "DE89 ", "a:", "-----BEGIN PRIVATE KEY-----a", "phone 1", "1.1."]
)
def test_a_long_text_takes_linear_time(masker: Masker, piece: str) -> None:
    start = time.process_time()
    masker.mask([piece * (100_000 // len(piece))])
    assert time.process_time() - start < 2.0
