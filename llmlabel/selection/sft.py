"""Questions with answers as rows to fine-tune on, in TRL's chat form.

A row has `prompt` and `completion`, lists of messages, so that `trl.SFTTrainer` learns from the completion only, without a
setting. There is no column `messages` beside them: it would hold both a second time, and `trl.apply_chat_template` refuses a row
that has all three.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llmlabel.errors import DataError
from llmlabel.llm.requests import plain_text
from llmlabel.prompting import defuse
from llmlabel.selection.answers import Answer, Question

Pair = tuple[Question, Answer]
ROWS = 4096  # in a row group
NO_TURN = re.compile(r"(</?(?:think|tool_call)>)")  # marks that answers may hold: they neither end a turn nor begin one
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("prompt", MESSAGES),
        ("completion", MESSAGES),
        ("strategy", pa.string()),
        ("model", pa.string()),
        ("correct", pa.bool_()),
        ("prompt_id", pa.string()),
        ("prompt_hash", pa.string()),
    ]
)


def messages(question: Question) -> list[dict[str, str]]:
    """A question as the turns a model is trained on and asked with; marks of chat templates in it are broken."""
    return [{"role": plain_text(m["role"]), "content": _text(m["content"])} for m in question.messages]


def rows(pairs: Iterable[Pair]) -> Iterator[dict[str, Any]]:
    """Rows of sft.parquet, one per pair.

    Marks by which chat templates tell turns apart (`<|im_end|>`) are broken by a space, so that no text ends its turn when the
    row is made into tokens; `<think>` and `<tool_call>` in answers stay.
    Raises: DataError for an answer that is no whole one.
    """
    for question, answer in pairs:
        if not answer.usable:
            raise DataError(
                f"{answer.strategy}: its answer to {question.id} is no whole one ({answer.status}), so nothing to train on"
            )
        said = "".join(part if NO_TURN.fullmatch(part) else _text(part) for part in NO_TURN.split(answer.text))
        texts = {"id": question.id, "strategy": answer.strategy, "model": answer.model}
        yield {
            **{name: plain_text(text) for name, text in texts.items()}, "prompt": messages(question),
            "completion": [{"role": "assistant", "content": said}], "correct": answer.correct, "prompt_id": answer.prompt,
            "prompt_hash": answer.prompt_hash,
        }  # fmt: skip


def write(path: Path, pairs: Iterable[Pair]) -> Counter[str]:
    """Write the rows of `pairs` as parquet, whole or not at all; they are taken one row group at a time.

    Returns: rows by strategy. Raises: DataError where the file cannot be written, and as `rows`.
    """
    counts: Counter[str] = Counter()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    made = rows(pairs)
    try:
        with temporary.open("wb") as f:
            with pq.ParquetWriter(f, SCHEMA, compression="zstd") as writer:
                while some := list(islice(made, ROWS)):
                    writer.write_table(pa.Table.from_pylist(some, schema=SCHEMA))
                    counts.update(row["strategy"] for row in some)
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(path)
    except OSError as e:
        raise DataError(f"cannot write {path}: {e.strerror}. Free some space, then run again") from e
    finally:
        temporary.unlink(missing_ok=True)
    return counts


def _text(text: str) -> str:
    return plain_text(str(defuse(text)))
