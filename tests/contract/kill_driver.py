"""What tests/contract/test_kills.py starts and kills: label numbered texts through the client, and say how it went.

python kill_driver.py URL CACHE ROWS [BUDGET_CALLS]
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from llmlabel.config import CommonConfig
from llmlabel.errors import AnswerError, BudgetReached
from llmlabel.llm import connect
from llmlabel.llm.structured import Question, ask_all
from llmlabel.records import batched

PRICES = {"fake-1": {"input": 1.0, "output": 10.0}}


class Label(BaseModel):
    label: Literal["a", "b", "c"]


def main(url: str, cache: str, rows: str, budget_calls: str = "") -> None:
    options = CommonConfig(
        data="-", out=Path(cache), cache=Path(cache), timeout=2.0, concurrency=64, prices=PRICES,
        budget_calls=int(budget_calls) if budget_calls else None,
    )  # fmt: skip
    client = connect(f"fake-1@{url}", options=options, run="kills", probe=False)
    client.backend.features = type(client.backend.features)(schema=True, logprobs=False)
    ends: Counter[str] = Counter()
    try:
        for part in batched(list(range(int(rows))), 2000):
            asked = [Question([{"role": "user", "content": f"text number {i}"}], Label, max_tokens=32) for i in part]
            for answer in ask_all(client, asked, "label"):
                ends[answer.status if isinstance(answer, AnswerError) else type(answer).__name__] += 1
    except BudgetReached:
        ends["budget"] += 1
    print(json.dumps({"ends": ends, "retries": client.usage.retries, "asked": client.usage.asked}))
    client.close()
    client.ledger.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
