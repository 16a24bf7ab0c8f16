"""Functions that the contract tests reach as `scripted:scripted_functions:NAME`."""

from __future__ import annotations

import asyncio

from llmlabel.llm.requests import Request


async def later(request: Request) -> str:
    await asyncio.sleep(0)
    return f"later: {request.messages[-1]['content']}"


def wrong_type(request: Request) -> int:
    return 4


def broken(request: Request) -> str:
    raise KeyError("oh")
