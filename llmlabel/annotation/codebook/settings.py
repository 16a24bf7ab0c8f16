"""Settings of `llmlabel codebook`: those of the run it is made for, and its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from llmlabel.config import AnnotateConfig, load_config, without_url
from llmlabel.errors import ConfigError
from llmlabel.runs import load_run


class CodebookConfig(AnnotateConfig):
    """`llmlabel codebook`: which rules beside the labels' descriptions make the run's annotator better."""

    run: Path = Field(description="The annotate run whose labels, gold and annotator it is about.")
    annotator: str | None = Field(None, description="Which of the run's annotators; default: the first that is a model.")
    writer: str | None = Field(None, description="Model that drafts the rules; default: the annotator's own.")
    cases: int = Field(4, ge=1, le=20, description="Texts of each kind shown to the writer for a label.")
    tries: int = Field(30, ge=1, description="Most rules that are tried.")
    alpha: float = Field(0.1, gt=0, lt=0.5, description="A rule stays where a gain this clear would be an accident this rarely.")

    def definition(self) -> dict[str, Any]:
        found = {k: v for k, v in super().definition().items() if k not in ("run", "taxonomy")}
        return found | {"writer": without_url(self.writer)}


def configure(run: Path, given: dict[str, Any], settings: Sequence[str]) -> CodebookConfig:
    """The settings of the run with those given; `out` is a folder of their own in RUN/codebook, so that the same command resumes.

    Raises: ConfigError when the run is no finished run of annotate, or has several labels per text.
    """
    info = load_run(run).info
    if info["flow"] != "annotate":
        raise ConfigError(f"{run} is a run of {info['flow']!r}; a codebook is made for a run of annotate")
    if info.get("exit") not in (0, 3):
        raise ConfigError(f"{run} is not finished; give its command again first")
    if info["config"].get("multi_label"):
        raise ConfigError(f"{run} has any number of labels per text; a codebook is made for runs with one label per text")
    values = {**info["config"], "from_run": None, "taxonomy": run / "taxonomy.yaml", "run": run, "out": run / "codebook"}
    config = load_config(CodebookConfig, options=values | given, settings=list(settings))
    corrections = run / "corrections.jsonl"
    said = corrections.read_bytes() if corrections.is_file() else b""
    defined = json.dumps(config.definition(), sort_keys=True).encode() + said
    folder = run / "codebook" / hashlib.blake2b(defined, digest_size=5).hexdigest()
    return config.model_copy(update={"out": folder})
