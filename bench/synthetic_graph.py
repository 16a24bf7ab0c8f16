"""Large graphs of a known shape: power-law degrees, planted communities, features around a centre per community.

python bench/synthetic_graph.py --nodes 169343 --edges 1166243 --communities 40 --dim 128 --out FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from llmlabel.graph.graph import FloatArray, IntArray


def main() -> None:
    """Write source.npy, target.npy, community.npy and features.npy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("nodes", "edges", "communities", "dim"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    source, target, member = edges(args.nodes, args.edges, args.communities)
    for name, values in {"source": source, "target": target, "community": member}.items():
        np.save(args.out / f"{name}.npy", values)
    del source, target
    np.save(args.out / "features.npy", features(member, args.dim))


def edges(
    nodes: int, count: int, communities: int, *, inside: float = 0.7, exponent: float = 2.5, seed: int = 0
) -> tuple[IntArray, IntArray, IntArray]:
    """(count,) source and target of distinct undirected edges, and (N,) the community of every node.

    Args:
        inside: share of edges drawn within a community; the others end anywhere. exponent: of the degrees' power law.
    """
    rng = np.random.default_rng(seed)
    member = np.sort(rng.integers(0, communities, nodes))
    reach = np.r_[0, np.cumsum(rng.permutation((np.arange(1, nodes + 1) / nodes) ** (-1 / (exponent - 1))))]
    first = np.searchsorted(member, np.arange(communities + 1))
    found = np.zeros(0, np.int64)
    while len(found) < count:
        n = int((count - len(found)) * 1.1) + 1000
        source = _drawn(reach, rng.random(n) * reach[-1])
        home = member[source]
        low, high = reach[first[home]], reach[first[home + 1]]
        anywhere = rng.random(n) >= inside
        low[anywhere], high[anywhere] = 0, reach[-1]
        target = _drawn(reach, low + rng.random(n) * (high - low))
        real = source != target
        pairs = np.minimum(source, target)[real] * nodes + np.maximum(source, target)[real]
        found = np.unique(np.r_[found, pairs])
    kept = rng.permutation(len(found))[:count] if len(found) > count else slice(None)
    source, target = np.divmod(found[kept], nodes)
    return source, target, member


def _drawn(reach: FloatArray, u: FloatArray) -> IntArray:
    return np.minimum(np.searchsorted(reach, u, side="right") - 1, len(reach) - 2)


def features(member: IntArray, dim: int, *, noise: float = 2.0, seed: int = 0) -> FloatArray:
    """(N, dim) float32: the centre of the node's community, of length about 1, and noise that much longer."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((int(member.max()) + 1, dim), dtype=np.float32)
    x = rng.standard_normal((len(member), dim), dtype=np.float32) * np.float32(noise)
    x += centres[member]
    x /= np.float32(np.sqrt(dim))
    return x


if __name__ == "__main__":
    main()
