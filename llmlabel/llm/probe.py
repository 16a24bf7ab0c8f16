"""Find out what an endpoint can do by asking it: two tiny requests, kept like any other answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel

from llmlabel.errors import AnswerError, BackendError, RequestRejected, TransientError
from llmlabel.llm.client import Client
from llmlabel.llm.options import scrub
from llmlabel.llm.requests import Request
from llmlabel.llm.structured import parse_answer, strict_schema


class _Colour(BaseModel):
    colour: Literal["red", "blue"]


def with_features(client: Client) -> Client:
    """Fill in the features the backend does not know of itself.

    Raises: AuthError or BackendError when the endpoint does not answer at all.
    """
    known = client.backend.features
    if known.schema is None:
        known = replace(known, schema=_remembered(client, "schema", _keeps_schema))
    if known.logprobs is None:
        known = replace(known, logprobs=_remembered(client, "logprobs", _gives_logprobs))
    for place in client.pool.places:
        place.backend.features = known
    return client


def _remembered(client: Client, feature: str, find_out: Callable[[Client], bool]) -> bool:
    """A refusal leaves no answer in the store, so what was found out is kept as a fact about the endpoint."""
    backend = client.backend
    name = f"{feature} of {backend.model} {backend.revision} at {scrub(str(getattr(backend, 'url', backend.name)))}"
    known = client.ledger.fact(name)
    if known is None:
        known = "yes" if find_out(client) else "no"
        client.ledger.remember(name, known)
    return known == "yes"


def _keeps_schema(client: Client) -> bool:
    """Asked in words for what the schema forbids, a constrained endpoint still answers within the schema."""
    request = Request(
        [{"role": "user", "content": "Name the colour of grass as JSON."}], max_tokens=30, schema=strict_schema(_Colour)
    )
    try:
        parse_answer(_Colour, client.ask(request, "probe"))
    except AnswerError:
        return False
    except RequestRejected as e:
        return _refused(e)
    return True


def _gives_logprobs(client: Client) -> bool:
    request = Request([{"role": "user", "content": "Answer with A or B."}], max_tokens=1, top_logprobs=5)
    try:
        return len(client.ask(request, "probe").logprobs) > 1
    except RequestRejected as e:
        return _refused(e)


def _refused(error: RequestRejected) -> bool:
    """False: it cannot do that. Raises: BackendError when the endpoint did not answer at all."""
    if isinstance(error.__cause__, TransientError):
        raise BackendError(str(error)) from error
    return False
