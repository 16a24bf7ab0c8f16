"""The program owns the table: what an edit script may and may not do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmlabel.records import Label, Taxonomy
from llmlabel.taxonomy.edits import Applied, Edit, EditScript, Limits, apply_edits
from llmlabel.taxonomy.names import is_vague, name_problem, same_name, shorten

LIMITS = Limits(max_labels=4, name_words=4, description_words=8)
EVIDENCE = {f"t{i}": f"row{i}" for i in range(1, 9)}


def table() -> Taxonomy:
    return Taxonomy(
        labels=[
            Label(id="billing", name="Billing", description="Bills.", examples=["row1"]),
            Label(id="refunds", name="Refunds", description="Money back.", examples=["row2"]),
        ]
    )


def apply(*edits: Edit, taxonomy: Taxonomy | None = None, retired: set[str] | None = None, may_add: bool = True) -> Applied:
    script = EditScript(rating=50, edits=list(edits))
    return apply_edits(
        taxonomy or table(),
        script,
        evidence=EVIDENCE,
        limits=LIMITS,
        retired=retired if retired is not None else set(),
        may_add=may_add,
    )


def test_add_takes_a_new_slug_and_rows_as_examples() -> None:
    done = apply(Edit(op="add", name="Late Trains", description="Trains that are late.", evidence=["t3", "t4"]))
    assert done.problems == []
    assert done.taxonomy["late-trains"].examples == ["row3", "row4"]


def test_merge_moves_examples_and_retires_the_id() -> None:
    retired: set[str] = set()
    done = apply(Edit(op="merge", label="refunds", into="billing", name="Billing and Refunds"), retired=retired)
    assert [label.id for label in done.taxonomy.labels] == ["billing"]
    assert done.taxonomy["billing"].name == "Billing and Refunds"
    assert done.taxonomy["billing"].examples == ["row1", "row2"]
    again = apply(Edit(op="add", name="Refunds", evidence=["t5"]), taxonomy=done.taxonomy, retired=retired)
    assert "refunds-2" in [label.id for label in again.taxonomy.labels], "a retired id must never be used again"


def test_split_moves_the_evidence_to_the_new_part() -> None:
    start = table()
    start["billing"].examples = ["row1", "row3"]
    done = apply(Edit(op="split", label="billing", name="Double Charges", evidence=["t3"]), taxonomy=start)
    assert done.taxonomy["billing"].examples == ["row1"]
    assert done.taxonomy["double-charges"].examples == ["row3"]


def test_refused_edits_say_why_and_change_nothing() -> None:
    refused = {
        "not in the batch": Edit(op="add", name="Late Trains", evidence=["t99"]),
        "needs evidence": Edit(op="add", name="Late Trains"),
        "vague bucket": Edit(op="add", name="Other", evidence=["t3"]),
        "says the same": Edit(op="add", name="refund", evidence=["t3"]),
        "no label with the id": Edit(op="rename", label="nonsense", name="X"),
        "into itself": Edit(op="merge", label="billing", into="billing"),
        "takes over": Edit(op="drop", label="billing"),
        "more than 4 words": Edit(op="add", name="All of the many late trains", evidence=["t3"]),
    }
    for reason, edit in refused.items():
        done = apply(edit)
        assert done.taxonomy == table(), reason
        assert reason in done.problems[0], (reason, done.problems)
        assert done.log[0]["applied"] is False


def test_the_cap_holds_and_the_review_cannot_add() -> None:
    names = ["Late Trains", "Lost Property", "Seat Reservations"]
    done = apply(*(Edit(op="add", name=n, evidence=["t3"]) for n in names))
    assert len(done.taxonomy) == LIMITS.max_labels
    assert "merge some first" in done.problems[0]
    assert "no labels can be added" in apply(Edit(op="add", name="Late Trains", evidence=["t3"]), may_add=False).problems[0]


ids = st.sampled_from(["billing", "refunds", "late-trains", "x", ""])
edits = st.builds(
    Edit,
    op=st.sampled_from(["add", "rename", "merge", "split", "drop"]),
    label=ids, into=ids,
    name=st.sampled_from(["Late Trains", "Other", "Billing", "Lost Property", "", "Seats"]) | st.text(max_size=20),
    description=st.text(max_size=60), evidence=st.lists(st.sampled_from(["t1", "t2", "t9"]), max_size=3),
)  # fmt: skip


@given(st.lists(edits, max_size=12))
def test_whatever_the_script_the_table_stays_sound(script: list[Edit]) -> None:
    done = apply(*script)
    labels = done.taxonomy.labels
    assert len({label.id for label in labels}) == len(labels)
    assert len(labels) <= LIMITS.max_labels
    assert len(done.log) == len(script)
    for n, label in enumerate(labels):
        assert name_problem(label.name, labels[:n], LIMITS.name_words) is None
    assert labels, "the last label can never be dropped or merged away"


def test_vague_and_same_names() -> None:
    assert all(map(is_vague, ["Other", "General Inquiries", "Misc. Topics", "Other Issues", "miscellaneous", "Various"]))
    assert not any(map(is_vague, ["General Relativity", "Card Payments", "Mixed Martial Arts", "استفسارات البطاقة"]))
    assert same_name("Card payment", "Card Payments") and same_name("Refunds", "Refund Requests")
    assert not same_name("Card Payment", "Card Delivery")


def test_a_name_in_another_script_is_sent_back_but_stands() -> None:
    start = table().model_copy(update={"use_case": "why customers write"})
    done = apply(Edit(op="add", name="استرداد", evidence=["t3"]), taxonomy=start)
    assert "script of the use case" in done.problems[0]
    assert len(done.taxonomy) == 3
    arabic = table().model_copy(update={"use_case": "لماذا يكتب العملاء"})
    assert apply(Edit(op="add", name="استرداد", evidence=["t3"]), taxonomy=arabic).problems == []


def test_shorten_cuts_at_a_sentence_where_there_is_one() -> None:
    assert shorten("One two three. Four five six seven", 6) == "One two three."
    assert shorten("short", 6) == "short"
