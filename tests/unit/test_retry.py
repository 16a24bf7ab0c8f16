"""Rows that failed are asked again: with requests that the store has no answer to."""

from __future__ import annotations

import pytest
from fake_client import FakeClient

from llmlabel import annotation
from llmlabel.annotation import How
from llmlabel.llm.requests import Features, Request
from llmlabel.prompting import PromptLibrary
from llmlabel.records import Example, Label, Status, Taxonomy

TREE = Taxonomy(labels=[Label(id=i, name=f"Label {i}", description="d") for i in "abc"])
ROWS = [Example("1", "one text"), Example("2", ""), Example("3", "another text")]


@pytest.mark.parametrize(("kind", "samples"), [("code", 1), ("vote", 3)])
def test_every_round_draws_other_answers(kind: annotation.Kind, samples: int) -> None:
    rounds: list[set[tuple[int, float, str]]] = []
    for retry in range(3):
        asked: list[Request] = []
        client = FakeClient(lambda r, asked=asked: asked.append(r) or "I would rather not say", Features(logprobs=True))
        rows = annotation.ask(ROWS, TREE, client, PromptLibrary(), How(probs=kind, samples=samples, retry=retry))  # type: ignore[arg-type]
        assert [row.status for row in rows] == [Status.PARSE_FAILED, Status.ERROR, Status.PARSE_FAILED]
        assert len(asked) == 2 * 2 * samples, "two texts, asked twice each; an empty one is not asked"
        rounds.append({(r.sample, r.temperature, r.messages[-1]["content"]) for r in asked})
    assert not rounds[0] & rounds[1]
    assert not rounds[1] & rounds[2]
    samples_of = [{sample for sample, _, _ in one} for one in rounds]
    assert not samples_of[0] & samples_of[1] | samples_of[1] & samples_of[2], "the number alone tells them apart"
    assert all(temperature > 0 for _, temperature, _ in rounds[1])


def test_votes_count_progress_in_texts() -> None:
    seen: list[int] = []
    client = FakeClient(lambda r: "A", Features())
    annotation.ask(ROWS, TREE, client, PromptLibrary(), How(probs="vote", samples=4, on_done=seen.append))  # type: ignore[arg-type]
    assert sum(seen) == 2

    from llmlabel.annotation.annotators.vote import every

    parts: list[int] = []
    done = every(3, parts.append)
    for n in (2, 5, 1, 4):  # answers come in parts
        done(n)
    assert parts == [2, 2]
