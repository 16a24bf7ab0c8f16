"""What a graph's nodes are described by: vectors of their texts, numbers somebody has, and FastRP vectors of the edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from llmlabel.errors import DataError
from llmlabel.graph.fastrp import fastrp
from llmlabel.graph.graph import BoolArray, FloatArray, Graph

STEPS = 10  # of filling in nodes without a text
WIDEST = 2000  # columns; wider features are reduced by SVD
REDUCED = 256


def read_features(path: Path, ids: list[str]) -> FloatArray:
    """(N, F) float32 in the order of the nodes.

    Args:
        path: .npy; a scipy sparse .npz; or an .npz with `ids` and `vectors`, as `llmlabel graph embed` writes it (a node that
            is not in it is a zero row). ids: of the N nodes.
    Raises: DataError when it cannot be read, has another height, or holds something that is no finite number.
    """
    try:
        found = _loaded(path, ids)
    except (OSError, ValueError, KeyError) as e:
        raise DataError(f"--features {path}: cannot be read as .npy, scipy .npz or npz with ids and vectors: {e}") from e
    if found.ndim != 2 or found.shape[0] != len(ids):
        raise DataError(f"--features {path}: shape {found.shape}, but there are {len(ids):,} nodes; it takes one row for each")
    x = reduced(found)
    if not np.isfinite(x).all():
        raise DataError(f"--features {path}: row {int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])} holds no finite numbers")
    return x


def _loaded(path: Path, ids: list[str]) -> Any:
    """Dense or scipy sparse."""
    found = np.load(path, allow_pickle=False)
    if not hasattr(found, "files"):
        return np.asarray(found, dtype=np.float32)
    if "vectors" not in found.files:
        return sparse.csr_array(sparse.load_npz(path))
    place = {str(i): n for n, i in enumerate(found["ids"].tolist())}
    vectors = found["vectors"]
    rows = np.array([place.get(i, -1) for i in ids])
    return np.where(rows[:, None] >= 0, vectors[rows], 0).astype(np.float32)


def reduced(x: Any, seed: int = 0) -> FloatArray:
    """(N, F) dense float32 of a dense or sparse matrix; more than `WIDEST` columns become `REDUCED` by truncated SVD."""
    if x.shape[1] > WIDEST:
        from sklearn.decomposition import TruncatedSVD

        return np.asarray(TruncatedSVD(min(REDUCED, x.shape[0] - 1), random_state=seed).fit_transform(x), dtype=np.float32)
    return np.asarray(x.toarray() if sparse.issparse(x) else x, dtype=np.float32)


def unit(x: FloatArray) -> FloatArray:
    """Rows at length 1; zero rows stay."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def filled(x: FloatArray, known: BoolArray, graph: Graph) -> FloatArray:
    """Rows that are not known become the mean of their neighbours, again and again; those known stay as they are.

    Source: feature propagation (Rossi et al. 2022, arXiv 2111.12128), with the mean of the neighbours.
    """
    if known.all() or not known.any():
        return x
    found = np.where(known[:, None], x, 0.0).astype(np.float32)
    for _ in range(STEPS):
        found = np.where(known[:, None], x, graph.walk @ found)
    return np.asarray(found)


def together(parts: list[FloatArray]) -> FloatArray:
    """(N, sum of F): unit rows of each part side by side, at length 1 together."""
    return unit(np.hstack([unit(part) for part in parts]))


def structural(graph: Graph, seed: int, dim: int = 128) -> FloatArray:
    """(N, dim) unit rows of FastRP; isolated nodes are zero rows."""
    return unit(fastrp(graph.adjacency, dim=dim, seed=seed))
