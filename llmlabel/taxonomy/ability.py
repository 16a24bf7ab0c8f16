"""Can this model edit a taxonomy? A small exercise with a known answer decides between the methods.

The exercise shows three labels, one of them double, and twelve texts, four of them about something new. A model that
adds the missing label with the right evidence, names existing ids and invents none can be trusted with a chain.
"""

from __future__ import annotations

from llmlabel.errors import AnswerError
from llmlabel.llm.structured import Question, ask
from llmlabel.records import Label, Taxonomy
from llmlabel.taxonomy.edits import EditScript, Limits, apply_edits
from llmlabel.taxonomy.settings import Setting

LABELS = [
    Label(id="late-trains", name="Late Trains", description="Trains that leave or arrive late."),
    Label(id="train-delays", name="Train Delays", description="Delays of trains."),
    Label(id="ticket-refunds", name="Ticket Refunds", description="Getting money back for a ticket."),
]
TEXTS = [
    "my train to Leeds was 40 minutes late again", "how do I get my money back for a cancelled ticket",
    "I left my umbrella on the 8:15 to York", "still waiting on the platform, no train in sight",
    "lost a black rucksack in coach C", "refund for unused return ticket please",
    "did anyone hand in a child's coat found on the train", "the 17:02 arrived an hour after schedule",
    "you charged me twice, I want one fare back", "I forgot my laptop on the luggage rack",
    "why was the evening service delayed", "can I be refunded if I miss my train",
]  # fmt: skip
LOST = {"t3", "t5", "t7", "t10"}


def can_edit(setting: Setting) -> tuple[bool, str]:
    """Whether the `update` model passes the exercise, and the reason in plain words."""
    client = setting.models["update"]
    if not client.backend.features.writes:
        return False, f"{client.backend.model} can score but not write, so clusters of vectors carry the load"
    limits = Limits(10, 5, 30)
    texts = [{"id": f"t{i}", "text": text} for i, text in enumerate(TEXTS, 1)]
    messages = setting.prompt("update").render(
        use_case="why passengers write to the railway", labels=LABELS, texts=texts,
        max_labels=limits.max_labels, name_words=limits.name_words, description_words=limits.description_words,
    )  # fmt: skip
    try:
        script = ask(client, Question(messages, EditScript, max_tokens=800), "probe")
    except AnswerError as e:
        return False, f"{client.backend.model} could not answer the editing exercise ({e.status}), so clusters guide it"
    aliases = {t["id"]: t["id"] for t in texts}
    applied = apply_edits(Taxonomy(labels=LABELS), script, evidence=aliases, limits=limits, retired=set())
    if applied.problems:
        return (
            False,
            f"{client.backend.model} made unsound edits in the exercise ({applied.problems[0]}), so clusters guide it",
        )
    added = [e for e in script.edits if e.op in ("add", "split")]
    if len(added) != 1 or len(LOST & set(added[0].evidence)) < 3 or len(set(added[0].evidence) - LOST) > 1:
        return False, f"{client.backend.model} did not find the missing label in the exercise, so clusters guide it"
    return True, f"{client.backend.model} edits taxonomies soundly in the exercise, so it gets the whole TnT-LLM chain"
