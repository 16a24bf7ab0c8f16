"""Degree, difficulty-aware."""

from __future__ import annotations

from llmlabel.graph.selectors import degree
from llmlabel.graph.selectors._scores import aware, best

WHY = "has many neighbours and typical features, which an LLM tends to label well"
score = aware(degree.score)
select = best(score)
