"""`llmlabel graph`: what can be done with the edges of a graph alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmlabel.commands.options import Json, show_result
from llmlabel.errors import ConfigError

EDGES = (
    "parquet, csv or jsonl file with columns source, target and weight if there is one; .edgelist, .npz (scipy) or .npy (2, E)"
)
Edges = Annotated[str, typer.Option(metavar="FILE", help=f"The edges: {EDGES}.")]
Labels = typer.Option(
    metavar="FILE", help="Labels, some of which may be wrong: a file with columns id and label, or a run folder."
)

app = typer.Typer(help="Vectors and clusters from edges.", no_args_is_help=True, rich_markup_mode=None)


@app.command("embed")
def embed(
    edges: Edges,
    out: Annotated[Path, typer.Option(help=".npz (arrays ids and vectors) or .parquet (columns id and vector).")],
    dim: Annotated[int, typer.Option(help="Length of a vector.")] = 128,
    weights: Annotated[
        str, typer.Option(help="Of one step from a node, two steps, ...: their number is how far it looks.")
    ] = "0,0,1,4",
    beta: Annotated[float, typer.Option(help="Neighbours of degree d count d^beta more: below 0 hubs count less.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the random projection.")] = 0,
    as_json: Json = False,
) -> None:
    """A vector for every node from the edges alone (FastRP): features where nodes have no texts, or beside them.

    Direction of edges is given up; a node is known by the edges that name it.

    Example: llmlabel graph embed --edges edges.parquet --out vectors.npz

    Exit codes: 0 done, 1 failed, 2 usage.
    """
    from llmlabel.graph.edge_list import embed_file

    show_result(embed_file(edges, out, dim=dim, weights=_numbers(weights), beta=beta, seed=seed), as_json)


@app.command("cluster")
def cluster(
    edges: Edges,
    seed_nodes: Annotated[list[str], typer.Option("--seed-nodes", metavar="ID", help="A node of the cluster; again for each.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    labels: Annotated[str | None, Labels] = None,
    label: Annotated[str | None, typer.Option(help="Which label to recover. [default: the one of the seed nodes]")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Nodes expected. [default: as many as have the label]")] = None,
    epsilon: Annotated[float, typer.Option(help="What an edge between different labels counts, above 0 to 1.")] = 0.05,
    cut: Annotated[bool, typer.Option("--cut", help="Keep only the best separated part of what was reached.")] = False,
    as_json: Json = False,
) -> None:
    """The cluster around some nodes, with labels that may be wrong or without any (label-weighted flow diffusion).

    Writes id, x (larger: closer to the seed nodes), in_cluster and label_agrees: nodes of the cluster, and nodes that the
    label says belong and it did not reach. Rows where label_agrees is false are labels to look at.

    Example: llmlabel graph cluster --edges edges.parquet --seed-nodes A --seed-nodes B --labels runs/graph --out cluster.parquet

    Exit codes: 0 done, 1 failed, 2 usage.
    """
    from llmlabel.graph.edge_list import cluster_file

    found = cluster_file(edges, out, seed_nodes, labels=labels, label=label, size=size, epsilon=epsilon, cut=cut)
    show_result(found, as_json)


@app.command("repair")
def repair(
    edges: Edges,
    labels: Annotated[str, Labels],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    below: Annotated[float, typer.Option(help="Propose only where the label's confidence is below this, or not known.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Other labels for nodes that only another label's cluster claims; proposals to look at.

    Writes id, label, proposed and confidence. Good where labels are communities, little use where they are not.

    Example: llmlabel graph repair --edges edges.parquet --labels runs/graph --below 0.8 --out proposals.parquet

    Exit codes: 0 done, 1 failed, 2 usage.
    """
    from llmlabel.graph.edge_list import repair_file

    show_result(repair_file(edges, out, labels, below=below), as_json)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as e:
        raise ConfigError(f"--weights {text!r}: numbers with commas between them, such as 0,0,1,4") from e
