"""Prefect's global concurrency limits as limits of endpoints, over all runs of a server.

A limit named `llmlabel:HOST` counts requests in flight at that host. A run takes as many slots as its `concurrency` says, all
of them where that is empty, and gives them back at its end; without such a limit nothing is held.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound

from llmlabel.config import CommonConfig
from llmlabel.events import emit
from llmlabel.llm.specs import OPENAI_URL, parse_spec

PREFIX = "llmlabel:"
HOSTED = re.compile(r"(^|:)openai:")  # also after a way of asking, as in descent:openai:MODEL
NOT_SPECS = {"data", "out", "from_run", "use_case", "prompts", "cache", "prices"}


@contextmanager
def endpoint_slots(config: CommonConfig) -> Iterator[CommonConfig]:
    """Hold slots of the limits there are for the endpoints that the settings name, after waiting for them.

    Yields: the settings, with no more requests in flight than there are slots.
    """
    limits = limits_of(config)
    held = {name: min(config.concurrency or size, size) for name, size in sorted(limits.items())}
    with ExitStack() as stack:
        for name, slots in held.items():  # always in the same order, so that no two runs wait for each other
            emit("note", text=f"needs {slots} slots of the limit {name}, and waits until they are free")
            stack.enter_context(concurrency(name, occupy=slots))
        yield config.model_copy(update={"concurrency": min(held.values())}) if held else config


def limits_of(config: CommonConfig) -> dict[str, int]:
    """The server's active limits of the endpoints in use, by name: how many slots they have."""
    found: dict[str, int] = {}
    if not FlowRunContext.get():
        return found
    for host in sorted(hosts(config)):
        with get_client(sync_client=True) as client, suppress(ObjectNotFound):
            limit = client.read_global_concurrency_limit_by_name(PREFIX + host)
            if limit.active and limit.limit:
                found[limit.name] = limit.limit
    return found


def hosts(config: CommonConfig) -> set[str]:
    """`host` or `host:port` of every endpoint that a model spec in the settings names."""
    texts = list(_texts(config.model_dump(mode="json", exclude=NOT_SPECS)))
    urls = [url for text in texts if "@http" in text for url in parse_spec(text).urls]
    unnamed = config.llm.default is None and parse_spec(None).kind == "openai"
    if unnamed or any(HOSTED.search(text) for text in texts):
        urls.append(os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
    return {urlsplit(url).netloc for url in urls}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
