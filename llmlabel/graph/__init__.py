"""LLM-GNN: label every node of a graph for the price of a few.

Choose nodes (`selectors`), have them labelled, drop what is likely wrong (`filters`), train on the rest (`gnns`), label all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load_data(run: Path | str) -> Any:
    """The result of a graph run as a PyG `Data`: x, edge_index (as given), y (class numbers), confidence, probs, train_mask
    (annotated nodes the learner learned from), edge_weight where edges have weights, and `classes`, the L label ids.

    Raises: ConfigError without torch-geometric; DataError when the folder holds no graph run.
    """
    from llmlabel.graph.convert import to_pyg

    return to_pyg(Path(run) / "graph.safetensors")
