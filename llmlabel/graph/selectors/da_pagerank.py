"""PageRank, difficulty-aware."""

from __future__ import annotations

from llmlabel.graph.selectors import pagerank
from llmlabel.graph.selectors._scores import aware, best

WHY = "central in the graph and with typical features, which an LLM tends to label well"
score = aware(pagerank.score)
select = best(score)
