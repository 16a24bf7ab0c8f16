"""The map: one cloud of dots per label, and of a graph the links between them."""

from __future__ import annotations

from dataclasses import dataclass

from llmlabel.report import words
from llmlabel.report.files import RunFiles
from llmlabel.report.plots import Cloud, Dot, Mark, marks, medians, place_names, scaled

MOST_LINKS = 4000  # more would slow a browser and show a black patch


@dataclass
class Drawing:
    """What a graph's map shows beside dots.

    `same`: (colour, number of the cloud, path) of links inside a label; `apart`: the path of links between labels; `links`: among
    the nodes shown, of which `drawn` are drawn; `nodes`: in the whole graph.
    """

    same: list[tuple[int, int, str]]
    apart: str
    links: int
    drawn: int
    apart_share: float | None
    nodes: int | None
    annotated: int


def cloud_map(files: RunFiles) -> tuple[list[Cloud], Drawing | None]:
    """One cloud per label, largest first, and one of the texts without a label at the end; the links where there are any."""
    found = _dots(files)
    dots: dict[str, list[Dot]] = {}
    for label, dot in found.values():
        dots.setdefault(label, []).append(dot)
    for label in dots:
        dots[label].sort(key=lambda dot: dot.ring)  # drawn last, on top
    clouds = _clouds(files, dots)
    return clouds, _drawing(files, found, clouds)


def _clouds(files: RunFiles, dots: dict[str, list[Dot]]) -> list[Cloud]:
    known = {label.id: label for label in files.taxonomy.labels}
    size = {i: (s.rows if (s := files.rows.labels.get(i)) else 0, len(dots.get(i, []))) for i in known}
    order = sorted((leaf.id for leaf in files.taxonomy.leaves), key=lambda i: size[i], reverse=True)
    order += [label for label in dots if label and label not in order]
    centres = medians({i: [(d.x, d.y) for d in dots.get(i, [])] for i in order})
    looks = marks({i: centres.get(i, (0.0, 0.0)) for i in order})
    clouds = [Cloud(i, words.clean(known[i].name if i in known else i, 120), looks[i], dots.get(i, [])) for i in order]
    shown = [cloud for cloud in clouds if cloud.dots]
    for n, cloud in enumerate(shown, 1):
        cloud.number, (cloud.x, cloud.y) = n, centres[cloud.label]
    place_names(shown)
    unlabelled = Cloud("", "no label", Mark(), dots.get("", []), named=False)
    return clouds + [unlabelled] * bool(unlabelled.dots)


def _dots(files: RunFiles) -> dict[int, tuple[str, Dot]]:
    """Label and dot by position in the file; rows without a place are left out."""
    table = files.map
    if not all(isinstance(table.get(key), list) for key in ("x", "y", "label", "text")):
        return {}
    xs, ys = ([words.figure(value) for value in table[key]] for key in ("x", "y"))
    rows = enumerate(zip(xs, ys, table["label"], table["text"], strict=False))
    sound = [(n, x, y, label, text) for n, (x, y, label, text) in rows if x is not None and y is not None]
    places = scaled([row[1] for row in sound], [row[2] for row in sound])
    told = table.get("annotated")
    rings = {n for n, value in enumerate(told) if value is True} if isinstance(told, list) else set()
    return {
        n: (str(label or ""), Dot(x, y, words.clean(text, 160), n in rings))
        for (x, y), (n, _, _, label, text) in zip(places, sound, strict=True)
    }


def _drawing(files: RunFiles, found: dict[int, tuple[str, Dot]], clouds: list[Cloud]) -> Drawing | None:
    raw = files.map.get("edges")
    if not isinstance(raw, list):
        return None
    ends = [pair for pair in raw if isinstance(pair, list) and len(pair) == 2 and all(_is_node(end, found) for end in pair)]
    paths: dict[str | None, list[str]] = {}
    every = -(-len(ends) // MOST_LINKS)
    chosen = ends[::every] if every else []
    for a, b in chosen:
        (one, here), (other, there) = found[a], found[b]
        paths.setdefault(one if one == other else None, []).append(f"M{here.x} {here.y}L{there.x} {there.y}")
    apart = sum(found[a][0] != found[b][0] for a, b in ends)
    nodes = words.figure(files.map.get("nodes"))
    return Drawing(
        same=[(cloud.mark.colour, cloud.number, "".join(paths[cloud.label])) for cloud in clouds if cloud.label in paths],
        apart="".join(paths.get(None, [])),
        links=len(ends),
        drawn=len(chosen),
        apart_share=apart / len(ends) if ends else None,
        nodes=None if nodes is None else round(nodes),
        annotated=sum(dot.ring for _, dot in found.values()),
    )


def _is_node(end: object, found: dict[int, tuple[str, Dot]]) -> bool:
    return isinstance(end, int) and not isinstance(end, bool) and end in found
